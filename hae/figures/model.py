"""A fitted model in one figure: how much is explained, what each CV is worth, and its CVs against each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hae.errors import BadInput
from hae.figures.plots import FURTHER, Shown, arms, figure, fve_by_level, legend, level_colours, plain, style
from hae.importance.report import ImportanceReport
from hae.network.kinds import PERIODS

__all__ = ["picture", "worth"]

MOST_ROWS, MOST_LABELS, MOST_CLASSES = 20_000, 4, 12  # drawn; of rows evenly spread ones
PAIRED = 3  # the first CVs, which are drawn against each other


def worth(report: ImportanceReport, axis: Axes | None = None) -> Figure:
    """Gain and information gain of each CV with 90 % intervals, and its verdict."""
    with style():
        made, axis = figure(5.2, 1.4 + 0.55 * len(report.cvs)) if axis is None else (cast(Figure, axis.get_figure()), axis)
        colours, place = level_colours(len(report.cvs)), np.arange(len(report.cvs))
        for name, mark, aside, filled in (("gain", "o", -0.13, True), ("info_gain", "s", 0.13, False)):
            value, low, high = (np.array([getattr(cv, f"{name}{end}") for cv in report.cvs]) for end in ("", "_low", "_high"))
            reach = arms(value, low, high)
            for k, colour in enumerate(colours):
                axis.errorbar(value[k], place[k] + aside, xerr=None if reach is None else reach[:, k : k + 1], fmt=mark, color=colour,
                              markerfacecolor=colour if filled else "white", capsize=3, markersize=5)
            axis.plot([], [], mark, color="#444444", markerfacecolor="#444444" if filled else "white", markersize=5,
                      label={"gain": "gain", "info_gain": "information gain"}[name])
        axis.axvline(report.eps, color="#444444", linewidth=0.8, linestyle=":", label=f"dead below {report.eps:g}")
        words = ["too little data" if cv.status == "not enough data" else cv.verdict for cv in report.cvs]
        axis.set_yticks(place, [f"{cv.name}: {said}" for cv, said in zip(report.cvs, words, strict=True)])
        axis.set_ylim(len(report.cvs) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#dddddd", linewidth=0.8)
        axis.set_xlabel("share of all variance that a CV adds")
        legend(axis)
    return made


def picture(report: ImportanceReport, cvs: np.ndarray, kinds: Sequence[str], labels=None) -> Figure:
    """FVE by level and `worth` above; below them the CVs (N, n) against each other, a row of axes for each label.

    kinds: of the CVs. labels: (N,), or a DataFrame of up to four columns. Raises BadInput for labels that don't fit the rows.
    """
    named = _labels(labels, len(cvs))
    rows = np.linspace(0, len(cvs) - 1, min(len(cvs), MOST_ROWS)).round().astype(int)
    pairs: list[tuple[int, int] | None] = [*combinations(range(min(cvs.shape[1], PAIRED)), 2)] or [None]
    with style():
        made = Shown(figsize=(9.6, 3.8 + 3.3 * max(len(named), 1)), layout="constrained")
        above, below = made.subfigures(2, 1, height_ratios=[3.8, 3.3 * max(len(named), 1)]).ravel()  # type: ignore[union-attr]
        left, right = above.subfigures(1, 2).ravel()
        fve_by_level({report.variant: report}, left.subplots())
        worth(report, right.subplots())
        axes = below.subplots(max(len(named), 1), len(pairs), squeeze=False)
        for row, (name, values) in zip(axes, named.items() or [("", None)], strict=True):
            for axis, pair in zip(row, pairs, strict=True):
                if pair is None:
                    _one(axis, cvs[rows, 0], None if values is None else values.iloc[rows], name)
                else:
                    _two(axis, cvs[rows], pair, kinds, None if values is None else values.iloc[rows], name)
    return made


def _labels(labels, n: int) -> dict[str, pd.Series | None]:
    if labels is None:
        return {}
    table = labels if isinstance(labels, pd.DataFrame) else pd.DataFrame({getattr(labels, "name", None) or "label": np.asarray(labels)})
    if len(table) != n or not 1 <= table.shape[1] <= MOST_LABELS:
        raise BadInput(f"labels: shape {table.shape} for {n} rows; allowed: one for each row, in up to {MOST_LABELS} columns")
    return {str(name): table[name].reset_index(drop=True) for name in table}


def _is_class(values: pd.Series) -> bool:
    few = values.nunique() <= MOST_CLASSES
    return few and (not pd.api.types.is_numeric_dtype(values) or bool((values.dropna() % 1 == 0).all()))


def _one(axis: Axes, cv: np.ndarray, values: pd.Series | None, name: str) -> None:
    """One CV alone: how often each value is, by class, or against a label."""
    axis.set_xlabel("CV1")
    if values is None or _is_class(values):
        for part, colour, label in _parts(values, len(cv)):
            axis.hist(cv[part], bins=50, color=colour, alpha=0.6, label=label)
        axis.set_ylabel("rows")
        _name_classes(axis, values, name)
    else:
        axis.scatter(cv, pd.to_numeric(values, errors="coerce"), s=4, linewidths=0, color="#0072B2", rasterized=True)
        axis.set_ylabel(plain(name))


def _two(axis: Axes, cvs: np.ndarray, pair: tuple[int, int], kinds: Sequence[str], values: pd.Series | None, name: str) -> None:
    """A CV against another, coloured by a label."""
    x, y = (cvs[:, k] for k in pair)
    size = float(np.clip(4000 / len(cvs), 2, 14))
    if values is None or _is_class(values) or not pd.api.types.is_numeric_dtype(values):
        for part, colour, label in _parts(values, len(cvs)):
            axis.scatter(x[part], y[part], s=size, linewidths=0, color=colour, label=label, alpha=0.7, rasterized=True)
        _name_classes(axis, values, name)
    else:
        drawn = axis.scatter(x, y, s=size, linewidths=0, c=values, cmap="viridis", rasterized=True)
        axis.figure.colorbar(drawn, ax=axis, label=plain(name))
    axis.set(xlabel=f"CV{pair[0] + 1}", ylabel=f"CV{pair[1] + 1}")
    for k, name in zip(pair, "xy", strict=True):
        if PERIODS[kinds[k]]:
            axis.set(**{f"{name}lim": (-np.pi, np.pi)})


def _parts(values: pd.Series | None, n: int) -> list[tuple[np.ndarray, str, str]]:
    """Rows, colour and name of each class, the most frequent ones by name and the others together."""
    if values is None:
        return [(np.ones(n, dtype=bool), "#0072B2", "")]
    shades = ("#0072B2", "#D55E00", "#009E73", *FURTHER, "#882255", "#44AA99", "#999933", "#AA4499", "#661100")
    classes = sorted(values.value_counts().index[:MOST_CLASSES])
    parts = [((values == one).to_numpy(), colour, plain(one)) for one, colour in zip(classes, shades)]
    other = ~values.isin(classes).to_numpy()
    return parts + ([(other, "#bbbbbb", "others")] if other.any() else [])


def _name_classes(axis: Axes, values: pd.Series | None, name: str) -> None:
    if values is not None:
        axis.legend(title=plain(name), frameon=False, fontsize=8, markerscale=2, loc="best")
