"""Figures: one function each, which takes a report and an axis."""

import matplotlib

matplotlib.use("Agg")  # figures go to files: no screen is needed

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

__all__ = ["COLOURS", "figure", "fve_by_level"]

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {"collective": "#0072B2", "boosted": "#D55E00", "plain autoencoder": "#555555", "PCA": "#009E73"}


def figure(width: float = 6.0, height: float = 4.0):
    """A figure with one axis: (Figure, Axes)."""
    return plt.subplots(figsize=(width, height), layout="constrained")


def fve_by_level(table: pd.DataFrame, axis: Axes) -> None:
    """Held-out FVE against the number of CVs: a line a variant, and the two baselines.

    table: rows of variant, cv, fve, pca_fve, plain_fve.
    """
    longest = max(table.groupby("variant"), key=lambda item: len(item[1]))[1]
    axis.plot(
        longest["cv"], longest["plain_fve"], "s--", color=COLOURS["plain autoencoder"], label="plain autoencoder (no order)", zorder=2
    )
    for i, (variant, rows) in enumerate(table.groupby("variant", sort=False)):
        axis.plot(rows["cv"], rows["fve"], "o-", color=COLOURS.get(variant, f"C{i}"), label=variant, zorder=3)
    axis.plot(longest["cv"], longest["pca_fve"], "^:", color=COLOURS["PCA"], label="PCA", zorder=1)
    axis.set(xlabel="number of CVs", ylabel="fraction of variance explained (test blocks)")
    axis.set_xticks(longest["cv"])
    axis.set_ylim(0, 1.02)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
