"""How frames of biased rounds count: by a rule, from the bias that stands beside each trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hae.data.colvar import read_colvar
from hae.data.frames import Frames
from hae.data.units import BOLTZMANN
from hae.errors import BadInput

__all__ = ["RULES", "round_weights", "share"]

RULES = {"equal": 0.0, "tempered": 0.5, "reweighted": 1.0}  # of exp(rbias / kT), the exponent that a rule takes
RBIAS = ".rbias"  # how its column ends: metad.rbias, opes.rbias, restraint.rbias


def round_weights(frames: Frames, files: Mapping[str, Path], rule: str, temperature: float | None) -> np.ndarray | None:
    """(N,) weight of each frame, None where all count alike. The mean over a round is 1, so a round counts by its frames.

    files: name of a trajectory -> its file walker-I.dcd, beside which COLVAR.I has a row a frame. rule: equal (all frames alike),
    reweighted (exp(rbias / kT), as the frames would be without a bias) or tempered (the root of that). temperature: kelvin.

    Raises:
        BadInput: a trajectory without such a file, without a column that ends in .rbias, or with more frames than it has rows.
    """
    if rule == "equal" or temperature is None:
        return None
    weights = np.ones(len(frames))
    home = np.empty(len(frames), dtype=object)
    for name, path in files.items():
        mine = frames.trajectory == name
        beside = path.with_name(f"COLVAR.{path.stem.rpartition('-')[2]}")
        rows = frames.frame[mine]
        weights[mine] = np.exp(RULES[rule] * _rbias(beside, int(rows.max(initial=-1)) + 1)[rows] / (BOLTZMANN * temperature))
        home[mine] = str(path.parent)
    for folder in set(home):
        weights[home == folder] /= weights[home == folder].mean()
    return weights


def share(weights: np.ndarray) -> float:
    """Of frames that count: (sum w)^2 / (N sum w^2), Kish's."""
    return float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum()))


def _rbias(path: Path, frames: int) -> np.ndarray:
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: beside each trajectory the COLVAR of its bias, or prepare.rounds: equal")
    table = read_colvar(path)
    column = next((name for name in table if name.endswith(RBIAS)), None)
    if column is None or len(table) < frames:
        raise BadInput(f"{path}: {len(table)} rows for {frames} frames, columns {', '.join(map(str, table))}; "
                       f"allowed: a row for each frame, one column that ends in {RBIAS}, or prepare.rounds: equal")
    return table[column].to_numpy()
