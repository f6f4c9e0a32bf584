"""How frames of biased rounds count: by a rule, from the bias that stands beside each trajectory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hae.data.colvar import read_colvar
from hae.data.units import BOLTZMANN
from hae.errors import BadInput

__all__ = ["RULES", "Rule", "colvar_of", "frame_weights", "share"]

Rule = tuple[str, float]  # of `RULES`, and kelvin

RULES = {"equal": 0.0, "tempered": 0.5, "reweighted": 1.0}  # of exp(rbias / kT), the exponent that a rule takes
RBIAS = ".rbias"  # how its column ends: metad.rbias, opes.rbias, restraint.rbias


def frame_weights(path: Path, rule: str, temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """Of frame numbers (N,) of the trajectory path the weights (N,), whose mean over a round is not 1 yet.

    path: a file walker-I.dcd, with COLVAR.I beside it, frame by frame. rule: of `RULES`; 1 for all frames, exp(rbias / kT) as the frames
    would be without a bias, or the root of that. temperature: kelvin.

    Raises:
        BadInput: a trajectory without such a file or without a column that ends in .rbias, or a bias that gives no weight; when asked, a
            frame that has no row there.
    """
    beside = colvar_of(path)
    if not beside.is_file():
        raise BadInput(f"{beside}: no such file; allowed: beside each trajectory the COLVAR of its bias, or prepare.rounds: equal")
    table = read_colvar(beside)
    column = next((name for name in table if name.endswith(RBIAS)), None)
    bias = np.zeros(0) if column is None else table[column].to_numpy(dtype=float)
    with np.errstate(over="ignore"):
        weights = np.exp(RULES[rule] * bias / (BOLTZMANN * temperature))
    if len(wrong := np.flatnonzero(~np.isfinite(weights))):
        raise BadInput(f"{beside}: row {wrong[0] + 1}: {column} is {bias[wrong[0]]:g}, which gives no weight at {temperature:g} K; "
                       "allowed: kJ/mol, finite and of a size that a simulation has")

    def of(frames: np.ndarray) -> np.ndarray:
        needed = int(frames.max(initial=-1)) + 1
        if len(weights) < needed:
            raise BadInput(f"{beside}: {len(table)} rows for {needed} frames, columns {', '.join(map(str, table))}; "
                           f"allowed: a row for each frame, one column that ends in {RBIAS}, or prepare.rounds: equal")
        return weights[frames]

    return of


def colvar_of(path: Path) -> Path:
    """Where the bias of a trajectory walker-I.dcd of a round stands."""
    return path.with_name(f"COLVAR.{path.stem.rpartition('-')[2]}")


def share(weights: np.ndarray) -> float:
    """Of frames that count: (sum w)^2 / (N sum w^2), Kish's."""
    return float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum()))
