"""The side of every row: training, validation or test, by a hash of where it comes from, so that it never changes when data grow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from hae.errors import BadInput

__all__ = ["SIDES", "split_rows"]

SIDES = ("train", "validation", "test")


def split_rows(
    trajectory: np.ndarray,
    frame: np.ndarray,
    *,
    block_frames: int,
    gap_frames: int,
    shares: Sequence[float],
    salt: str = "",
    ids: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> np.ndarray:
    """The side of every row: (N,) of "train", "validation", "test" or "gap".

    The unit is the block (trajectory, frame // block_frames). The hash of its name alone says its side, so a block
    stays where it is when data grow. `gap_frames` at both ends of every block go to no side, so that the sides are
    2 gap_frames apart. A row without a trajectory is a block of its own, known by its id or else by its values, and has
    no gap: rows that are equal are always on the same side.

    trajectory, frame, ids: (N,); values: (N, D); shares: of train, validation and test, 0 or more, with the sum 1.
    Raises BadInput for numbers that can't be.

    Example: A trajectory that grows: its first 100 frames stay on their sides.
        >>> rule = {"block_frames": 10, "gap_frames": 1, "shares": (0.6, 0.2, 0.2)}
        >>> before, after = (split_rows(np.full(n, "a"), np.arange(n), **rule) for n in (100, 200))
        >>> bool((before == after[:100]).all()), before[[0, 9]].tolist()  # the first and the last frame of a block
        (True, ['gap', 'gap'])
    """
    of_sides = np.asarray(shares, dtype=float)
    if of_sides.shape != (3,) or not np.all(of_sides >= 0) or abs(of_sides.sum() - 1) > 1e-6:
        raise BadInput(f"shares: {of_sides.tolist()} is not allowed: train, validation and test, each 0 or more, with the sum 1")
    if gap_frames < 0 or block_frames < 1 + 2 * gap_frames:
        raise BadInput(f"block_frames: {block_frames} is not allowed with gap_frames: {gap_frames}: more than 2 gap_frames")
    trajectory, frame = np.asarray(trajectory).astype(str), np.asarray(frame)
    edges = np.cumsum(of_sides)[:2]
    sides = np.empty(len(frame), dtype="<U10")
    alone = trajectory == ""
    if alone.any():
        if ids is None and values is None:
            raise ValueError("rows without a trajectory need ids or values")
        if ids is not None:
            keys = (str(name).encode() for name in np.asarray(ids)[alone])
        else:  # + 0.0: -0.0 and 0.0 are one number
            keys = (row.tobytes() for row in np.ascontiguousarray(np.asarray(values)[alone], dtype="<f8") + 0.0)
        sides[alone] = _sides((b"row\0" + key for key in keys), salt, edges)
    rows = np.flatnonzero(~alone)
    if not len(rows):
        return sides
    names, name_of = np.unique(trajectory[rows], return_inverse=True)
    numbers = frame[rows] // block_frames
    blocks, block_of = np.unique(np.stack([name_of, numbers]), axis=1, return_inverse=True)
    keys = (f"block\0{names[int(name)]}\0{number}".encode() for name, number in zip(blocks[0], blocks[1].astype(numbers.dtype)))
    sides[rows] = _sides(keys, salt, edges)[block_of.reshape(-1)]
    place = frame[rows] % block_frames
    sides[rows[(place < gap_frames) | (place >= block_frames - gap_frames)]] = "gap"
    return sides


def _sides(keys: Iterable[bytes], salt: str, edges: np.ndarray) -> np.ndarray:
    """The sides of keys, each by its own hash."""
    start = hashlib.sha256(salt.encode() + b"\0")

    def number(key: bytes) -> float:
        own = start.copy()
        own.update(key)
        return int.from_bytes(own.digest()[:8], "big") / 2**64

    return np.array(SIDES, dtype="<U10")[np.searchsorted(edges, np.array([number(key) for key in keys]), side="right")]
