"""Figures of data: planes of labels and of CVs, free energies, and reconstructions beside what they reconstruct."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from scipy import sparse
from scipy.spatial import cKDTree

from hae.figures.plots import level_colours, plain
from hae.importance.intervals import Sampling

__all__ = ["Variable", "free_energy", "free_energy_profile", "label_map", "pair_of_reconstruction", "skeleton", "sticks"]

BOND, STEP = 0.2, 0.45  # nm: longest bond of heavy atoms; longest step between atoms of a coarser chain
# Twilight, which goes round, less its white and its black: those can't be told from the paper of a light or a dark page.
ROUND = ListedColormap(0.2 + 0.6 * matplotlib.colormaps["twilight"](np.linspace(0, 1, 256))[:, :3], name="twilight of mid tones")


@dataclass(frozen=True)
class Variable:
    """A number a frame: values (N,), name, unit, and the period where it is an angle or the like.

    Example:
        >>> Variable(np.array([0.0, 3 * np.pi / 2]), "phi", "rad", 2 * np.pi).shown
        array([  0., -90.])
    """

    values: np.ndarray
    name: str
    unit: str = ""
    period: float | None = None

    @property
    def shown(self) -> np.ndarray:
        """The values as they are drawn: those with a period within half of it about zero, radians in degrees."""
        if self.period is None:
            return np.asarray(self.values, dtype=float)
        return self._factor * (np.remainder(np.asarray(self.values, dtype=float) + self.period / 2, self.period) - self.period / 2)

    @property
    def edges(self) -> tuple[float, float]:
        """Where the axis begins and ends; the outermost thousandth of what has no period is left out."""
        if self.period is not None:
            return -self._factor * self.period / 2, self._factor * self.period / 2
        low, high = np.quantile(self.shown, [0.001, 0.999])
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def label(self) -> str:
        unit = "degrees" if self._factor != 1 else self.unit
        return f"{self.name} ({unit})" if unit else self.name

    @property
    def _factor(self) -> float:
        return 180 / np.pi if self.period is not None and np.isclose(self.period, 2 * np.pi) else 1.0

    def dress(self, axis) -> None:
        """Limits, ticks and label of an x or y axis (matplotlib's Axis)."""
        low, high = self.edges
        axis.axes.set(**{f"{axis.axis_name}lim": (low, high), f"{axis.axis_name}label": plain(self.label)})
        if self._factor != 1:
            axis.set_ticks([-180, -90, 0, 90, 180])


def label_map(x: Variable, y: Variable, cv: Variable, axis: Axes, weights: np.ndarray | None = None) -> None:
    """The plane of two labels, each place coloured by the mean of a CV there: round the circle, with circular colours, for an angle."""
    total, extent = _counts(x, y, weights)
    colours: Colormap | str = "cividis"
    w = np.ones(len(cv.values)) if weights is None else weights
    if cv.period is None:
        mean = _counts(x, y, w * cv.shown)[0] / np.where(total > 0, total, 1)
        low, high = np.quantile(cv.shown, [0.02, 0.98])
    else:
        turn = np.exp(2j * np.pi * np.asarray(cv.values) / cv.period)
        mean = np.angle(_counts(x, y, w * turn.real)[0] + 1j * _counts(x, y, w * turn.imag)[0]) / (2 * np.pi) * cv.period * cv._factor
        (low, high), colours = cv.edges, ROUND
    image = axis.imshow(np.ma.masked_where(total <= 0, mean).T, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=low,
                        vmax=high, interpolation="nearest")
    _dress(x, y, axis)
    bar = axis.figure.colorbar(image, ax=axis, label=plain(cv.label), pad=0.02, extend="neither" if cv.period else "both")
    bar.outline.set_visible(False)
    if cv._factor != 1:
        bar.set_ticks([-180, -90, 0, 90, 180])


def free_energy(
    x: Variable, y: Variable, axis: Axes, sampling: Sampling, unit: tuple[float, str] = (1.0, "kT"), intervals: bool = True
) -> None:
    """Free energy -kT ln p on the plane of two CVs, zero at its least; pale where its 90 % interval reaches more than kT above it.

    sampling: of the frames, which gives their weights; unit: kT and its name, as `(2.49, "kJ/mol")`; intervals: False shows none.
    """
    bins = _bins(len(x.values), 2)
    energy, _, high = (part.reshape(bins, bins) for part in _energies([_place(x, bins), _place(y, bins)], bins, sampling, unit[0]))
    faint = (high - np.where(np.isfinite(energy), energy, 0) > unit[0]) & intervals
    image = axis.imshow(np.ma.masked_invalid(energy).T, origin="lower", extent=(*x.edges, *y.edges), aspect="auto", cmap="viridis",
                        interpolation="nearest", vmin=0, alpha=np.where(faint, 0.3, 1.0).T)
    _dress(x, y, axis)
    bar = axis.figure.colorbar(image, ax=axis, label=_energy_label(unit), pad=0.02)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_alpha(1)


def free_energy_profile(
    x: Variable, axis: Axes, sampling: Sampling, unit: tuple[float, str] = (1.0, "kT"), intervals: bool = True
) -> None:
    """Free energy along one CV, zero at its least, with its 90 % interval as a band. Arguments as of `free_energy`."""
    bins = _bins(len(x.values), 1)
    energy, low, high = _energies([_place(x, bins)], bins, sampling, unit[0])
    edges = np.linspace(*x.edges, bins + 1)
    middle, seen = (edges[1:] + edges[:-1]) / 2, np.isfinite(energy)
    axis.plot(middle, np.ma.masked_invalid(energy), color="#0072B2")
    x.dress(axis.xaxis)
    top = 1.05 * energy[seen].max() + 0.1 * unit[0]
    if intervals:
        axis.fill_between(middle, low.clip(0), np.where(np.isfinite(high), high, top), where=seen, color="#0072B2", alpha=0.2, linewidth=0)
    axis.set(ylabel=_energy_label(unit), ylim=(0, top))


def pair_of_reconstruction(true: Variable, rebuilt: np.ndarray, axis: Axes, weights: np.ndarray | None = None) -> None:
    """A feature as it is (across) and as a level rebuilds it (up): darker where there are more frames; on the line they are equal."""
    up = Variable(rebuilt, "rebuilt", true.unit)
    low, high = true.edges
    counts, _, _ = np.histogram2d(true.shown, up.shown.clip(low, high), bins=_bins(len(rebuilt), 2), range=[(low, high)] * 2,
                                  weights=weights)
    shade = np.ma.masked_where(counts <= 0, np.log(counts.clip(1e-9)))
    axis.imshow(shade.T, origin="lower", extent=(low, high, low, high), aspect="auto", cmap="Greys", interpolation="nearest",
                vmin=shade.min() - 0.5 * (np.ptp(shade.compressed()) or 1))
    axis.plot([low, high], [low, high], color="#D55E00", linewidth=0.9)
    axis.set(xlim=(low, high), ylim=(low, high))


def skeleton(reference: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of atoms to join by a line, from positions (A, 3) in nm: bonds by their length, or the chain of a coarser choice of atoms."""
    bonds = sorted(cKDTree(reference).query_pairs(BOND))
    steps = np.linalg.norm(np.diff(reference, axis=0), axis=1)
    return bonds or [(k, k + 1) for k in np.flatnonzero(steps < STEP).tolist()]


def sticks(true: np.ndarray, rebuilt: np.ndarray, bonds: list[tuple[int, int]], axis: Axes, level: int, n: int) -> None:
    """A molecule as it is (grey) and as a level rebuilds it (coloured), (A, 3) in nm, seen along its shortest axis."""
    centre = true.mean(axis=0)
    view = np.linalg.svd(true - centre, full_matrices=False)[2][:2]
    for positions, colour, width, order in ((true, "#c4c4c4", 5.0, 1), (rebuilt, level_colours(n)[level - 1], 2.0, 2)):
        flat = (positions - centre) @ view.T
        for a, b in bonds:
            axis.plot(*flat[[a, b]].T, color=colour, linewidth=width, solid_capstyle="round", zorder=order)
        if not bonds:
            axis.plot(*flat.T, "o", color=colour, markersize=width, zorder=order)
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.12)
    axis.set_axis_off()
    away = np.sqrt(((true - rebuilt) ** 2).sum(axis=1).mean())
    words = axis.text(0.5, 0, f"{away:.3f} nm", transform=axis.transAxes, ha="center", va="bottom", fontsize=9, zorder=4)
    words.set_path_effects([effects.withStroke(linewidth=2.5, foreground="white")])


def _counts(x: Variable, y: Variable, weights: np.ndarray | None) -> tuple[np.ndarray, tuple]:
    """Weighted histogram (B, B) over the plane, and its extent."""
    bins = _bins(len(x.values), 2)
    total, _, _ = np.histogram2d(x.shown, y.shown, bins=bins, range=[x.edges, y.edges], weights=weights)
    return total, (*x.edges, *y.edges)


def _place(x: Variable, bins: int) -> np.ndarray:
    """Number of the bin (N,) that each value is in; -1 outside the edges."""
    low, high = x.edges
    place = np.floor((x.shown - low) / (high - low) * bins)
    place[x.shown == high] = bins - 1
    return np.where((place >= 0) & (place < bins), place, -1).astype(int)


def _energies(places: list[np.ndarray], bins: int, sampling: Sampling, kT: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-kT ln(p / p of the fullest cell) of every cell (bins ** axes,), with the bounds of its interval; inf where nothing is known."""
    inside = np.flatnonzero(np.min(places, axis=0) >= 0)
    cell = np.ravel_multi_index([place[inside] for place in places], (bins,) * len(places))
    visits = sparse.csr_array((np.ones(len(inside)), (cell, inside)), shape=(bins ** len(places), len(sampling)))
    sums = sampling.sums(visits)
    found = Sampling.ratio_of_sums(sums, sums[np.argmax(sums[:, 0])])
    with np.errstate(divide="ignore"):
        energy, high, low = (-kT * np.log(np.maximum(ratio, 0)) for ratio in (found.value, found.low, found.high))
    return energy, low, high


def _bins(n: int, dimensions: int) -> int:
    """As many bins a side as n frames can fill."""
    return int(np.clip(np.sqrt(n) / 3, 12, 60)) if dimensions == 2 else int(np.clip(np.sqrt(n), 12, 90))


def _dress(x: Variable, y: Variable, axis: Axes) -> None:
    x.dress(axis.xaxis)
    y.dress(axis.yaxis)


def _energy_label(unit: tuple[float, str]) -> str:
    return "-ln density" if unit[1] == "" else f"free energy ({unit[1]})"
