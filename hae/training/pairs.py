"""From a matrix to pairs of input and target: time lag, side of the split, missing values, standardised tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hae.data.split import SIDES, split_rows
from hae.errors import BadInput
from hae.network.objective import standardisation
from hae.notices import warn_once
from hae.training.rows import Rows

__all__ = ["SMALLEST_SIDE", "Pairs", "Standard", "make_pairs", "split_or_warn"]

SMALLEST_SIDE = 20  # rows of a held-out side below which holding out says nothing


@dataclass(frozen=True)
class Standard:
    """Mean and scale of inputs and targets, in raw units, taken from training rows.

    Example:
        >>> Standard.of(Pairs.same(np.array([[0.0, 1.0], [2.0, 5.0]])), "feature").input_scale
        array([1., 2.])
    """

    input_mean: np.ndarray
    input_scale: np.ndarray
    output_mean: np.ndarray
    output_scale: np.ndarray

    @classmethod
    def of(cls, pairs: "Pairs", scale: str) -> "Standard":
        of_input = standardisation(pairs.inputs, scale, pairs.weights)
        same = pairs.targets is pairs.inputs
        return cls(*of_input, *(of_input if same else standardisation(pairs.targets, scale, pairs.weights)))


@dataclass(frozen=True)
class Pairs:
    """Rows in raw units, NaN where missing.

    inputs: (N, D); targets: (N, D'), the same array where the target is the input; weights: (N,) or None; trajectory, frame: (N,) where
    each input comes from. No trajectory: rows that stand alone, and frame is their place among all rows, where it is known.

    Example:
        >>> series = np.arange(5.0)[:, None]
        >>> pairs = make_pairs(series, np.full(5, "walk"), None, np.full(5, "train"), lag=2)["train"]
        >>> [(float(now), float(later)) for now, later in zip(pairs.inputs[:, 0], pairs.targets[:, 0])]
        [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)]
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    frame: np.ndarray | None = None

    @classmethod
    def same(cls, X: np.ndarray, weights: np.ndarray | None = None) -> "Pairs":
        """Rows (N, D) that are their own target."""
        return cls(X, X, weights)

    @classmethod
    def joined(cls, parts: "Sequence[Pairs]") -> "Pairs":
        """Sides of one source in one, its rows in the order of their frames, as they were before the split."""
        if len(parts) == 1:
            return parts[0]

        def whole(name: str) -> np.ndarray | None:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        inputs = np.concatenate([part.inputs for part in parts])
        targets = inputs if parts[0].targets is parts[0].inputs else np.concatenate([part.targets for part in parts])
        both = cls(inputs, targets, whole("weights"), whole("trajectory"), whole("frame"))
        return both if both.frame is None else both.take(np.argsort(both.frame, kind="stable"))

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> "Pairs":
        inputs = self.inputs[rows]
        targets = inputs if self.targets is self.inputs else self.targets[rows]
        return Pairs(inputs, targets, *(None if of is None else of[rows] for of in (self.weights, self.trajectory, self.frame)))

    def blocks(self, block_frames: int) -> np.ndarray | None:
        """(N,) number of the block of so many frames that each row is in; one without trajectory ("") is a block of its own. None where
        all rows stand alone."""
        if self.trajectory is None or self.frame is None or not (self.trajectory != "").any():
            return None
        _, trajectory = np.unique(self.trajectory, return_inverse=True)
        number = np.where(self.trajectory == "", np.arange(len(self)), self.frame // block_frames)
        _, blocks = np.unique(np.stack([trajectory, number]), axis=1, return_inverse=True)
        return blocks.ravel()

    def rows(self, standard: Standard, device: torch.device) -> Rows:
        """Standardised float32 tensors on the device. A missing input is read as the mean, a missing target is not observed."""

        def tensor(values, mean, scale):
            return torch.from_numpy(np.nan_to_num((values - mean) / scale).astype(np.float32)).to(device)

        missing = np.isnan(self.targets)
        inputs = tensor(self.inputs, standard.input_mean, standard.input_scale)
        targets = inputs if self.targets is self.inputs else tensor(self.targets, standard.output_mean, standard.output_scale)
        weights = None if self.weights is None else torch.from_numpy((self.weights / self.weights.mean()).astype(np.float32)).to(device)
        return Rows(
            inputs,
            targets,
            weights,
            torch.from_numpy((~missing).astype(np.float32)).to(device) if missing.any() else None,
        )


def make_pairs(
    X: np.ndarray,
    groups: np.ndarray | None,
    frame: np.ndarray | None,
    split: np.ndarray,
    *,
    lag: int = 0,
    target: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, Pairs]:
    """Pairs of each side. With a lag, the target of a row is what stands ``lag`` frames later in the same trajectory and on the
    same side: never across the end of a trajectory, in a gap or on another side. A row without trajectory ("") has no later one.

    Raises:
        BadInput: the target or the weights do not fit the rows, or no pair is left.
    """
    if target is not None:
        target = np.asarray(target, dtype=X.dtype)
        target = target[:, None] if target.ndim == 1 else target
        if len(target) != len(X):
            raise BadInput(f"target: {len(target)} rows, but X has {len(X)}; allowed: as many")
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != (len(X),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise BadInput(f"sample_weight: allowed are {len(X)} finite numbers above zero, one for each row")
    if groups is not None:
        frame = frame_numbers(groups) if frame is None else np.asarray(frame)
    pairs = Pairs(X, X if target is None else target, weights, groups, np.arange(len(X)) if groups is None else frame)
    if not lag:
        return {side: pairs.take(split == side) for side in SIDES}
    keys = [] if groups is None or frame is None else list(zip(groups.tolist(), frame.tolist()))
    place = {key: row for row, key in enumerate(keys) if key[0] != ""}
    later = np.array([place.get((name, number + lag), -1) for name, number in keys] or [-1] * len(X))
    later[(later >= 0) & (split != split[later])] = -1
    now = {side: np.flatnonzero((later >= 0) & (split == side)) for side in SIDES}
    lagged = {side: replace(pairs.take(rows), targets=pairs.targets[later[rows]]) for side, rows in now.items()}
    if not len(lagged["train"]):
        raise BadInput(f"lag: {lag} leaves no pair of frames in the training rows; allowed: less than the length of a block")
    return lagged


def frame_numbers(groups: np.ndarray) -> np.ndarray:
    """(N,): number of each row inside its group, in the order of the rows."""
    numbers = np.empty(len(groups), dtype=np.int64)
    order = np.argsort(groups, kind="stable")
    _, counts = np.unique(groups, return_counts=True)
    numbers[order] = np.concatenate([np.arange(count) for count in counts])
    return numbers


def split_or_warn(
    X: np.ndarray, groups: np.ndarray | None, frame: np.ndarray | None, *, shares, block_frames: int, gap_frames: int
) -> np.ndarray:
    """(N,) side of each row by `hae.data.split.split_rows`; all "train", with a warning, where a held-out side would be too small."""
    if groups is None:
        split = split_rows(
            np.full(len(X), ""),
            np.arange(len(X)),
            block_frames=block_frames,
            gap_frames=gap_frames,
            shares=shares,
            values=X,
        )
    else:
        split = split_rows(
            groups,
            frame_numbers(groups) if frame is None else np.asarray(frame),
            block_frames=block_frames,
            gap_frames=gap_frames,
            shares=shares,
            values=X,
        )
    sides = {side: int((split == side).sum()) for side, share in zip(("train", "validation", "test"), shares) if share > 0}
    if min(sides.values()) >= SMALLEST_SIDE:
        return split
    warn_once(
        "too few rows to hold some out (" + ", ".join(f"{side} {rows}" for side, rows in sides.items()) + f"; at least "
        f"{SMALLEST_SIDE} of each are needed): all rows train, no early stop, and the explained variance is that of the "
        "training rows",
        "few rows",
    )
    return np.full(len(X), "train", dtype=split.dtype if split.dtype.kind == "U" else object)
