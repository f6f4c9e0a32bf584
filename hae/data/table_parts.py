"""From tables to a data set in parts: read in pieces, split, filled and shuffled, with a part of the rows in memory at a time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.dialects import Form
from hae.data.frames import Frames, concatenate, group_rows, recut, write_parts
from hae.data.molecules import Recipe
from hae.data.parts import Manifest
from hae.data.readers import table_pieces
from hae.data.split import split_rows
from hae.data.tables import FILE, complete, feature_columns, table_frames
from hae.errors import BadInput

__all__ = ["Tables", "write_tables"]

MOST_FILES = 64  # that rows are drawn to at once
ALL, SOME = ("values", "trajectory", "frame", "labels"), ("weights", "split", "ids")  # columns that all frames have, and that some have


@dataclass
class Tables:
    """Files of tables (name -> path) and what their columns are, see `hae.data.tables.table_frames`; `columns` and `periods` that are
    not given are those of the first file. missing: "error", "drop" (rows left out, which `left_out` counts) or "mean" (left as NaN).

    Example: Ten rows of a file.
        >>> path = Path(tempfile.mkdtemp(), "t.csv")
        >>> _ = path.write_text("x,y\\n" + "1,2\\n" * 10)
        >>> [(len(piece), piece.features) for piece in Tables({"t": path}).pieces()]
        [(10, ('x', 'y'))]
    """

    files: Mapping[str, Path]
    columns: Sequence[str] | None = None
    labels: Sequence[str] = ()
    group: str | None = None
    id: str | None = None
    weights: str | None = None
    bias: str | None = None
    temperature: float | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    periods: Mapping[str, float] = field(default_factory=dict)
    missing: str = "error"
    form: Form | None = None
    left_out: int = 0

    def pieces(self) -> Iterator[Frames]:
        """The rows, one piece of a file in memory at a time; weights of a bias are exp(bias / kT) as they are.

        Raises BadInput for what is no table or is not as the columns say, and where no row is left.
        """
        home: dict[str, Path] = {}
        first: Frames | None = None
        self.left_out, empty = 0, True
        for name, path in self.files.items():
            rows, seen = 0, Counter[str]()
            for table in table_pieces(path, form=self.form, words=[word for word in (self.group, self.id) if word not in (None, FILE)]):
                rows += len(table)
                if first is None:  # the first table says the columns of all
                    self.periods = {**table.attrs.get("periods", {}), **self.periods}
                    self.columns = self.columns or feature_columns(table, *self.labels, self.group, self.id, self.weights, self.bias)
                piece = self._frames(table, name, path, seen)
                first = first or piece
                if piece.features != first.features:
                    raise BadInput(f"{path}: other periods than in {next(iter(self.files.values()))}; allowed: the same in all files")
                for trajectory in set(piece.trajectory) - {""}:
                    if home.setdefault(trajectory, path) != path:
                        raise BadInput(f"{path}: trajectory '{trajectory}' is in {home[trajectory]} too; allowed: different names")
                if len(piece):
                    empty = False
                    yield piece
            if rows < 2:
                raise BadInput(f"{path}: {rows} row{'s' * (rows != 1)}; allowed: 2 rows or more")
        if empty:
            raise BadInput(f"{next(iter(self.files.values()))}: every row lacks a feature or a label; allowed: prepare.columns without "
                           "those that are mostly missing, or missing: mean")

    def recipe(self, frames: Frames) -> Recipe:
        """The recipe that takes the features of these frames from other tables."""
        return Recipe.for_table(frames, {name: period for name, period in self.periods.items() if name in (self.columns or ())})

    def _frames(self, table, name: str, path: Path, seen: Counter[str]) -> Frames:
        """Complete rows of a piece, numbered behind those of earlier pieces of the file: seen, of each trajectory."""
        frames = table_frames(
            table,
            str(path),
            columns=self.columns,
            labels=self.labels,
            group=self.group,
            id=self.id,
            weights=self.weights,
            bias=self.bias,
            temperature=self.temperature,
            units=dict(self.units),
            periods=dict(self.periods),
            missing="error" if self.missing == "error" else "mask",
            name=name,
        )
        names, of = np.unique(frames.trajectory, return_inverse=True)
        before = np.array([seen[trajectory] for trajectory in names])
        seen.update(dict(zip(names.tolist(), np.bincount(of).tolist(), strict=True)))
        ids = None if self.id is None else table[self.id].astype(str).to_numpy(dtype=object)
        kept = complete(frames, labels_only=self.missing == "mean")
        self.left_out += int(np.sum(~kept))
        return replace(frames, frame=frames.frame + before[of], ids=ids).select(kept)


def write_tables(
    tables: Tables, folder: Path, rule: Mapping, *, shuffle: bool = False, check: Callable[[Mapping[str, int]], None]
) -> tuple[Manifest, Recipe, int]:
    """Make a folder the data set of all rows; gives its manifest, the recipe that makes the same of new tables, and the number of
    trajectories. Features that are missing get their mean over the training rows, weights of a bias the mean 1.

    rule: of the sides, arguments of `hae.data.split.split_rows`. check: is shown the numbers of rows by side before anything is published.
    shuffle: rows in a random order.
    Raises BadInput as `Tables.pieces`, and for a feature without any value in the training rows.
    """
    found = _Found()
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        chunks = found.weighed(recut(tables.pieces()))
        chunks = recut(_shuffled(_Spool(Path(temporary, "all"), chunks), np.random.default_rng(0))) if shuffle else chunks
        chunks = found.looked_at(chunks, rule, gaps=tables.missing == "mean")
        if tables.missing == "mean" or tables.bias is not None:  # what needs to know of all rows first
            waiting = _Spool(Path(temporary, "rows"), chunks)
            check(found.sides)
            fill = found.fill() if found.holes else None
            mean = found.weight / found.sides.total() if tables.bias is not None else 1.0
            chunks = (_finished(chunk, fill, mean) for chunk in waiting)
        manifest = write_parts(folder, chunks, rule, check)
    assert found.first is not None  # `pieces` gives some
    recipe = tables.recipe(found.first)
    if found.holes:
        recipe = replace(recipe, fill=tuple(zip(recipe.names, found.fill().tolist(), strict=True)))
    return manifest, recipe, len(found.trajectories)


@dataclass
class _Found:
    """What is seen of the rows as they come: sides, the sum of the weights, and what the means of the training rows are made of."""

    first: Frames | None = None
    sides: Counter[str] = field(default_factory=Counter)
    weight: float = 0.0
    total: np.ndarray | float = 0.0
    number: np.ndarray | int = 0
    holes: bool = False
    trajectories: set[str] = field(default_factory=set)

    def weighed(self, chunks: Iterator[Frames]) -> Iterator[Frames]:
        """The chunks as they are."""
        for chunk in chunks:
            self.weight += 0.0 if chunk.weights is None else float(chunk.weights.sum())
            yield chunk

    def looked_at(self, chunks: Iterator[Frames], rule: Mapping, gaps: bool) -> Iterator[Frames]:
        """The chunks with their sides; gaps: whether features may be missing."""
        for chunk in chunks:
            chunk = replace(chunk, split=split_rows(chunk.trajectory, chunk.frame, **rule, ids=chunk.ids, values=chunk.values))
            self.first = self.first or chunk.select(np.arange(1))
            self.sides.update(chunk.counts())
            if gaps:
                train = chunk.select("train").values
                self.total = self.total + np.nansum(train, axis=0)
                self.number = self.number + np.sum(~np.isnan(train), axis=0)
                self.holes = self.holes or bool(np.isnan(chunk.values).any())
            self.trajectories |= set(chunk.trajectory.tolist()) - {""}
            yield chunk

    def fill(self) -> np.ndarray:
        """(D,): means of the training rows."""
        number = np.asarray(self.number)
        if not number.all():
            assert self.first is not None
            raise BadInput(f"prepare.missing: {self.first.features[int(np.argmin(number))]} has no value in any training row, so no mean; "
                           "allowed: prepare.columns without it, or drop")
        return np.asarray(self.total) / number


def _finished(chunk: Frames, fill: np.ndarray | None, mean: float) -> Frames:
    values = chunk.values if fill is None else np.where(np.isnan(chunk.values), fill, chunk.values)
    return replace(chunk, values=values, weights=None if chunk.weights is None else chunk.weights / mean)


class _Spool:
    """Frames that wait in a file, in the pieces in which they came."""

    def __init__(self, path: Path, pieces: Iterable[Frames] = ()):
        self.path, self.rows = path, 0
        self.like: Frames | None = None
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Frames) -> None:
        self.like = self.like or piece.select(np.arange(0))
        self.rows += len(piece)
        beside = (None if column is None else column.astype(str) for column in (piece.split, piece.ids))
        with open(self.path, "ab") as file:
            for column in (piece.values, piece.trajectory, piece.frame, piece.labels.to_numpy(), piece.weights, *beside):
                if column is not None:
                    np.save(file, column, allow_pickle=False)

    def __iter__(self) -> Iterator[Frames]:
        if self.like is None:
            return
        names = [name for name in (*ALL, *SOME) if name in ALL or getattr(self.like, name) is not None]
        with open(self.path, "rb") as file:
            while file.tell() < self.path.stat().st_size:
                columns = {name: np.load(file) for name in names}
                labels = pd.DataFrame(columns.pop("labels"), columns=self.like.labels.columns)
                yield replace(self.like, labels=labels, **columns)


def _shuffled(waiting: _Spool, rng: np.random.Generator) -> Iterator[Frames]:
    """The rows in a random order; more than two groups of them are drawn to as many files, and each of these is shuffled."""
    if waiting.like is None:
        return
    group = group_rows(waiting.like)
    if waiting.rows <= 2 * group:
        rows = concatenate(list(waiting))
        waiting.path.unlink()
        yield rows.select(rng.permutation(len(rows)))
        return
    files = [_Spool(Path(f"{waiting.path}-{i}")) for i in range(min(-(-waiting.rows // group), MOST_FILES))]
    for piece in waiting:
        of = rng.integers(len(files), size=len(piece))
        for i, file in enumerate(files):
            file.add(piece.select(of == i))
    waiting.path.unlink()
    for file in files:
        yield from _shuffled(file, rng)
