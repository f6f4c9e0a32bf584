"""A training's history.csv, read while it is being written, as metrics of MLflow."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from pipelines.record import lineage

__all__ = ["History"]

NOT_METRICS = ("member", "epoch", "seconds")


@dataclass(frozen=True)
class History:
    """Rows of (member, epoch, seconds, learning_rate, train_error_k, validation_error_k). lines: header first."""

    lines: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> History:
        """The whole lines there are; one that is still being written is left for the next time."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return cls(tuple(text[: text.rfind("\n") + 1].splitlines()))

    def __len__(self) -> int:
        return max(0, len(self.lines) - 1)

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(io.StringIO("\n".join(self.lines))) if self.lines else pd.DataFrame(columns=["seconds"])

    @property
    def seconds(self) -> float:
        """How long the training took so far."""
        return float(self.table["seconds"].max()) if len(self) else 0.0

    @property
    def best_member(self) -> int | None:
        """The member with the least validation loss at any epoch: its weights are the model."""
        losses = self.table.filter(like="validation_error_").mean(axis=1)
        return int(self.table["member"][losses.idxmin()]) if losses.notna().any() else None

    def digest(self, rows: int) -> str:
        """A name for the first rows, of what training decides: the clock does not count."""
        return lineage.digest(self.table.head(rows).drop(columns="seconds").to_csv())

    def of_members(self, start: int, after: int = 0) -> list:
        """Metrics member_<i>/<name> of the rows after the first `after`; start: of the run, in milliseconds."""
        return _metrics(self.table.iloc[after:], start, lambda row, name: f"member_{int(row['member'])}/{name}")

    def of_model(self, start: int) -> list:
        """Metrics of the best member, under their own names."""
        return _metrics(self.table[self.table["member"] == self.best_member], start, lambda row, name: name) if len(self) else []


def _metrics(rows: pd.DataFrame, start: int, named: Callable[[dict, str], str]) -> list:
    from mlflow.entities import Metric

    columns = [name for name in rows.columns if name not in NOT_METRICS]
    return [
        Metric(named(row, name), float(row[name]), start + int(1000 * row["seconds"]), int(row["epoch"]))
        for row in rows.to_dict("records")
        for name in columns
    ]
