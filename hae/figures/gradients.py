"""Figures of how steep CVs are: each along its steepest passage, and the largest gradient over the plane of two variables."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from hae.figures.maps import Variable
from hae.figures.plots import level_colours, plain
from hae.importance.smoothness import CLIFF, PER_NM

__all__ = ["gradient_map", "passages"]

BINS = 40  # a side


def passages(steps: np.ndarray, cvs: np.ndarray, axis: Axes, unit: str = PER_NM) -> None:
    """Each CV along the straight line where it is steepest. steps (T,) and cvs (n, T): as of `hae.importance.gradients.Gradients`;
    unit: of gradients. Per nm a dashed line shows how steep a cliff begins to be."""
    for k, (cv, colour) in enumerate(zip(cvs, level_colours(len(cvs)), strict=True)):
        axis.plot(steps, cv, color=colour, label=f"CV{k + 1}", zorder=3)
    low, high = min(cvs.min(), -1.0), max(cvs.max(), 1.0)
    if unit == PER_NM:
        inside = np.abs(CLIFF * steps) < 0.9 * min(-low, high)
        axis.plot(steps[inside], CLIFF * steps[inside], color="#D55E00", linestyle="--", linewidth=1, label=f"{CLIFF:.0f} per nm: a cliff")
    axis.axvline(0, color="#bbbbbb", linewidth=0.7, zorder=0)
    where = "nm" if unit == PER_NM else "SD of the inputs"
    axis.set(xlabel=f"way through the steepest place ({where})", ylabel="CV (standard deviations)",
             ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)), xlim=(steps[0], steps[-1]))
    axis.legend(frameon=False)


def gradient_map(x: Variable, y: Variable, gradient: np.ndarray, axis: Axes, name: str = "CV", unit: str = PER_NM) -> None:
    """The plane of two variables of N frames, each place coloured by the largest gradient (N,) there; a ring where it is largest of all."""
    if not len(gradient):
        return
    extent, edges = (*x.edges, *y.edges), (x.edges, y.edges)
    bins = int(np.clip(np.sqrt(len(gradient)) / 3, 8, BINS))
    at = [np.floor((v.shown - low) / (high - low) * bins).clip(0, bins - 1).astype(int) for v, (low, high) in zip((x, y), edges)]
    highest = np.full((bins, bins), -np.inf)
    np.maximum.at(highest, tuple(at), gradient)
    image = axis.imshow(np.ma.masked_invalid(highest).T, origin="lower", extent=extent, aspect="auto", cmap="viridis", vmin=0,
                        interpolation="nearest")
    x.dress(axis.xaxis)
    y.dress(axis.yaxis)
    row = int(gradient.argmax())
    axis.plot(*(np.clip(v.shown[row], *ends) for v, ends in zip((x, y), edges)), "o", markersize=9, markerfacecolor="none",
              markeredgecolor="#D55E00", markeredgewidth=1.6, clip_on=False)
    bar = axis.figure.colorbar(image, ax=axis, label=plain(f"largest gradient of {name} ({unit})"), pad=0.02)
    bar.outline.set_visible(False)
