"""Whether a candidate becomes the champion: a pure decision from numbers, with its reason in words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hae.importance.smoothness import CLIFF

__all__ = ["Candidate", "Champion", "Decision", "Margins", "decide"]


OUT_OF_ORDER = "out of order"


@dataclass(frozen=True)
class Margins:
    """Of FVE and gain; the section promote of params.yaml says what each allows."""

    pca: float = 0.005
    gain: float = 0.005
    worse: float = 0.01
    better: float = 0.02
    variant: float | None = None
    gradient: float | None = CLIFF  # the largest of a CV, per nm


@dataclass(frozen=True)
class Candidate:
    """What is known of the candidate alone, on held-out blocks. fve, gain, pca_fve: one number for each level.

    above_pca_high: upper bounds of the paired intervals of fve - pca_fve, NaN where there are none.
    order: verdict on every CV and the next, such as "ordered"; "" where there is none.
    gradient: the largest of each CV of a molecule, per nm.
    fault: why the registered model can't be used ("" if it loads and gives the trained network's CVs).
    """

    version: str
    variant: str
    fve: tuple[float, ...]
    gain: tuple[float, ...]
    pca_fve: tuple[float, ...]
    above_pca_high: tuple[float, ...] = ()
    order: tuple[str, ...] = ()
    gradient: tuple[float, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Champion:
    """The champion and the candidate on the same frames, in one metric. fve, candidate_fve: over the levels that both have.

    low, high: bounds of the paired intervals of candidate_fve - fve, NaN where there are too few independent frames.
    not_comparable: why there are no such numbers ("" if there are).
    """

    version: str
    variant: str
    fve: tuple[float, ...] = ()
    candidate_fve: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    not_comparable: str = ""


@dataclass(frozen=True)
class Decision:
    """promote: whether the candidate becomes the champion. reason: why, or why not, in one line."""

    promote: bool
    reason: str


def decide(candidate: Candidate, champion: Champion | None, margins: Margins) -> Decision:
    """Promote a candidate that is sound alone and, where there is a champion, surely worse at no level and surely better at one.

    Surely below PCA, worse or better: by more than the margin, and, where there is an interval, with all of it on that side of zero. A
    number that is not a number speaks against the candidate.
    """
    objections = list(_alone(candidate, margins))
    if champion is None:
        praise = "the first champion" + _behind_pca(candidate)
    else:
        objections += _beside(champion, margins, candidate.variant)
        praise = _praise(champion) if not objections else ""
    return Decision(not objections, "; ".join(objections) or praise)


def _alone(candidate: Candidate, margins: Margins) -> Iterator[str]:
    if candidate.fault:
        yield candidate.fault
    if not len(candidate.fve) == len(candidate.gain) == len(candidate.pca_fve) > 0:
        yield "its evaluation is incomplete"
        return
    levels = zip(candidate.fve, candidate.pca_fve, _or_nan(candidate.above_pca_high, candidate.fve), strict=True)
    for k, (fve, pca, high) in enumerate(levels, 1):
        if _below(fve - pca, margins.pca, high):
            yield f"level {k} explains {fve:.3f}, PCA {pca:.3f}: {_sure('below PCA', high)}, by more than {margins.pca:g}"
    for k, gain in enumerate(candidate.gain, 1):
        if not gain >= -margins.gain:
            yield f"CV{k} has a gain of {gain:.3f} (allowed: {-margins.gain:g} or more)"
    for k, order in enumerate(candidate.order, 1):
        if order == OUT_OF_ORDER:
            yield f"CV{k} and CV{k + 1} are out of order: CV{k + 1} explains more"
    yield from _too_steep(candidate, margins)


def _behind_pca(candidate: Candidate) -> str:
    """What is to be said of a first champion that PCA is ahead of, though not surely by more than the margin; else ""."""
    behind = [k for k, (fve, pca) in enumerate(zip(candidate.fve, candidate.pca_fve, strict=False)) if pca > fve]
    if not behind:
        return ""
    k = behind[-1]
    return f", though PCA explains more at level {k + 1} ({candidate.pca_fve[k]:.3f} against {candidate.fve[k]:.3f}): PCA would do"


def _too_steep(candidate: Candidate, margins: Margins) -> Iterator[str]:
    for k, gradient in enumerate(candidate.gradient, 1):
        if margins.gradient is not None and not gradient <= margins.gradient:
            what = "a gradient" if gradient <= CLIFF else "a cliff that no force can act along"
            yield f"CV{k} has {what}: {gradient:.0f} per nm (allowed: {margins.gradient:g}; train with smooth)"


def _beside(champion: Champion, margins: Margins, variant: str) -> Iterator[str]:
    who = f"the champion (version {champion.version}, {champion.variant})"
    if champion.not_comparable:
        yield f"not comparable with {who}: {champion.not_comparable}; a person may decide (hae promote)"
        return
    differences, highs = _differences(champion), _or_nan(champion.high, champion.fve)
    below = [k for k, (difference, high) in enumerate(zip(differences, highs, strict=True)) if _below(difference, margins.worse, high)]
    for k in below:
        yield (f"level {k + 1} explains {champion.candidate_fve[k]:.3f}, {who} {champion.fve[k]:.3f} on the same test blocks"
               f": {_sure('worse', highs[k])}, by more than {margins.worse:g}")
    changes = variant != champion.variant and margins.variant is not None
    wanted = margins.variant if changes else margins.better
    assert wanted is not None  # `changes` only where there is such a margin
    lows = _or_nan(champion.low, champion.fve)
    if not below and not any(_above(difference, wanted, low) for difference, low in zip(differences, lows, strict=True)):
        yield (f"no level is {'surely ' if max(differences, default=0.0) >= wanted else ''}above {who} by {wanted:g}"
               + (", which a change of variant needs" if changes else "") + f" (best: {max(differences, default=0.0):+.4f})")


def _praise(champion: Champion) -> str:
    differences = _differences(champion)
    k = differences.index(max(differences))
    return (f"level {k + 1} explains {champion.candidate_fve[k]:.3f}, version {champion.version} ({champion.variant}) "
            f"{champion.fve[k]:.3f} on the same test blocks")


def _below(difference: float, margin: float, high: float) -> bool:
    """More than the margin below zero, and not perhaps above it. NaN is below; a bound that is NaN says nothing."""
    within, perhaps_above = difference >= -margin, high >= 0  # both False of NaN
    return not (within or perhaps_above)


def _above(difference: float, margin: float, low: float) -> bool:
    """At least the margin above zero, and not perhaps below it."""
    perhaps_below = low <= 0  # False of NaN
    return difference >= margin and not perhaps_below


def _sure(word: str, bound: float) -> str:
    """Nothing is sure that has no interval."""
    return f"{word} (too few independent rows to say how surely)" if math.isnan(bound) else f"surely {word}"


def _or_nan(bounds: tuple[float, ...], levels: tuple[float, ...]) -> tuple[float, ...]:
    return bounds or (float("nan"),) * len(levels)


def _differences(champion: Champion) -> list[float]:
    return [ours - theirs for ours, theirs in zip(champion.candidate_fve, champion.fve, strict=True)]
