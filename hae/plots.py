"""Figures of what was measured: one function each, which takes a report or a table and an axis. Planes and pictures: hae.maps."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence

import matplotlib

matplotlib.use("Agg")  # figures go to files: no screen is needed

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from hae.report import Comparison, ImportanceReport

__all__ = [
    "COLOURS", "differences", "figure", "fve_by_level", "gains", "grid", "level_colours", "svg", "training_curves", "variant_colours",
]

# Okabe and Ito's palette, which the colour-blind can tell apart; levels, which are ordered, go along viridis.
COLOURS = {"collective": "#0072B2", "boosted": "#D55E00", "plain autoencoder": "#555555", "PCA": "#009E73"}
FURTHER = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: dict[str, object] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "svg.fonttype": "path",  # looks the same everywhere, asks for no font
    "svg.hashsalt": "hae",  # same data, same file
}


def figure(width: float = 4.8, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one axis."""
    made, axes = grid(width, height, 1, 1)
    return made, axes[0, 0]


def grid(width: float, height: float, rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of this size in inches with axes (rows, columns)."""
    matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)


def svg(made: Figure) -> str:
    """The figure as an SVG element, without what changes from day to day; the figure is closed."""
    text = io.StringIO()
    made.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(made)
    return text.getvalue()[text.getvalue().index("<svg"):]


def variant_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for every variant, the same in all figures."""
    further = iter(FURTHER * 100)
    return {name: COLOURS.get(name) or next(further) for name in names}


def level_colours(n: int) -> list[tuple]:
    """Colours of levels or CVs 1 to n, dark to light."""
    return [plt.get_cmap("viridis")(x) for x in np.linspace(0.08, 0.85, n)]


def fve_by_level(reports: Mapping[str, ImportanceReport], axis: Axes) -> None:
    """Held-out FVE against the number of CVs with its 90 % interval: a line a variant, beside PCA and the plain autoencoder."""
    for name, key, line in (("plain autoencoder", "plain", "s--"), ("PCA", "pca", "^:")):
        rows = max((report.compared(key) for report in reports.values()), key=len)
        if rows:
            axis.plot([row.level for row in rows], [row.fve for row in rows], line, color=COLOURS[name], label=name, zorder=2, markersize=5)
    colours, count = variant_colours(reports), len(reports)
    for i, (name, report) in enumerate(reports.items()):
        table = report.to_frame()
        spread = _arms(table["fve"], table["fve_low"], table["fve_high"])
        aside = (i - (count - 1) / 2) * 0.06  # so that intervals stand beside each other
        axis.errorbar(table["cv"] + aside, table["fve"], yerr=spread, fmt="o-", color=colours[name], label=name, zorder=3, capsize=3,
                      markersize=5)
    longest = max(len(report.cvs) for report in reports.values())
    axis.set(xlabel="number of CVs", ylabel="fraction of variance explained", ylim=_fve_limits(axis))
    axis.set_xticks(range(1, longest + 1))
    axis.set_xlim(0.7, longest + 0.3)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    handles, names = axis.get_legend_handles_labels()
    variants_first = sorted(zip(names, handles, strict=True), key=lambda item: item[0] not in reports)
    _legend(axis, [handle for _, handle in variants_first], [name for name, _ in variants_first])


def differences(rows: Mapping[str, Sequence[Comparison]], axis: Axes) -> None:
    """What one model explains more than another on the same frames, level by level, with paired 90 % intervals.

    rows: "collective - PCA" -> comparisons, drawn from top to bottom.
    """
    marks = "os^Dvp"
    place, ticks, names = 0.0, [], []
    longest = max(len(comparisons) for comparisons in rows.values())
    shades = level_colours(longest)
    for title, comparisons in rows.items():
        ticks.append(place + (len(comparisons) - 1) / 2)
        names.append(title)
        for row in comparisons:
            axis.errorbar(row.difference, place, xerr=_arms(*([x] for x in (row.difference, row.low, row.high))), capsize=3, markersize=5,
                          fmt=marks[(row.level - 1) % len(marks)], color=shades[row.level - 1])
            place += 1
        place += 1
    for k in range(longest):
        axis.plot([], [], marks[k % len(marks)], color=shades[k], markersize=5, label=f"level {k + 1}")
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.set_yticks(ticks, names)
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.grid(axis="x", color="#dddddd", linewidth=0.8)
    axis.set_xlabel("difference of the explained fraction")
    _legend(axis)


def training_curves(history: pd.DataFrame, axis: Axes) -> None:
    """Error of every level against the epoch: of the best member as a line (validation) and dots (training), of the others pale.

    history: rows of member, epoch, train_error_k, validation_error_k, as `HierarchicalAutoencoder.history_`.
    """
    n = sum(name.startswith("train_error_") for name in history.columns)
    side = "validation" if history["validation_error_1"].notna().any() else "train"
    levels = [f"{side}_error_{k + 1}" for k in range(n)]
    best = history.loc[history[levels].mean(axis=1).idxmin(), "member"]
    for member, rows in history.groupby("member"):
        for k, colour in enumerate(level_colours(n)):
            chosen = member == best
            axis.plot(rows["epoch"], rows[levels[k]], color=colour, linewidth=1.6 if chosen else 0.7, alpha=1 if chosen else 0.3,
                      label=f"level {k + 1}" if chosen else None, zorder=3 if chosen else 2)
            if chosen and side != "train":
                axis.plot(rows["epoch"], rows[f"train_error_{k + 1}"], ":", color=colour, linewidth=1.2, zorder=3)
    axis.set(xlabel="epoch", ylabel="mean squared error", yscale="log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    _legend(axis)


def gains(table: pd.DataFrame, axis: Axes, top: int = 15) -> None:
    """What each feature or atom contributes to the gain of each CV, as stacked bars, the largest first.

    table: a row a feature or group, a column a CV, as `ImportanceReport.gains_by` gives it; what is beyond `top` is one bar.
    """
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    if len(table) > top:
        rest = table.iloc[top - 1 :]
        table = pd.concat([table.iloc[: top - 1], pd.DataFrame([rest.sum()], index=[f"{len(rest)} others"])])
    left, right, place = np.zeros(len(table)), np.zeros(len(table)), np.arange(len(table))
    for name, colour in zip(table.columns, level_colours(table.shape[1]), strict=True):
        value = table[name].to_numpy()
        axis.barh(place, value, left=np.where(value < 0, left, right), color=colour, label=name, height=0.75)
        left, right = left + np.minimum(value, 0), right + np.maximum(value, 0)  # losses go to the left of zero
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.set_yticks(place, [_short(str(name)) for name in table.index])
    axis.set_ylim(len(table) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("gain (share of all variance)")
    _legend(axis)


def _legend(axis: Axes, handles: Sequence | None = None, names: Sequence[str] | None = None) -> None:
    """Above the axis, where no data can be."""
    if handles is None or names is None:
        handles, names = axis.get_legend_handles_labels()
    axis.figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=min(len(names), 4), columnspacing=1.2)


def _arms(value, low, high) -> np.ndarray | None:
    """Lengths of error bars (2, N), or None where there is no interval at all."""
    value, low, high = (np.asarray(x, dtype=float) for x in (value, low, high))
    arms = np.nan_to_num(np.stack([value - low, high - value])).clip(0)
    return arms if np.isfinite(low).any() else None


def _fve_limits(axis: Axes) -> tuple[float, float]:
    """From 0, or from below where something is worse than the mean, to 1."""
    lowest = min((np.min(data) for data in (np.asarray(line.get_ydata()) for line in axis.get_lines()) if data.size), default=0.0)
    return (0.0 if lowest >= 0 else max(math.floor(lowest * 10) / 10, -1.0)), 1.02


def _short(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
