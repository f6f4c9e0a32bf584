"""The sides of a data set for what looks at all rows: arrays where memory holds them, else rows in files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from hae.data.frames import Frames, concatenate, read_pieces
from hae.data.parts import Manifest
from hae.data.rows import RowFile
from hae.errors import BadInput

__all__ = ["sides_of"]


@contextmanager
def sides_of(folder: Path, scratch: Path, limit: int) -> Iterator[tuple[Frames, Frames, Frames]]:
    """Training rows, test rows and all rows of a data set. Where they take more than ``limit`` bytes, `Frames.values` are
    `hae.data.rows.FileRows` in a folder, ``scratch``, that is removed at the end, and all rows come without labels; what stands
    beside the values is in memory.

    Raises BadInput as `Frames.read`, and where there are no test rows.

    Example: Four rows in files.
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> frames = Frames(np.arange(8.0).reshape(4, 2), ("x", "y"), ("", ""), np.full(4, "a"), np.arange(4),
        ...                 pd.DataFrame(index=range(4)), split=np.array(["train", "gap", "train", "test"]))
        >>> _ = frames.write(place / "frames")
        >>> with sides_of(place / "frames", place / "scratch", limit=10) as (train, test, seen):
        ...     len(train), len(test), len(seen), train.values[1:].tolist()
        (2, 1, 4, [[4.0, 5.0]])
    """
    manifest = Manifest.read(folder)
    if not manifest.sides["test"]:
        raise BadInput(f"{folder}: no test rows; allowed: prepare.split.shares that leave some")
    if manifest.bytes <= limit:
        frames = Frames.read(folder)
        yield frames.select("train"), frames.select("test"), frames
        return
    try:
        yield _in_files(folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _in_files(folder: Path, scratch: Path) -> tuple[Frames, Frames, Frames]:
    files = [RowFile(scratch / name) for name in ("train", "test", "all")]
    beside: list[list[Frames]] = [[], [], []]
    about: Frames | None = None
    for piece in read_pieces(folder):
        about = about or piece
        bare = replace(piece, labels=pd.DataFrame(index=range(len(piece))), label_units=(), label_periods=(), ids=None)
        for file, kept, rows in zip(files, beside, (piece.select("train"), piece.select("test"), bare), strict=True):
            file.add(rows.values)
            kept.append(replace(rows, values=rows.values[:, :0].copy(), features=(), units=()))
    assert about is not None  # there are test rows
    train, test, seen = (
        replace(concatenate(kept), values=cast(np.ndarray, file.rows()), features=about.features, units=about.units)
        for file, kept in zip(files, beside, strict=True)
    )
    return train, test, seen
