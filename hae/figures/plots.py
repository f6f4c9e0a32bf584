"""Figures of what was measured: one function each, which takes a report or a table and an axis. Planes and pictures: hae.figures.maps."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from hae.importance.report import Comparison, Contributions, ImportanceReport

__all__ = [
    "COLOURS", "FURTHER", "Shown", "arms", "differences", "figure", "fve_by_level", "gains", "grid", "legend", "level_colours", "plain",
    "style", "svg", "training_curves", "variant_colours",
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


@contextmanager
def style() -> Iterator[None]:
    """The look of the figures, for what is drawn and saved inside the block; matplotlib's own settings are as before after it."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def plain(name: object) -> str:
    """A name from data as text that matplotlib draws as it stands: a dollar sign begins no formula."""
    return str(name).replace("$", r"\$")


class Shown(Figure):
    """A figure that a notebook shows, also where nobody has imported pyplot.

    Example:
        >>> made = Shown(figsize=(2, 1))
        >>> made._repr_png_()[:4]
        b'\\x89PNG'
    """

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def figure(width: float = 4.8, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one axis."""
    made, axes = grid(width, height, 1, 1)
    return made, axes[0, 0]


def grid(width: float, height: float, rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of this size in inches with axes (rows, columns). It needs no screen, and no figure of anybody else's is touched."""
    made = Shown(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def svg(made: Figure) -> str:
    """The figure as an SVG element, without what changes from day to day."""
    text = io.StringIO()
    with style():  # what a file looks like inside is settled when it is saved
        made.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg"):]


def variant_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for every variant, the same in all figures."""
    further = iter(FURTHER * 100)
    return {name: COLOURS.get(name) or next(further) for name in names}


def level_colours(n: int) -> list[tuple]:
    """Colours of levels or CVs 1 to n, dark to light."""
    return [matplotlib.colormaps["viridis"](x) for x in np.linspace(0.08, 0.85, n)]


def fve_by_level(reports: Mapping[str, ImportanceReport], axis: Axes) -> None:
    """Held-out FVE against the number of CVs with its 90 % interval: one line for each variant, beside PCA and the plain autoencoder."""
    others = {name: max((report.compared(key) for report in reports.values()), key=len)
              for name, key in (("plain autoencoder", "plain"), ("PCA", "pca"))}
    drawn = [(name, "-o", [(cv.cv, cv.fve, cv.fve_low, cv.fve_high) for cv in report.cvs]) for name, report in reports.items()]
    drawn += [(name, line, [(row.level, row.fve, row.fve_low, row.fve_high) for row in others[name]])
              for name, line in (("plain autoencoder", "--s"), ("PCA", ":^")) if others[name]]
    colours = variant_colours(name for name, _, _ in drawn)
    for i, (name, line, rows) in enumerate(drawn):
        level, fve, low, high = np.array(rows).T
        aside = (i - (len(drawn) - 1) / 2) * 0.06  # so that intervals stand beside each other
        axis.errorbar(level + aside, fve, yerr=arms(fve, low, high), fmt=line, color=colours[name], label=name, capsize=3, markersize=5,
                      zorder=3 if name in reports else 2)
    longest = max(len(report.cvs) for report in reports.values())
    axis.set(xlabel="number of CVs", ylabel="fraction of variance explained", ylim=_fve_limits(axis))
    axis.set_xticks(range(1, longest + 1))
    axis.set_xlim(0.7, longest + 0.3)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    legend(axis)


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
        names.append(plain(title))
        for row in comparisons:
            bounds = arms([row.difference], [row.difference_low], [row.difference_high])
            axis.errorbar(row.difference, place, xerr=bounds, capsize=3, markersize=5, color=shades[row.level - 1],
                          fmt=marks[(row.level - 1) % len(marks)])
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
    legend(axis)


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
    legend(axis)


def gains(shares: Contributions, axis: Axes, top: int = 15) -> None:
    """What the ``top`` features or groups with the largest gains contribute to the gain of each CV, with 90 % intervals."""
    gain, low, high = (np.array(figures) for figures in (shares.gain, shares.low, shares.high))
    chosen = np.argsort(-gain.sum(axis=0), kind="stable")[:top]
    n, place = len(gain), np.arange(len(chosen))
    for k, colour in enumerate(level_colours(n)):
        bounds = arms(gain[k, chosen], low[k, chosen], high[k, chosen])
        axis.barh(place + (k - (n - 1) / 2) * 0.8 / n, gain[k, chosen], height=0.8 / n, color=colour, label=f"CV{k + 1}", xerr=bounds,
                  error_kw={"elinewidth": 1, "capsize": min(6 / n, 2), "ecolor": "#222222"})
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.set_yticks(place, [_short(shares.names[i]) for i in chosen])
    axis.set_ylim(len(chosen) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_xlabel("gain (share of all variance)" + (f", largest {top} of {gain.shape[1]}" if gain.shape[1] > top else ""))
    legend(axis)


def legend(axis: Axes) -> None:
    """Above the axis, where no data can be."""
    handles, names = axis.get_legend_handles_labels()
    axis.figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=min(len(names), 4), columnspacing=1.2)


def arms(value, low, high) -> np.ndarray | None:
    """Lengths of error bars (2, N), or None where there is no interval at all."""
    value, low, high = (np.asarray(x, dtype=float) for x in (value, low, high))
    arms = np.nan_to_num(np.stack([value - low, high - value])).clip(0)
    return arms if np.isfinite(low).any() else None


def _fve_limits(axis: Axes) -> tuple[float, float]:
    """From 0, or from below where something is worse than the mean, to 1."""
    lowest = min((np.min(data) for data in (np.asarray(line.get_ydata()) for line in axis.get_lines()) if data.size), default=0.0)
    return (0.0 if lowest >= 0 else max(math.floor(lowest * 10) / 10, -1.0)), 1.02


def _short(name: str, limit: int = 26) -> str:
    return plain(name if len(name) <= limit else f"{name[: limit - 1]}…")
