"""How frames of biased rounds count: by a rule, from the bias that stands beside each trajectory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.data.colvar import read_colvar
from hae.data.units import BOLTZMANN
from hae.errors import BadInput

__all__ = ["RULES", "FrameWeights", "Rule", "colvar_of", "frame_weights", "share"]

Rule = tuple[str, float]  # of `RULES`, and kelvin

RULES = {"equal": 0.0, "tempered": 0.5, "reweighted": 1.0}  # of exp(rbias / kT), the exponent that a rule takes
RBIAS = ".rbias"  # how its column ends: metad.rbias, opes.rbias, restraint.rbias


@dataclass(frozen=True)
class FrameWeights:
    """Weights of the frames of a trajectory by their numbers, whose mean over a round is not 1 yet. of: the file that they come from,
    columns: its columns, weights: (N,) a row each.

    Example:
        >>> FrameWeights(Path("COLVAR.0"), ("time", "metad.rbias"), np.array([1.0, 3.0, 2.0]))(np.array([2, 0])).tolist()
        [2.0, 1.0]
    """

    of: Path
    columns: tuple[str, ...]
    weights: np.ndarray

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(N,) of frame numbers (N,). Raises BadInput for a frame that has no row."""
        needed = int(frames.max(initial=-1)) + 1
        if len(self.weights) < needed:
            raise self._other(f"{needed} frames")
        return self.weights[frames]

    def check_whole(self, frames: int) -> None:
        """Raises BadInput where the trajectory has another number of frames: which row is that of a frame nobody can tell."""
        if len(self.weights) != frames:
            raise self._other(f"{frames} frames")

    def _other(self, frames: str) -> BadInput:
        return BadInput(f"{self.of}: {len(self.weights)} rows for {frames}, columns {', '.join(self.columns)}; "
                        "allowed: a row for each frame, or prepare.rounds: equal")


def frame_weights(path: Path, rule: str, temperature: float) -> FrameWeights:
    """Of the frames of the trajectory path.

    path: a file walker-I.dcd, with COLVAR.I beside it, frame by frame. rule: of `RULES`; 1 for all frames, exp(rbias / kT) as the frames
    would be without a bias, or the root of that. temperature: kelvin, where no round.json beside the trajectory says that of its round.

    Raises:
        BadInput: a trajectory without such a file or without one column that ends in .rbias, or a bias that gives no weight.
    """
    beside = colvar_of(path)
    if not beside.is_file():
        raise BadInput(f"{beside}: no such file; allowed: beside each trajectory the COLVAR of its bias, or prepare.rounds: equal")
    table = read_colvar(beside)
    found = [name for name in table if name.endswith(RBIAS)]
    if len(found) != 1:
        raise BadInput(f"{beside}: columns {', '.join(map(str, table))}; "
                       f"allowed: one column that ends in {RBIAS}, or prepare.rounds: equal")
    column, bias, temperature = found[0], table[found[0]].to_numpy(dtype=float), _of_round(path, temperature)
    with np.errstate(over="ignore"):
        weights = np.exp(RULES[rule] * bias / (BOLTZMANN * temperature))
    if len(wrong := np.flatnonzero(~np.isfinite(weights))):
        raise BadInput(f"{beside}: row {wrong[0] + 1}: {column} is {bias[wrong[0]]:g}, which gives no weight at {temperature:g} K; "
                       "allowed: kJ/mol, finite and of a size that a simulation has")
    return FrameWeights(beside, tuple(map(str, table)), weights)


def _of_round(path: Path, otherwise: float) -> float:
    """Kelvin, at which the round of a trajectory was simulated."""
    told = path.with_name("round.json")
    return float(json.loads(told.read_text()).get("dynamics", {}).get("temperature", otherwise)) if told.is_file() else otherwise


def colvar_of(path: Path) -> Path:
    """Where the bias of a trajectory walker-I.dcd of a round stands."""
    return path.with_name(f"COLVAR.{path.stem.rpartition('-')[2]}")


def share(weights: np.ndarray) -> float:
    """Effective share of the frames: (sum w)^2 / (N sum w^2), Kish's.

    Example:
        >>> share(np.array([1.0, 1.0, 1.0, 1.0])), share(np.array([4.0, 0.0, 0.0, 0.0]))
        (1.0, 0.25)
    """
    return float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum()))
