"""Frames: rows of numbers with their names, units, trajectories and split."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hae.data.split import SIDES
from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["Frames", "concatenate"]

ROWS_TOGETHER = 32768  # rows of a Parquet row group, what a reader that goes through a file has in memory


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

    Example: Four frames of two trajectories.
        >>> frames = Frames(np.arange(8.0).reshape(4, 2), ("x", "y"), ("nm", "nm"), np.array(["a", "a", "b", "b"]), np.array([0, 1, 0, 1]),
        ...                 labels=pd.DataFrame(index=range(4)), split=np.array(["train", "gap", "train", "test"]))
        >>> len(frames), frames.n_features, frames.counts()["train"]
        (4, 2, 2)
        >>> frames.select("test").values
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

    def __post_init__(self):
        n, d = self.values.shape
        if len(self.features) != d or len(self.units) != d:
            raise ValueError(f"{d} features, but {len(self.features)} names and {len(self.units)} units")
        for name in ("trajectory", "frame", "labels", "weights", "split"):
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
        )

    def counts(self) -> dict[str, int]:
        """Number of rows on each side of the split, gaps included."""
        return {side: int(np.sum(self.split == side)) for side in (*SIDES, "gap")}

    def blocks(self, block_frames: int) -> np.ndarray:
        """(N,) name of the block, of so many frames, that each row comes from; a row without trajectory is a block of its own."""
        number = np.where(self.trajectory == "", np.arange(len(self)), self.frame // block_frames)
        return np.char.add(np.char.add(self.trajectory, "/"), number.astype(str))

    def constant(self) -> tuple[str, ...]:
        """Names of the features that have one value in all rows."""
        return tuple(np.asarray(self.features, dtype=object)[np.ptp(self.values, axis=0) == 0])

    def write(self, path: str | os.PathLike) -> None:
        """Write one Parquet file, whole or not at all; "row:" and "label:" mark the columns that are not features."""
        beside = {"row:trajectory": pa.array(self.trajectory, pa.string()), "row:frame": pa.array(self.frame)}
        if self.split is not None:
            beside["row:split"] = pa.array(self.split, pa.string())
        if self.weights is not None:
            beside["row:weight"] = pa.array(self.weights)
        labels = {f"label:{name}": pa.array(column.to_numpy()) for name, column in self.labels.items()}
        about = {
            "beside": list(beside),
            "features": self.features,
            "units": self.units,
            "labels": list(self.labels.columns),
            "label_units": self.label_units,
            "label_periods": self.label_periods,
        }
        table = pa.Table.from_arrays(
            [*beside.values(), *(pa.array(column) for column in self.values.T), *labels.values()],
            names=[*beside, *self.features, *labels],
            metadata={"hae": json.dumps(about)},
        )
        with written_whole(path) as partial:
            pq.write_table(table, partial, row_group_size=ROWS_TOGETHER)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Frames:
        """Read what `write` wrote. Raises BadInput if there is no such file or it was not written by `write`."""
        try:
            table = pq.read_table(path)
            about = json.loads(table.schema.metadata[b"hae"])
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file; allowed: a Parquet file written by the stage prepare") from None
        except (pa.ArrowException, KeyError, TypeError, ValueError):
            raise BadInput(f"{path}: not a Parquet file written by the stage prepare") from None
        # By position, not by name: a feature may be called as a label or as a column beside it.
        columns = [table.column(i).to_numpy() for i in range(table.num_columns)]
        k, d = len(about["beside"]), len(about["features"])
        beside = dict(zip(about["beside"], columns, strict=False))
        labels = pd.DataFrame(dict(enumerate(columns[k + d :])), index=range(table.num_rows))
        labels.columns = about["labels"]
        return cls(
            values=np.ascontiguousarray(np.stack(columns[k : k + d], axis=1)),
            features=tuple(about["features"]),
            units=tuple(about["units"]),
            trajectory=beside["row:trajectory"].astype(str),
            frame=beside["row:frame"],
            labels=labels,
            label_units=tuple(about["label_units"]),
            label_periods=tuple(about["label_periods"]),
            weights=beside.get("row:weight"),
            split=beside["row:split"].astype(str) if "row:split" in beside else None,
        )


def concatenate(parts: Sequence[Frames]) -> Frames:
    """One Frames of the rows of several with the same features, in the order given."""
    first = parts[0]
    return replace(
        first,
        values=np.concatenate([part.values for part in parts]),
        trajectory=np.concatenate([part.trajectory for part in parts]),
        frame=np.concatenate([part.frame for part in parts]),
        labels=pd.concat([part.labels for part in parts], ignore_index=True),
        weights=None if first.weights is None else np.concatenate([part.weights for part in parts]),
        split=None if first.split is None else np.concatenate([part.split for part in parts]),
    )
