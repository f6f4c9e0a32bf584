"""Figures of CVs one by one: against time, and what the features do along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from hae.figures.maps import Variable
from hae.figures.plots import plain

__all__ = ["against_time", "features_along"]

BINS, FEWEST = 24, 3  # places along a CV, and the frames that a mean of one needs
NAMED = 8  # trajectories that have room for their names


def against_time(cvs: Sequence[Variable], trajectory: np.ndarray, frame: np.ndarray, axes: Sequence[Axes] | np.ndarray) -> None:
    """CVs against the frame number, an axis each, one trajectory after the other with a line between them.

    trajectory, frame: (N,) as of `Frames`; drawn in the order in which trajectories first come.
    """
    names = list(dict.fromkeys(trajectory.tolist()))
    place, ends = np.zeros(len(trajectory)), [0.0]
    for name in names:
        own = trajectory == name
        place[own] = frame[own] - frame[own].min() + ends[-1]
        ends.append(float(place[own].max()) + 1)
    size = float(np.clip(120 / np.sqrt(len(place)), 1.0, 4.0))
    for cv, axis in zip(cvs, axes, strict=True):
        axis.plot(place, cv.shown, ".", color="#2b8cc4", markersize=size, markeredgewidth=0, rasterized=True)  # seen on white and on black
        for end in ends[1:-1]:
            axis.axvline(end, color="#999999", linewidth=0.7)
        cv.dress(axis.yaxis)
        axis.set_xlim(0, ends[-1])
        if axis is not axes[-1]:
            axis.set_xticklabels([])
    axes[-1].set_xlabel("frame" if len(names) == 1 else f"frame; {len(names)} trajectories one after the other")
    if 1 < len(names) <= NAMED:
        same = next((i for i, signs in enumerate(zip(*names, strict=False)) if len(set(signs)) > 1), 0)  # what all names begin with
        for name, begin, end in zip(names, ends, ends[1:], strict=False):
            axes[0].text((begin + end) / 2, 1.02, plain(name[same:][-28 // len(names) :]), fontsize=8, ha="center", va="bottom",
                         transform=axes[0].get_xaxis_transform())


def features_along(
    cv: Variable, values: np.ndarray, groups: Mapping[str, Sequence[int]], axis: Axes, *, lengths: bool = False,
    weights: np.ndarray | None = None,
) -> None:
    """What the features are at each place of a CV: one row for each group, coloured by the mean of the frames there, white where few are.

    values: (N, D); groups: name of a row -> its columns of ``values``. The colour is the mean in standard deviations from the mean of all
    (of the first column of the group); with ``lengths`` the length of the group's mean displacement from the mean of all, in the
    unit of the values, as of the x, y and z of an atom.
    """
    w = np.ones(len(values)) if weights is None else weights
    low, high = cv.edges if cv.period is not None else np.quantile(cv.shown, [0.01, 0.99])
    high = high if high > low else low + 1
    bins = np.floor((cv.shown - low) / (high - low) * BINS).astype(int)
    inside = (bins >= 0) & (bins < BINS)
    frames = np.bincount(bins[inside], minlength=BINS)
    total = np.bincount(bins[inside], w[inside], BINS)
    rows = []
    for columns in groups.values():
        own = np.asarray(values[:, list(columns)], dtype=float)
        mean = np.average(own, axis=0, weights=w)
        own = own - mean
        at = np.stack([np.bincount(bins[inside], (w * x)[inside], BINS) for x in own.T]) / np.where(total > 0, total, 1)
        rows.append(np.linalg.norm(at, axis=0) if lengths else at[0] / (np.sqrt(np.average(own[:, 0] ** 2, weights=w)) or 1.0))
    shown = np.ma.masked_where(np.broadcast_to(frames < FEWEST, (len(rows), BINS)), np.array(rows))
    colours, least, most = ("viridis", 0, None) if lengths else ("RdBu_r", -2, 2)
    image = axis.imshow(shown, aspect="auto", extent=(low, high, len(rows) - 0.5, -0.5), interpolation="nearest", cmap=colours, vmin=least,
                        vmax=most)
    axis.set_yticks(range(len(rows)), [plain(name if len(name) <= 22 else f"{name[:21]}…") for name in groups])
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(plain(cv.label))
    if cv.period is not None:
        cv.dress(axis.xaxis)
    bar = axis.figure.colorbar(image, ax=axis, pad=0.02, aspect=30, extend="neither" if lengths else "both",
                               label="nm from its mean" if lengths else "standard deviations from the mean")
    bar.outline.set_visible(False)
