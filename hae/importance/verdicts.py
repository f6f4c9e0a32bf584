"""The words: what intervals allow to be said of a CV, of its place, and of how many there are. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["EPS", "WEAK", "cv_verdict", "join", "leading", "order_verdict", "pair_words", "vote"]

EPS = 0.01  # a gain below this is none; a margin within this is a tie
WEAK = 0.05  # an alive CV of less information gain is weak
SURE = 2.0  # half widths of an interval between a margin and eps before two CVs are called ordered
COPY = 0.9  # a dead CV is a copy where another one explains this share of its variance


def cv_verdict(low: float, high: float, eps: float = EPS, copy_of: int | None = None) -> str:
    """Of one CV, from the bounds of its information gain: alive, weak, dead, copy of CV_j, undecided (also without bounds).

    Example:
        >>> [cv_verdict(low, high) for low, high in ((0.2, 0.3), (0.02, 0.03), (0.0, 0.005), (0.005, 0.02))]
        ['alive', 'weak', 'dead', 'undecided']
    """
    if low > eps:
        return "weak" if high < WEAK else "alive"
    if high < eps:
        return "dead" if copy_of is None else f"copy of CV{copy_of}"
    return "undecided"


def order_verdict(
    raw_high: float, innovation: float, innovation_low: float, innovation_high: float, both_alive: bool, eps: float = EPS
) -> str:
    """Of a CV and the next one, from the margins that refitted level k loses with the next CV in its place, and their bounds.

    At an optimum the raw margin I(1..k) - I(1..k-1, k+1) is 0 or more (exchanging the two changes level k alone), so a raw margin
    surely below -eps is "out of order". "ordered" and "tied" need the margin with the innovation of the next CV, since the CV itself
    may hold a copy of the earlier one; they are asked of two CVs that are alive or weak. "ordered" asks for twice the interval: of
    equal eigenvalues one pair in a hundred would be called ordered by the interval itself. "" where nothing is asked.

    Example: A next CV that in the place of this one loses 0.2, or nothing.
        >>> order_verdict(0.25, 0.2, 0.15, 0.25, both_alive=True), order_verdict(0.005, 0.0, -0.005, 0.005, both_alive=True)
        ('ordered', 'tied')
    """
    if raw_high < -eps:
        return "out of order"
    if not both_alive:
        return ""
    if innovation - SURE * (innovation - innovation_low) > eps:
        return "ordered"
    if -eps < innovation_low and innovation_high < eps:
        return "tied"
    return "undecided"


def leading(lows: Sequence[float], eps: float = EPS) -> int:
    """Number of leading CVs whose information gain is surely above eps.

    Example:
        >>> leading([0.5, 0.1, 0.002, 0.05])
        2
    """
    return next((k for k, low in enumerate(lows) if not low > eps), len(lows))


def vote(numbers: Sequence[int]) -> int:
    """The number of CVs that most members found, the smaller one where as many found either.

    Example:
        >>> vote([2, 3, 3, 2])
        2
    """
    counts = Counter(numbers)
    return min(counts, key=lambda n: (-counts[n], n))


def join(names: Sequence[str]) -> str:
    """A list in words: "CV1", "CV1 and CV2", "CV1, CV2 and CV3"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def figure(value: float, low: float, high: float) -> str:
    """A figure with its interval: "0.78 [0.74, 0.82]", "0.041 [0.037, 0.045]" where it is that sure, or "0.78" without an interval."""
    if math.isnan(low):
        return _plain(value, 2)
    digits = 2 if high - low >= 0.0199 else 3
    return f"{_plain(value, digits)} [{_plain(low, digits)}, {_plain(high, digits)}]"


def _plain(value: float, digits: int) -> str:
    """Without a sign before zero."""
    text = f"{value:.{digits}f}"
    return text if float(text) else text.removeprefix("-")


def pair_words(names: Sequence[str], orders: Sequence[str], quiet: Sequence[bool]) -> list[str]:
    """Phrases about neighbouring pairs: orders[k] is of names[k] and names[k+1]. That a ``quiet`` pair is ordered is not said."""
    words = {"tied": "are tied", "out of order": "are out of order"}
    phrases = []
    for k, order in enumerate(orders):
        pair = join(names[k : k + 2])
        if order == "undecided":
            phrases.append(f"the order of {pair} is undecided")
        elif order in words:
            phrases.append(f"{pair} {words[order]}")
        elif order == "ordered" and not quiet[k]:
            phrases.append(f"{pair} are ordered")
    return phrases
