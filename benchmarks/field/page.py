"""The tables of docs/field.md."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.field.data import DATA
from benchmarks.field.merits import agreement
from benchmarks.sections import table
from hae.files import written_whole

__all__ = ["tables", "write"]

DOCS = Path(__file__).parents[2] / "docs" / "field.md"
MARKS = "<!-- field: begin -->", "<!-- field: end -->"


def tables(chosen: list[list[dict]], levels: Callable[[dict], Path]) -> str:
    """One table for each data set, a row for each method; chosen: of each cell the fits of its seeds."""
    parts = []
    for data, kind in DATA.items():
        cells = [cell for cell in chosen if cell[0]["data"] == data]
        if not cells:
            continue
        known = cells[0][0]["order"] is not None
        head = ["", *[f"FVE_{k}" for k in range(1, kind.n + 1)], *["order right"] * known, "seeds agree, level 1", f"level {kind.n}",
                "largest gradient", "CPU s"]
        parts.append(f"### {data.capitalize()}\n\n{kind.about[0].upper()}{kind.about[1:]}.\n\n"
                     + table(head, [_row(cell, known, levels) for cell in cells]))
    return "\n\n".join(parts)


def _row(cell: list[dict], known: bool, levels: Callable[[dict], Path]) -> list[str]:
    figures = np.array([fit["test"] for fit in cell], float)
    agree = agreement([np.load(levels(fit)).astype(float) for fit in cell]) if len(cell) > 1 else np.full(figures.shape[1], np.nan)
    right = [f"{sum(bool(fit['order']) for fit in cell)} of {len(cell)}"] if known else []
    steep = np.median([fit["gradient"] for fit in cell])
    return [cell[0]["method"], *map(_spread, figures.T), *right, _short(agree[0]), _short(agree[-1]), f"{steep:.3g}",
            f"{np.mean([fit['cpu_s'] for fit in cell]):.1f}"]


def _spread(values: np.ndarray) -> str:
    """Mean, and in brackets the least and the most of the seeds where they differ in what is shown."""
    if np.isnan(values).any():
        return ""
    mean, least, most = (f"{value:.3f}" for value in (values.mean(), values.min(), values.max()))
    return mean if least == most else f"{mean} ({least} to {most})"


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def write(text: str) -> None:
    """Put the tables between the marks of docs/field.md. Raises SystemExit where there are none."""
    before, begin, rest = DOCS.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise SystemExit(f"{DOCS}: no marks {MARKS[0]} and {MARKS[1]}")
    with written_whole(DOCS) as partial:
        partial.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")
