"""Generated data of known truth: what a calibration of the importance report is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

__all__ = ["CELLS", "Cell", "Walk"]


class Walk:
    """Stationary series of N frames: each frame independent of the last, or correlated over about ten frames."""

    def __init__(self, n: int, correlated: bool, rng: np.random.Generator):
        self.n, self.correlated, self.rng = n, correlated, rng

    def normal(self) -> np.ndarray:
        """(N,) standard normal; correlated: autoregressive with a correlation time of 5 frames."""
        if not self.correlated:
            return self.rng.normal(size=self.n)
        keep = np.exp(-1 / 5)
        return lfilter([np.sqrt(1 - keep**2)], [1, -keep], self.rng.normal(size=self.n + 200))[-self.n :]

    def angle(self) -> np.ndarray:
        """(N,) uniform in (-pi, pi]; correlated: a random walk on the circle."""
        if not self.correlated:
            return self.rng.uniform(-np.pi, np.pi, self.n)
        return np.angle(np.exp(1j * (self.rng.uniform(-np.pi, np.pi) + np.cumsum(self.rng.normal(0, 0.6, self.n)))))

    def state(self, share: float = 0.1) -> np.ndarray:
        """(N,) of 0 and 1, 1 in a tenth of the frames; correlated: a Markov chain that stays there for about 5 frames."""
        if not self.correlated:
            return (self.rng.uniform(size=self.n) < share).astype(float)
        leave = 0.18
        enter = leave * share / (1 - share)
        lengths_0 = self.rng.geometric(enter, size=self.n // 10 + 50)
        lengths_1 = self.rng.geometric(leave, size=self.n // 10 + 50)
        lengths = np.stack([lengths_0, lengths_1], axis=1).ravel()
        states = np.repeat(np.tile([0.0, 1.0], len(lengths_0)), lengths)
        start = self.rng.integers(len(states) - self.n) if len(states) > self.n else 0
        return states[start : start + self.n]


@dataclass(frozen=True)
class Cell:
    """A kind of data.

    make(walk) -> input (N, D), target (N, D'); cv: kinds of the CVs asked for; n: how many of them there are; additive: the boosted
    variant can follow; equal: pairs (k, k+1), from 1, that have no order to find; steps: of training; linear: the network is the exact
    linear one (a CV that bends may find more in a part of such data than a straight one, and then there is an order).
    """

    make: Callable[[Walk], tuple[np.ndarray, np.ndarray]]
    cv: tuple[str, ...]
    n: int
    additive: bool = True
    equal: tuple[int, ...] = ()
    steps: int = 800
    linear: bool = False


def _linear(spreads):
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(len(spreads), len(spreads))))[0]

    def make(walk: Walk):
        x = np.stack([spread * walk.normal() for spread in spreads], axis=1) @ turn
        return x, x

    return make


def _torus(walk: Walk):
    a, b = walk.angle(), walk.angle()
    x = np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], axis=1)
    return x, x


def _noisy_curve(walk: Walk):
    t = walk.normal()
    x = np.stack([t, np.sin(1.5 * t), 0.5 * t**2], axis=1)
    return x, x + 0.5 * np.stack([walk.normal() for _ in range(3)], axis=1)


def _product(walk: Walk):
    t, u = walk.angle(), 2 * norm.cdf(walk.normal()) - 1
    x = np.stack([2 * np.cos(t), 2 * np.sin(t), 2.5 * u * np.cos(t), 2.5 * u * np.sin(t)], axis=1)
    return x, x


def _rare_state(walk: Walk):
    x = np.stack([1.5 * walk.normal(), 3 * walk.state() + 0.3 * walk.normal(), 0.5 * walk.normal(), 0.2 * walk.normal()], axis=1)
    return x, x


CELLS = {
    "linear": Cell(_linear((2, 1.2, 0.6, 0.1, 0.1, 0.1)), ("linear",) * 4, 3),
    "torus": Cell(_torus, ("circular",) * 3, 2),
    "noisy curve": Cell(_noisy_curve, ("linear",) * 2, 1),
    "product": Cell(_product, ("circular", "linear", "linear"), 2, additive=False, steps=3200),
    "noise": Cell(_linear((1, 1, 1, 1)), ("linear",) * 3, 3, equal=(1, 2), linear=True),
    "near-equal": Cell(_linear((1, np.sqrt(0.97), 0.55, 0.2)), ("linear",) * 3, 3, equal=(1,), linear=True),
    "rare state": Cell(_rare_state, ("linear",) * 3, 3),
}
