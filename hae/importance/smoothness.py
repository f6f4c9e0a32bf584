"""Whether a force can act along CVs: the verdict smooth, steep or cliff on gradients that `hae.importance.gradients` measures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from hae.errors import BadInput

__all__ = ["CLIFF", "PER_NM", "STEEP", "Gradient", "Smoothness", "verdict"]

PER_NM = "1/nm"
# Per nm, of the largest gradient: docs/biasing.md. Below the first no biased walker was torn apart at 4 fs, above the second most were.
STEEP, CLIFF = 150.0, 250.0


def verdict(largest: float) -> str:
    """Of a molecule's CV by its largest gradient, per nm: smooth, steep or cliff, which it is too where the gradient is no number."""
    return "smooth" if largest < STEEP else "steep" if largest <= CLIFF else "cliff"


@dataclass(frozen=True)
class Gradient:
    """|ds/dx| of one CV over the frames, and the row where it is largest. verdict: smooth, steep or cliff; "" for a table, of which no
    biased simulation has told what is too steep.

    Example:
        >>> [Gradient("CV1", 20.0, 40.0, largest, row=7, verdict=verdict(largest)).verdict for largest in (60.0, 200.0, 900.0)]
        ['smooth', 'steep', 'cliff']
    """

    cv: str
    median: float
    high: float
    largest: float
    row: int
    verdict: str = ""


@dataclass(frozen=True)
class Smoothness:
    """Of every CV. unit: of |ds/dx|, "1/nm" or "1/standard deviation"; high: the 99.9 % quantile.

    Example:
        >>> Smoothness("1/nm", (Gradient("CV1", 20.0, 40.0, 60.0, row=7, verdict=verdict(60.0)),)).sentence
        'A bias can act along every CV: largest gradient CV1, 60 per nm at row 7 (median 20).'
    """

    unit: str
    gradients: tuple[Gradient, ...]

    @property
    def steepest(self) -> Gradient:
        """The largest of all CVs."""
        return max(self.gradients, key=lambda gradient: gradient.largest)

    @property
    def sentence(self) -> str:
        """In words: which CVs a force can act along."""
        unit, steepest = "per nm" if self.unit == PER_NM else "per standard deviation of the inputs", self.steepest
        told = f"largest gradient {steepest.cv}, {steepest.largest:.0f} {unit} at row {steepest.row} (median {steepest.median:.2g})"
        if not steepest.verdict:
            return f"{told}."
        names = {word: ", ".join(g.cv for g in self.gradients if g.verdict == word) for word in ("cliff", "steep")}
        if names["cliff"]:
            return f"A bias along {names['cliff']} may tear molecules apart (cliff: above {CLIFF:.0f} {unit}): {told}."
        if names["steep"]:
            return f"A bias along {names['steep']} needs care (steep: above {STEEP:.0f} {unit}): {told}."
        return f"A bias can act along every CV: {told}."

    @property
    def words(self) -> str:
        """A phrase for a verdict on molecules; "" for tables."""
        steepest = self.steepest
        told = f"largest gradient {steepest.cv}, {steepest.largest:.0f} per nm"
        if not steepest.verdict:
            return ""
        if steepest.verdict == "smooth":
            return f"a bias can act along every CV ({told})"
        which = " and ".join(g.cv for g in self.gradients if g.verdict == steepest.verdict)
        return f"a bias along {which} {'may tear molecules apart' if steepest.verdict == 'cliff' else 'needs care'} ({told})"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Smoothness:
        """Raises BadInput for anything but what `to_json` wrote."""
        try:
            about = json.loads(text)
            return cls(about["unit"], tuple(Gradient(**gradient) for gradient in about["gradients"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise BadInput(f"smoothness: not what hae wrote ({error}); allowed: the text of Smoothness.to_json") from None
