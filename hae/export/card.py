"""What every exported file says of itself: version, lineage, units, atoms, and range and period of each CV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export.cv import PositionsToCVs
from hae.export.encoder import Encoder
from hae.files import write_json
from hae.network.kinds import PERIODS

__all__ = ["Card", "card_of", "write_card"]

USED = ("kind", "names", "reference", "pairs", "torsions")  # of a molecule's recipe


@dataclass(frozen=True)
class Card:
    """ranges: lowest and highest value of each CV in the training data, None where not known; feature_ranges: of each feature, or ();
    periods: None of a CV without one; activation: of the encoder's hidden layers; recipe: how positions of a molecule become features.

    Example:
        >>> card = Card("dipeptide", "3", {}, ("x",), ("nm",), (), ("cv1",), ("linear",), (None,), ranges=((-1.5, 1.5),))
        >>> print(*card.lines(), sep="\\n")
        dipeptide version 3, exported by hae
        features: x [nm]
        cv1: linear, no unit, no period, training data from -1.5 to 1.5
    """

    model: str
    version: str
    lineage: Mapping[str, str]
    features: tuple[str, ...]
    units: tuple[str, ...]
    atoms: tuple[str, ...]
    cvs: tuple[str, ...]
    kinds: tuple[str, ...]
    periods: tuple[float | None, ...]
    ranges: tuple[tuple[float, float] | None, ...]
    activation: str = "tanh"
    feature_ranges: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = field(default=())
    recipe: Recipe | None = None

    def to_dict(self) -> dict:
        """Of the recipe what positions need; its labels are no matter of the CVs."""
        used = None if self.recipe is None else {name: getattr(self.recipe, name) for name in USED if getattr(self.recipe, name)}
        return asdict(replace(self, recipe=None)) | {"lineage": dict(self.lineage), "recipe": used}

    def lines(self) -> list[str]:
        """In words, a line each, for the head of a file."""
        said = [f"{self.model} version {self.version}, exported by hae"] + [f"{name}: {value}" for name, value in self.lineage.items()]
        said.append("features: " + ", ".join(f"{name} [{unit}]" if unit else name for name, unit in zip(self.features, self.units)))
        said += [f"atoms: {', '.join(self.atoms)}"] if self.atoms else []
        for name, kind, period, between in zip(self.cvs, self.kinds, self.periods, self.ranges):
            words = "radians, period 2 pi" if period else "no unit, no period"
            known = f"training data from {between[0]:.6g} to {between[1]:.6g}" if between else "range of the training data not known"
            said.append(f"{name}: {kind}, {words}, {known}")
        return said + list(self.notes)


def card_of(
    encoder: Encoder,
    features: Sequence[str],
    units: Sequence[str],
    function: PositionsToCVs | None = None,
    ranges: Sequence[tuple[float, float] | None] | None = None,
    model: str = "model",
    version: str = "none",
    lineage: Mapping[str, str] | None = None,
    feature_ranges: Sequence[tuple[float, float]] = (),
) -> Card:
    """The card of an encoder. ranges: of its CVs, at least as many. Raises BadInput for names that are not those of its features."""
    if len(features) != encoder.n_features:
        raise BadInput(f"features: {len(features)} names, the model reads {encoder.n_features}; allowed: the model's own, in their order")
    n = len(encoder.kinds)
    known = [None] * n if ranges is None else [None if r is None else (float(r[0]), float(r[1])) for r in list(ranges)[:n]]
    return Card(
        model, version, dict(lineage or {}), tuple(features), tuple(units), function.atoms if function else (),
        tuple(f"cv{k + 1}" for k in range(n)), encoder.kinds,
        tuple(PERIODS[kind] for kind in encoder.kinds), tuple(known),
        encoder.activation, tuple((float(low), float(high)) for low, high in feature_ranges),
        recipe=function.recipe if function else None,
    )  # fmt: skip


def write_card(card: Card, folder: Path) -> Path:
    """Write card.json."""
    write_json(folder / "card.json", card.to_dict())
    return folder / "card.json"
