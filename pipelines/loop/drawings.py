"""The figures of a loop, drawn on axes that the caller gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from hae.sampling.reweighting import Profile
from pipelines.loop.turns import Turn

__all__ = ["changes", "energy", "found", "plane"]

SHOWN = 4000  # points of the plane: more make the page heavy and the picture no clearer
BLUE = "#0072B2"


def found(turns: Sequence[Turn], axis: Axes) -> None:
    """Cells of the CVs' plane against nanoseconds; hollow where a round brought nothing."""
    x, y = [turn.nanoseconds for turn in turns], [turn.cells for turn in turns]
    axis.plot(x, y, color=BLUE)
    axis.scatter(x, y, s=40, color=["white" if turn.quiet else BLUE for turn in turns], edgecolor=BLUE, zorder=3)
    for turn in turns:
        axis.annotate(f"+{turn.new}", (turn.nanoseconds, turn.cells), (0, -14), textcoords="offset points", ha="center", fontsize=8)
    axis.set(xlabel="simulated in all, ns", ylabel="cells of the plane of CV1 and CV2", ylim=(0, max(y) * 1.1))


def plane(cvs: np.ndarray, rounds: np.ndarray, axis: Axes) -> None:
    """Frames (N, 2) by the round (N,) they were seen in; later rounds are drawn on top."""
    names = sorted(set(rounds), key=lambda name: (len(name), name))  # 1000 comes after 999
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    for name, colour in zip(names, colours):
        mine = np.flatnonzero(rounds == name)
        mine = mine[:: max(1, len(mine) * len(names) // SHOWN)]
        axis.scatter(cvs[mine, 0], cvs[mine, 1], s=4, color=colour, linewidth=0, label=f"round {name}")
    axis.set(xlabel="CV1", ylabel="CV2")
    axis.legend(markerscale=3, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def changes(matched: Mapping[str, Sequence[float]], axis: Axes) -> None:
    """From a champion to the next ("1 to 3") how alike each CV and the one matched to it are, |r| over all frames."""
    values = np.array(list(matched.values()))
    axis.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axis.set_xticks(range(values.shape[1]), [f"CV{k + 1}" for k in range(values.shape[1])])
    axis.set_yticks(range(len(values)), [f"version {name}" for name in matched])
    for (i, k), value in np.ndenumerate(values):
        axis.text(k, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def energy(profile: Profile, name: str, axis: Axes) -> None:
    """Free energy along a variable with its interval at 90 %."""
    top = np.nanmax(profile.values)
    high = np.where(np.isfinite(profile.high), profile.high, 2 * top)  # no upper end: out of the picture
    axis.fill_between(profile.centres, profile.low, high, color=BLUE, alpha=0.25, linewidth=0)
    axis.plot(profile.centres, profile.values, color=BLUE, marker=".", markersize=4)
    axis.set(xlabel=name, ylabel="free energy, kJ/mol", ylim=(-0.03 * top, 1.15 * top))
