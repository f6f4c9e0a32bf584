"""Frames: rows of numbers with their names, units, trajectories and split."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hae.data.parts import MANIFEST, Manifest, Part, file_digest, part_name, publish
from hae.data.split import SIDES
from hae.errors import BadInput
from hae.files import check_writable, written_whole

__all__ = [
    "Frames", "concatenate", "constant", "group_rows", "read_parts", "read_pieces", "recut", "sums", "write_part", "write_parts"]

ROWS_TOGETHER = 32768  # rows of a Parquet row group, what a reader that goes through a file has in memory
NUMBERS_TOGETHER = 2**22  # of features, in the pieces of a reader
PART_BYTES = 2**27  # of the features of a part that is no trajectory


@dataclass(frozen=True)
class Frames:
    """N rows of D features, and beside each row where it comes from and what it is looked at with.

    values: (N, D), float32 from trajectories, float64 from tables.
    features, units: D names and D units ("" where there is none).
    trajectory, frame: (N,) name of the row's trajectory ("" for none) and its frame number there.
    labels: (N, L) looked at beside the CVs and never trained on; L may be 0.
    label_units, label_periods: of the L labels; 2 pi for angles in radians, None where not periodic.
    weights: (N,) positive statistical weights, or None.
    split: (N,) "train", "validation", "test" or "gap", or None before the split.
    ids: (N,) what rows of tables are known by, so that the split of each can be told again; None: by their values.

    Example: Four frames of two trajectories.
        >>> frames = Frames(np.arange(8.0).reshape(4, 2), ("x", "y"), ("nm", "nm"), np.array(["a", "a", "b", "b"]), np.array([0, 1, 0, 1]),
        ...                 labels=pd.DataFrame(index=range(4)), split=np.array(["train", "gap", "train", "test"]))
        >>> len(frames), frames.n_features, frames.counts()["train"]
        (4, 2, 2)
        >>> _ = frames.write(folder := Path(tempfile.mkdtemp(), "frames"))
        >>> Frames.read(folder).select("test").values
        array([[6., 7.]])
    """

    values: np.ndarray
    features: tuple[str, ...]
    units: tuple[str, ...]
    trajectory: np.ndarray
    frame: np.ndarray
    labels: pd.DataFrame
    label_units: tuple[str, ...] = ()
    label_periods: tuple[float | None, ...] = ()
    weights: np.ndarray | None = None
    split: np.ndarray | None = None
    ids: np.ndarray | None = None

    def __post_init__(self):
        n, d = self.values.shape
        if len(self.features) != d or len(self.units) != d:
            raise ValueError(f"{d} features, but {len(self.features)} names and {len(self.units)} units")
        for name in ("trajectory", "frame", "labels", "weights", "split", "ids"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != n:
                raise ValueError(f"{name} has {len(rows)} rows, values {n}")
        if not len(self.label_units) == len(self.label_periods) == self.labels.shape[1]:
            raise ValueError(f"{self.labels.shape[1]} labels, {len(self.label_units)} units, {len(self.label_periods)} periods")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_features(self) -> int:
        return len(self.features)

    def select(self, rows: str | np.ndarray) -> Frames:
        """The rows of one side ("train", "validation", "test", "gap") or those of a mask or index array (N,)."""
        if isinstance(rows, str):
            if self.split is None:
                raise ValueError("these frames have not been split yet")
            rows = np.asarray(self.split == rows)
        return replace(
            self,
            values=self.values[rows],
            trajectory=self.trajectory[rows],
            frame=self.frame[rows],
            labels=self.labels.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows].reset_index(drop=True),
            weights=None if self.weights is None else self.weights[rows],
            split=None if self.split is None else self.split[rows],
            ids=None if self.ids is None else self.ids[rows],
        )

    def counts(self) -> dict[str, int]:
        """Number of rows on each side of the split, gaps included."""
        return {side: int(np.sum(self.split == side)) for side in (*SIDES, "gap")}

    def blocks(self, block_frames: int) -> np.ndarray:
        """(N,) name of the block, of so many frames, that each row comes from; a row without trajectory is a block of its own."""
        number = np.where(self.trajectory == "", np.arange(len(self)), self.frame // block_frames)
        return np.char.add(np.char.add(self.trajectory, "/"), number.astype(str))

    def write(self, folder: str | os.PathLike, split: Mapping | None = None) -> Manifest:
        """Write a data set: parts of `PART_BYTES` and a manifest, the whole of it or nothing. split: the rule of the sides, to be kept."""
        return write_parts(folder, recut([self]) if len(self) else [self], split)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Frames:
        """All rows of a data set, in memory. Raises BadInput if there is none, or a part of it is missing or damaged."""
        return concatenate([part for _, part in read_parts(folder)])


def write_parts(
    folder: str | os.PathLike,
    groups: Iterable[Frames],
    split: Mapping | None = None,
    check: Callable[[Mapping[str, int]], None] | None = None,
) -> Manifest:
    """Make a folder the data set of these rows, which come as `recut` gives them; the whole of it or nothing. split: the rule of the
    sides, to be kept. check: is shown the numbers of rows by side before anything is published, and may raise."""
    folder = Path(folder)
    check_writable(folder.parent)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made, new, rows = [], {}, 0
        for part in parts_of(groups):
            path, seen = Path(temporary, f"{rows}.parquet"), _Counted()
            about = write_part(path, seen.of(part))
            digest = file_digest(path)
            name = part_name(f"rows-{rows}", digest)
            made.append(Part(name, digest, seen.rows, dict(seen.sides), weights=tuple(map(float, seen.weights))))
            new[name] = path
            rows += seen.rows
        manifest = Manifest(tuple(made), **about, split=split or {})
        if check is not None:
            check(manifest.sides)
        publish(folder, manifest, new)
    return manifest


class _Counted:
    """What a manifest says of a part whose rows go by: how many, on which sides, and sums of their weights."""

    def __init__(self) -> None:
        self.rows, self.sides = 0, Counter[str]()
        self.weights: np.ndarray = np.zeros(0)

    def of(self, pieces: Iterable[Frames]) -> Iterator[Frames]:
        for piece in pieces:
            found = np.array(sums(piece.weights))
            self.weights = self.weights + found if self.rows else found
            self.rows += len(piece)
            self.sides.update({} if piece.split is None else piece.counts())
            yield piece


def _part_rows(frames: Frames) -> int:
    return max(1, PART_BYTES // max(1, frames.values.itemsize * frames.n_features))


def group_rows(frames: Frames) -> int:
    """How many rows like these a group of a part has."""
    return max(1, min(ROWS_TOGETHER, NUMBERS_TOGETHER // max(1, frames.n_features), _part_rows(frames)))


def recut(pieces: Iterable[Frames]) -> Iterator[Frames]:
    """The same rows in groups of `group_rows`, and less where a part of `PART_BYTES` is full and at the end."""
    waiting: list[Frames] = []
    done = number = 0
    for piece in pieces:
        waiting.append(piece)
        number += len(piece)
        part, group = _part_rows(piece), group_rows(piece)
        if number < group:
            continue
        together, first = concatenate(waiting), 0
        while number - first >= (size := min(group, part - done % part)):
            yield together.select(np.arange(first, first + size))
            first, done = first + size, done + size
        waiting, number = [together.select(np.arange(first, number))] if first < number else [], number - first
        del together
    if waiting:
        yield concatenate(waiting)


def parts_of(groups: Iterable[Frames]) -> Iterator[Iterator[Frames]]:
    """The groups that `recut` gives, part by part; each part is to be gone through before the next."""
    group = next(coming := iter(groups), None)

    def part() -> Iterator[Frames]:
        nonlocal group
        rows = 0
        while group is not None and (not rows or rows + len(group) <= _part_rows(group)):
            rows += len(group)
            yield group
            group = next(coming, None)

    while group is not None:
        yield part()


def read_parts(folder: str | os.PathLike) -> Iterator[tuple[Part, Frames]]:
    """The parts of a data set with their rows, one in memory at a time; errors as of `Frames.read`."""
    manifest = Manifest.read(folder)
    for part in manifest.parts:
        path = Path(folder, part.file)
        with _told(path):
            frames = _frames(pq.read_table(path), part.mean)
        if len(frames) != part.rows or frames.features != manifest.features:
            raise BadInput(f"{path}: not the part that {MANIFEST} names; allowed: what the stage prepare wrote (run it again)")
        yield part, frames


def read_pieces(folder: str | os.PathLike, rows: int = ROWS_TOGETHER) -> Iterator[Frames]:
    """The rows of a data set, at most so many and `NUMBERS_TOGETHER` in memory at a time; errors as of `Frames.read`."""
    manifest = Manifest.read(folder)
    rows = max(min(rows, NUMBERS_TOGETHER // len(manifest.features)), 1)
    for part in manifest.parts:
        path = Path(folder, part.file)
        with _told(path):
            pieces = pq.ParquetFile(path, pre_buffer=False).iter_batches(rows, use_threads=False)
        while True:
            with _told(path):
                piece = next(pieces, None)
            if piece is None:
                break
            yield _frames(pa.Table.from_batches([piece]), part.mean)


def write_part(path: str | os.PathLike, pieces: Iterable[Frames]) -> dict:
    """Write one Parquet file of pieces that come one by one, at least one, whole or not at all; "row:" and "label:" mark the columns that
    are not features. Gives what a manifest says of them."""
    writer: pq.ParquetWriter | None = None
    about: dict = {}
    with written_whole(path) as partial:
        try:
            for piece in pieces:
                table, about = _table(piece)
                writer = writer or pq.ParquetWriter(partial, table.schema)
                writer.write_table(table, row_group_size=ROWS_TOGETHER)
        finally:
            if writer is not None:
                writer.close()
    return about


def constant(folder: str | os.PathLike) -> tuple[str, ...]:
    """Names of the features that have one value in all rows of a data set, as the statistics of its files say."""
    manifest = Manifest.read(folder)
    first = len(manifest.beside)
    one: dict[int, float] = {}
    left = set(range(len(manifest.features)))
    for part in manifest.parts:
        about = pq.read_metadata(Path(folder, part.file))
        for group in map(about.row_group, range(about.num_row_groups)):
            for j in tuple(left):
                found = group.column(first + j).statistics
                if found is None or not found.has_min_max or not found.min == found.max == one.setdefault(j, found.min):
                    left.discard(j)
    return tuple(name for j, name in enumerate(manifest.features) if j in left)


def _table(frames: Frames) -> tuple[pa.Table, dict]:
    """As a file has it, and what a manifest says of it."""
    beside = {"row:trajectory": pa.array(frames.trajectory, pa.string()), "row:frame": pa.array(frames.frame)}
    if frames.split is not None:
        beside["row:split"] = pa.array(frames.split, pa.string())
    if frames.weights is not None:
        beside["row:weight"] = pa.array(frames.weights)
    if frames.ids is not None:
        beside["row:id"] = pa.array(frames.ids, pa.string())
    labels = {f"label:{name}": pa.array(column.to_numpy()) for name, column in frames.labels.items()}
    about = {
        "beside": tuple(beside),
        "features": frames.features,
        "units": frames.units,
        "labels": tuple(frames.labels.columns),
        "label_units": frames.label_units,
        "label_periods": frames.label_periods,
    }
    table = pa.Table.from_arrays(
        [*beside.values(), *(pa.array(column) for column in frames.values.T), *labels.values()],
        names=[*beside, *frames.features, *labels],
        metadata={"hae": json.dumps(about)},
    )
    return table, about


def sums(weights: np.ndarray | None) -> tuple[float, ...]:
    """What a part knows of its weights: their sum and that of their squares; () without any."""
    return () if weights is None else (float(weights.sum()), float(np.square(weights).sum()))


def _frames(table: pa.Table, mean: float) -> Frames:
    """What `_table` made a file of, with its weights divided by ``mean``. By position, not by name: a feature may be called as a
    label or as a column beside it."""
    about = json.loads(table.schema.metadata[b"hae"])
    columns = [table.column(i).to_numpy() for i in range(table.num_columns)]
    k, d = len(about["beside"]), len(about["features"])
    beside = dict(zip(about["beside"], columns, strict=False))
    labels = pd.DataFrame(dict(enumerate(columns[k + d :])), index=range(table.num_rows))
    labels.columns = about["labels"]
    return Frames(
        values=np.ascontiguousarray(np.stack(columns[k : k + d], axis=1)),
        features=tuple(about["features"]),
        units=tuple(about["units"]),
        trajectory=beside["row:trajectory"].astype(str),
        frame=beside["row:frame"],
        labels=labels,
        label_units=tuple(about["label_units"]),
        label_periods=tuple(about["label_periods"]),
        weights=beside["row:weight"] / mean if "row:weight" in beside else None,
        split=beside["row:split"].astype(str) if "row:split" in beside else None,
        ids=beside["row:id"].astype(str) if "row:id" in beside else None,
    )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What can be wrong with the file of a part, as BadInput."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file, and {MANIFEST} names it; allowed: what the stage prepare wrote (run it again)") from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        raise BadInput(f"{path}: not a part that the stage prepare wrote; allowed: what it wrote (run it again)") from None


def concatenate(parts: Sequence[Frames]) -> Frames:
    """One Frames of the rows of several with the same features, in the order given."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        values=np.concatenate([part.values for part in parts]),
        trajectory=np.concatenate([part.trajectory for part in parts]),
        frame=np.concatenate([part.frame for part in parts]),
        labels=pd.concat([part.labels for part in parts], ignore_index=True),
        weights=None if first.weights is None else np.concatenate([part.weights for part in parts]),
        split=None if first.split is None else np.concatenate([part.split for part in parts]),
        ids=None if first.ids is None else np.concatenate([part.ids for part in parts]),
    )
