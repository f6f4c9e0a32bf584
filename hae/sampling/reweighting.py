"""Free energies from biased frames: weights from the bias, differences between regions with an interval over blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hae.data.rounds import share
from hae.data.units import BOLTZMANN
from hae.errors import BadInput

__all__ = ["Difference", "Profile", "difference", "profile", "weights_of"]

DRAWS = 1000
FEWER = 200  # where each draw has to be pooled anew


@dataclass(frozen=True)
class Difference:
    """F(first) - F(second) in kJ/mol; low, high: its interval at 90 %, inf where a draw of the blocks misses a region;
    share: of frames that the weights leave (Kish), 1 without a bias.

    Example:
        >>> found = Difference(9.1, 7.1, 14.6, share=0.3)
        >>> found.low < 9.63 < found.high
        True
    """

    value: float
    low: float
    high: float
    share: float


def weights_of(rbias: np.ndarray, temperature: float) -> np.ndarray:
    """(N,) exp(rbias / kT), rbias = V(s, t) - c(t) in kJ/mol: Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015).

    Example:
        >>> weights_of(np.array([0.0, 2.494]), temperature=300.0).round(2)  # a bias of 0 and of kT
        array([1.  , 2.72])
    """
    exponent = np.asarray(rbias, dtype=float) / (BOLTZMANN * temperature)
    return np.exp(exponent)


def difference(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray, blocks: np.ndarray, temperature: float, seed: int = 0,
    strata: np.ndarray | None = None, again: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Difference:
    """Free energy of a region less that of another. first, second: (N,) whether a frame lies in it; blocks: (N,) what is drawn as a
    whole in the bootstrap, as pieces of trajectories that are long against their correlation.

    strata: (N,) within which blocks are drawn, as windows that all have to be there; None: among all. again: how often each frame was
    drawn (N,) -> the weights (N,) that such frames have, where weights come from all frames together; None: as they are.

    Raises:
        BadInput: a region without a frame.

    Example: Twenty blocks, each with three frames in the first region and one in the second: -kT ln 3.
        >>> first = np.tile([True, True, True, False], 20)
        >>> found = difference(first, ~first, np.ones(80), np.repeat(np.arange(20), 4), temperature=300.0)
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)  # all blocks say the same
        (-2.74, -2.74, -2.74)
    """
    names, at, place = np.unique(blocks, return_index=True, return_inverse=True)
    sums = np.stack([np.bincount(place, weights * region, len(names)) for region in (first, second)])
    if (sums.sum(1) == 0).any():
        raise BadInput("regions: one has no frame; allowed: regions that were visited")
    kt = BOLTZMANN * temperature
    drawn = _draws(np.zeros(len(names)) if strata is None else np.asarray(strata)[at], DRAWS if again is None else FEWER, seed)
    found = drawn @ sums.T if again is None else np.array([_weighed(again, counts[place], first, second) for counts in drawn])
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = -kt * np.log(found[:, 0] / found[:, 1])
    draws = np.where(np.isnan(draws), np.inf, draws)
    low, high = np.quantile(draws, [0.05, 0.95], method="inverted_cdf")
    return Difference(float(-kt * np.log(sums[0].sum() / sums[1].sum())), float(low), float(high), share(weights))


def _draws(strata: np.ndarray, number: int, seed: int) -> np.ndarray:
    """(number, B) how often each block is drawn: within each stratum (B,) as often as it has blocks."""
    random, drawn = np.random.default_rng(seed), np.zeros((number, len(strata)))
    for stratum in np.unique(strata):
        mine = np.flatnonzero(strata == stratum)
        drawn[:, mine] = random.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), number)
    return drawn


def _weighed(again, counts: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    weights = counts * again(counts)
    return float(weights @ first), float(weights @ second)


@dataclass(frozen=True)
class Profile:
    """Free energy along a variable, kJ/mol, its lowest value 0. centres, values, low, high (B,): low and high are the interval at 90 % of
    each place against the lowest; nan where no frame was seen, high inf where a draw of the blocks sees none.

    Example: Two places, of which one has e times as many frames: kT, 2.49 kJ/mol at 300 K.
        >>> along = np.repeat([0.5, 1.5], [2718, 1000])
        >>> found = profile(along, np.array([0.0, 1.0, 2.0]), np.ones(3718), np.arange(3718) % 20, 300.0)
        >>> found.centres, round(float(found.values[1]), 2)
        (array([0.5, 1.5]), 2.49)
    """

    centres: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def profile(
    along: np.ndarray, edges: np.ndarray, weights: np.ndarray, blocks: np.ndarray, temperature: float, seed: int = 0,
    strata: np.ndarray | None = None, again: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Profile:
    """Free energy along a variable (N,), in bins between edges (B + 1,). The other arguments: see `difference`."""
    names, at, place = np.unique(blocks, return_index=True, return_inverse=True)
    n = len(edges) - 1
    bins = np.digitize(along, edges[1:-1])
    bins = np.where((along >= edges[0]) & (along <= edges[-1]), bins, n)  # the last one: beyond, or not a number
    drawn = _draws(np.zeros(len(names)) if strata is None else np.asarray(strata)[at], DRAWS if again is None else FEWER, seed)
    if again is None:
        sums = np.bincount(place * (n + 1) + bins, weights, len(names) * (n + 1)).reshape(len(names), n + 1)[:, :n]
        found = drawn @ sums
    else:
        found = np.array([np.bincount(bins, counts[place] * again(counts[place]), n + 1)[:n] for counts in drawn])
    whole = np.bincount(bins, weights, n + 1)[:n]
    lowest = int(whole.argmax())
    with np.errstate(divide="ignore", invalid="ignore"):
        values = -BOLTZMANN * temperature * np.log(whole / whole[lowest])
        draws = -BOLTZMANN * temperature * np.log(found / found[:, lowest, None])
    low, high = np.quantile(np.where(np.isnan(draws), np.inf, draws), [0.05, 0.95], axis=0, method="inverted_cdf")
    seen = whole > 0
    return Profile((edges[:-1] + edges[1:]) / 2, *(np.where(seen, array, np.nan) for array in (values, low, high)))
