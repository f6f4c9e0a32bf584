"""What is known of each round of a loop, kept in `.hae/loop.jsonl`, and the rule by which a loop ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from hae.files import add_line, newest_lines
from pipelines import settings

__all__ = ["QUIET", "Turn", "ended", "holds", "keep", "turns", "words"]

NEW = 0.02  # of the cells, that a round has to add; else it found no new region
WITHIN = 0.9  # of the places: as many as an interval at 90 % is to cover
STILL = 0.01  # of FVE, by which a level may move
QUIET = 2  # rounds in a row in which all held, and the loop ends
REGION, ENERGY, VERDICTS, LEVELS = "no new region", "free energy", "verdicts", "levels"


@dataclass(frozen=True)
class Turn:
    """Of a round: which CVs it was biased along, nanoseconds in all so far, cells of the CVs' plane and those that it added, walkers torn
    apart, the champion after it; of the training on it the effective share of frames, the FVE of each level and the verdict on each CV;
    within: share of places along the CVs where the free energy from all rounds lies in the interval that those before this one gave,
    None where there was none before."""

    round: str
    version: str
    nanoseconds: float
    cells: int
    new: int
    torn: int
    champion: str
    share: float = 1.0
    fve: Sequence[float] = ()
    verdicts: Sequence[str] = ()
    within: float | None = None

    @property
    def quiet(self) -> bool:
        """Whether it found no new region."""
        return self.new < NEW * self.cells


def holds(turn: Turn, before: Turn) -> dict[str, bool]:
    """What of the rule holds after a round, against the one before it. Rounds without a bias are not asked for the free energy."""
    found = {REGION: turn.quiet}
    if turn.version:
        found[ENERGY] = turn.within is not None and turn.within >= WITHIN
    alike = len(turn.fve) == len(before.fve) > 0
    return found | {VERDICTS: bool(turn.verdicts) and list(turn.verdicts) == list(before.verdicts),
                    LEVELS: alike and max(abs(a - b) for a, b in zip(turn.fve, before.fve)) <= STILL}


def ended(told: Sequence[Turn]) -> bool:
    """Whether all held in the last rounds, so that another is not worth its time."""
    last = list(pairwise(told))[-QUIET:]
    return len(last) == QUIET and all(all(holds(turn, before).values()) for before, turn in last)


def words(told: Sequence[Turn]) -> str:
    """What held after the last round, and what did not, with its numbers; "" after a first one."""
    if len(told) < 2:
        return ""
    before, turn = told[-2:]
    found = holds(turn, before)
    numbers = _numbers(turn, before)
    parts = [", ".join(f"{name} ({numbers[name]})" for name, held in found.items() if held is wanted) for wanted in (True, False)]
    return "; ".join(f"{head}: {part}" for head, part in zip(("held", "did not hold"), parts) if part)


def _numbers(turn: Turn, before: Turn) -> Mapping[str, str]:
    moved = [abs(a - b) for a, b in zip(turn.fve, before.fve)]
    return {
        REGION: f"{turn.new} new cells of {turn.cells}",
        ENERGY: "nothing known before" if turn.within is None else f"{turn.within:.0%} of the places within their interval",
        VERDICTS: ", ".join(f"CV{k} {verdict}" for k, verdict in enumerate(turn.verdicts, 1)) or "unknown",
        LEVELS: f"within {max(moved):.3f} of FVE" if moved else "unknown",
    }


def turns(project: Path) -> list[Turn]:
    """What is known of the rounds, in order; each round once."""
    found: dict[str, Turn] = {}
    for entry in newest_lines(settings.home(project) / "loop.jsonl"):
        with suppress(TypeError):  # of another version of hae
            found.setdefault(entry.get("round", ""), Turn(**entry))
    return [found[name] for name in sorted(found, key=int)]


def keep(project: Path, turn: Turn) -> None:
    """Add a line."""
    add_line(settings.home(project) / "loop.jsonl", asdict(turn))
