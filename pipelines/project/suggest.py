"""What suits the data: a split from how long they remember, and a training from how many they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hae.data.frames import Frames
from hae.data.split import SIDES, split_rows
from hae.errors import BadInput
from hae.importance.intervals import OK_N_EFF, ROUGH_N_EFF, Sampling

__all__ = ["Memory", "SuggestedSplit", "memory", "split_for", "training_for"]

ENOUGH_BLOCKS = 70  # in all, so that the test side has the 20 that verdicts need
LONGEST = 200_000  # frames looked at


@dataclass(frozen=True)
class Memory:
    """time: frames after which the slowest of what was looked at has forgotten where it was; independent: frames in all; of: its name."""

    time: float
    independent: float
    of: str


@dataclass(frozen=True)
class SuggestedSplit:
    """The keys of prepare.split."""

    block_frames: int
    gap_frames: int
    shares: tuple[float, float, float]
    salt: str = ""


def memory(frames: Frames) -> Memory:
    """The integrated autocorrelation time of the slowest of five principal components (by column scale for tables) and the labels."""
    rows = slice(0, None) if len(frames) <= LONGEST else slice(0, LONGEST)
    values, table = np.asarray(frames.values[rows], dtype=float), frames.values.dtype == np.float64
    spread = np.nanstd(values, axis=0)
    centred = np.nan_to_num((values - np.nanmean(values, axis=0)) / (np.where(spread > 0, spread, 1) if table else 1))
    series = {f"principal component {k}": centred @ vector for k, vector in enumerate(_leading(centred, 5), 1)}
    for name, period in zip(frames.labels.columns, frames.label_periods, strict=True):
        label = frames.labels[name].to_numpy(dtype=float)[rows]
        if period is None:
            series[str(name)] = label
        else:
            series |= {f"{name} (sine)": np.sin(2 * np.pi * label / period), f"{name} (cosine)": np.cos(2 * np.pi * label / period)}
    sampling = Sampling.of(len(values), frames.trajectory[rows], frames.frame[rows])
    independent = dict(zip(series, sampling.n_eff(np.stack(list(series.values()))).tolist(), strict=True))
    slowest = min(independent, key=lambda name: independent[name])
    time = len(values) / max(independent[slowest], 1.0)
    return Memory(time, len(frames) / time, slowest)


def _leading(centred: np.ndarray, k: int) -> np.ndarray:
    """The first k principal axes (k, D) of rows (N, D), largest first.

    By subspace iteration (Halko, Martinsson and Tropp, SIAM Rev. 53, 217 (2011), algorithm 4.4), since of thousands of features no matrix
    of all with all is made.
    """
    k = min(k, *centred.shape)
    axes = np.random.default_rng(0).normal(size=(centred.shape[1], min(k + 10, *centred.shape)))
    for _ in range(8):
        axes, _ = np.linalg.qr(centred.T @ (centred @ axes))
    _, _, turns = np.linalg.svd(centred @ axes, full_matrices=False)
    return turns[:k] @ axes.T


def split_for(frames: Frames, known: Memory) -> tuple[SuggestedSplit, list[str]]:
    """A split with rows on every side, and what there is to say of it. Raises BadInput for data too few to split."""
    n = len(frames)
    said = []
    alone = (frames.trajectory == "").all()
    thing = "rows" if alone else "frames"
    if alone:
        split = SuggestedSplit(1, 0, (0.45, 0.15, 0.4) if n < 4000 else (0.7, 0.15, 0.15))
        said.append("split: by single rows, as they are independent")
    else:
        gap = math.ceil(known.time) if known.time > 1.5 else 0
        block = max(n // 100, 8 * gap, 5)
        if n // block < ENOUGH_BLOCKS:  # more of the data into gaps, and gaps cut short only where nothing else helps
            block = max(n // ENOUGH_BLOCKS, 5)
            gap = min(gap, block // 4)
        shares = (0.45, 0.15, 0.4) if known.independent < 4000 else (0.7, 0.15, 0.15)
        split = SuggestedSplit(block, gap, shares)
        said.append(f"split: blocks of {block} frames, {gap} frames cut at both ends ({known.of} is correlated over about "
                    f"{known.time:.0f} frames)")
    for salt in ("", *"abcdefghij"):
        tried = replace(split, salt=salt)
        sides = split_rows(frames.trajectory, frames.frame, block_frames=tried.block_frames, gap_frames=tried.gap_frames,
                           shares=tried.shares, salt=salt, values=frames.values)
        if all((sides == side).any() for side in SIDES):
            break
    else:
        raise BadInput(f"data: {n} {thing} are too few for training, validation and test; allowed: more {thing}")
    worth = known.independent * float(np.mean(sides == "test"))
    words = "enough for verdicts"
    if worth < OK_N_EFF:
        words = "rough intervals" if worth >= ROUGH_N_EFF else "perhaps too few for intervals and verdicts"
    number = int(np.sum(sides == "test"))
    lost = float(np.mean(sides == "gap"))
    if lost > 0.05:
        said[-1] += f"; the gaps cost {lost:.0%} of the frames"
    said.append(f"test side: {number} {thing}, of which about {worth:.0f} count as independent: {words} "
                f"({ROUGH_N_EFF} are needed for intervals, {OK_N_EFF} for sure ones; the report counts again, by the model's errors)")
    return tried, said


def training_for(rows: int) -> dict[str, int]:
    """batch_size and max_epochs that give about 1,200 steps or more, whatever the number of training rows."""
    batch = int(np.clip(2 ** round(math.log2(max(rows, 1) / 16)), 16, 512))
    epochs = int(np.clip(math.ceil(1200 / math.ceil(rows / batch)), 40, 200))
    return {"batch_size": batch, "max_epochs": epochs, "patience": max(20, epochs // 4)}
