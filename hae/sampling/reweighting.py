"""Free energies from biased frames: weights from the bias, differences between regions with an interval over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hae.data.rounds import share
from hae.errors import BadInput
from hae.sampling.grid import GAS

__all__ = ["Difference", "difference", "weights_of"]

DRAWS = 1000


@dataclass(frozen=True)
class Difference:
    """F(first) - F(second) in kJ/mol; low, high: its interval at 90 %, inf where a draw of the blocks misses a region;
    share: of frames that the weights leave (Kish), 1 without a bias."""

    value: float
    low: float
    high: float
    share: float


def weights_of(rbias: np.ndarray, temperature: float) -> np.ndarray:
    """(N,) exp(rbias / kT), rbias = V(s, t) - c(t) in kJ/mol: Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015)."""
    exponent = np.asarray(rbias, dtype=float) / (GAS * temperature)
    return np.exp(exponent)


def difference(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray, blocks: np.ndarray, temperature: float, seed: int = 0
) -> Difference:
    """Free energy of a region less that of another. first, second: (N,) whether a frame lies in it; blocks: (N,) what is drawn as a
    whole in the bootstrap, as pieces of trajectories that are long against their correlation.

    Raises:
        BadInput: a region without a frame.
    """
    names, place = np.unique(blocks, return_inverse=True)
    sums = np.stack([np.bincount(place, weights * region, len(names)) for region in (first, second)])
    if (sums.sum(1) == 0).any():
        raise BadInput("regions: one has no frame; allowed: regions that were visited")
    kt = GAS * temperature
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = -kt * np.log((drawn @ sums[0]) / (drawn @ sums[1]))
    draws = np.where(np.isnan(draws), np.inf, draws)
    low, high = np.quantile(draws, [0.05, 0.95], method="inverted_cdf")
    return Difference(float(-kt * np.log(sums[0].sum() / sums[1].sum())), float(low), float(high), share(weights))
