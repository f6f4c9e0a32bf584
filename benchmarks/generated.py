"""Generated data of known truth: what a calibration of the importance report is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm
from scipy.stats import t as student

from hae.training.pairs import Pairs

__all__ = ["CELLS", "KINDS", "Cell", "Kind", "Walk"]


class Walk:
    """Stationary series of N frames: each frame independent of the last, or correlated over about ten frames.

    time: correlation time of `normal`, in frames; apart: standard deviation of the place where a walker stays, drawn once for a
    correlated series and anew for each independent frame.
    """

    def __init__(self, n: int, correlated: bool, rng: np.random.Generator, time: float = 5, apart: float = 0):
        self.n, self.correlated, self.rng, self.time, self.apart = n, correlated, rng, time, apart

    def normal(self) -> np.ndarray:
        """(N,) standard normal, about the place of the walker; correlated: autoregressive."""
        if not self.correlated:
            return self.rng.normal(size=self.n) + (self.apart * self.rng.normal(size=self.n) if self.apart else 0)
        keep = np.exp(-1 / self.time)
        series = lfilter([np.sqrt(1 - keep**2)], [1, -keep], self.rng.normal(size=self.n + 40 * int(self.time)))[-self.n :]
        return series + (self.apart * self.rng.normal() if self.apart else 0)

    def angle(self) -> np.ndarray:
        """(N,) uniform in (-pi, pi]; correlated: a random walk on the circle."""
        if not self.correlated:
            return self.rng.uniform(-np.pi, np.pi, self.n)
        return np.angle(np.exp(1j * (self.rng.uniform(-np.pi, np.pi) + np.cumsum(self.rng.normal(0, 0.6, self.n)))))

    def state(self, share: float = 0.1, dwell: float = 1 / 0.18) -> np.ndarray:
        """(N,) of 0 and 1, 1 in this share of the frames; correlated: a Markov chain that stays there for ``dwell`` frames on average."""
        if not self.correlated:
            return (self.rng.uniform(size=self.n) < share).astype(float)
        leave = 1 / dwell
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


def _linear(spreads, shape=lambda x: x, scales=1.0):
    """Factors of these spreads, each a function of a normal variable, turned together, in units of these scales."""
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(len(spreads), len(spreads))))[0]

    def make(walk: Walk):
        x = np.stack([spread * shape(walk.normal()) for spread in spreads], axis=1) @ turn * scales
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


def _rare(share, dwell):
    def make(walk: Walk):
        state = 3 * walk.state(share, dwell) + 0.3 * walk.normal()
        x = np.stack([1.5 * walk.normal(), state, 0.5 * walk.normal(), 0.2 * walk.normal()], axis=1)
        return x, x

    return make


CELLS = {
    "linear": Cell(_linear((2, 1.2, 0.6, 0.1, 0.1, 0.1)), ("linear",) * 4, 3),
    "torus": Cell(_torus, ("circular",) * 3, 2),
    "noisy curve": Cell(_noisy_curve, ("linear",) * 2, 1),
    "product": Cell(_product, ("circular", "linear", "linear"), 2, additive=False, steps=3200),
    "noise": Cell(_linear((1, 1, 1, 1)), ("linear",) * 3, 3, equal=(1, 2), linear=True),
    "near-equal": Cell(_linear((1, np.sqrt(0.97), 0.55, 0.2)), ("linear",) * 3, 3, equal=(1,), linear=True),
    "rare state": Cell(_rare(0.1, 1 / 0.18), ("linear",) * 3, 3),
}


def _in_a_straight_frame(walk: Walk):
    x = np.stack([spread * walk.normal() for spread in FACTORS], axis=1)
    return x, x


def _roll(walk: Walk):
    t, h = 1.5 * np.pi * (1 + 2 * norm.cdf(walk.normal())), 21 * norm.cdf(walk.normal())
    x = np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1)
    return x, x


def _trefoil(walk: Walk):
    a = walk.angle()
    x = np.stack([np.sin(a) + 2 * np.sin(2 * a), np.cos(a) - 2 * np.cos(2 * a), -np.sin(3 * a)], axis=1)
    x = x + 0.05 * np.stack([walk.normal() for _ in range(3)], axis=1)
    return x, x


def _bent(walk: Walk):
    a, b, c = (walk.normal() for _ in range(3))
    x = np.stack([2 * a, np.sin(2 * a), 1.2 * b, 0.6 * b**2, 0.5 * c], axis=1) + 0.05 * np.stack([walk.normal() for _ in range(5)], axis=1)
    return x, x


@dataclass(frozen=True)
class Kind:
    """A kind of data as simulations give it: a source of several trajectories, split by blocks, and the population it comes from.

    make, cv, n: as in `Cell` (n: None where nobody knows); good: light tails, equal weights, trajectories that mix; correlated, time,
    apart: see `Walk`; walkers: number of trajectories (none of independent frames); frames: of the source; tilt: frames are weighted by
    exp(tilt times the first feature over its spread), as after a bias along it; scale, smooth: of the estimator; linear: the network is
    the exact linear one; scores: of normal scores, by the maps of the training rows.
    """

    make: Callable[[Walk], tuple[np.ndarray, np.ndarray]]
    cv: tuple[str, ...] = ("linear",) * 3
    n: int | None = None
    good: bool = False
    correlated: bool = True
    time: float = 5
    apart: float = 0
    walkers: int = 4
    frames: int = 10_000
    tilt: float = 0
    scale: str = "global"
    smooth: float = 0
    linear: bool = False
    scores: bool = False

    def source(self, rng: np.random.Generator) -> Pairs:
        """All frames of a simulation; trajectory "" where they are independent."""
        each = self.frames // self.walkers
        parts = [self.make(Walk(each, self.correlated, rng, self.time, self.apart)) for _ in range(self.walkers)]
        x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
        weights = np.exp(self.tilt * x[:, 0] / FACTORS[0]) if self.tilt else None
        names = np.repeat([f"walker{i}" if self.correlated else "" for i in range(self.walkers)], each)
        return Pairs(x, y, weights, names, np.tile(np.arange(each), self.walkers) if self.correlated else np.arange(len(x)))

    def population(self, n: int, rng: np.random.Generator) -> Pairs:
        """n independent frames, of equal weight: a normal variable weighted by exp(tilt z) is one about ``tilt``."""
        x, y = self.make(Walk(n, False, rng, self.time, self.apart))
        if self.tilt:
            x[:, 0] += self.tilt * FACTORS[0]
        return Pairs(x, y)


FACTORS = (2, 1.2, 0.6, 0.1, 0.1, 0.1)
TAILS_3 = lambda x: student.ppf(norm.cdf(x), 3)  # noqa: E731
TAILS_4 = lambda x: student.ppf(norm.cdf(x), 4)  # noqa: E731
DECADES = 10.0 ** np.linspace(-3, 3, 6)
INDEPENDENT = {"correlated": False, "walkers": 1, "frames": 6000}

KINDS = {
    "linear": Kind(CELLS["linear"].make, n=3, good=True),
    "linear, independent": Kind(CELLS["linear"].make, n=3, good=True, **INDEPENDENT),
    "torus": Kind(_torus, ("circular",) * 3, 2, good=True),
    "noisy curve": Kind(_noisy_curve, ("linear",) * 2, 1, good=True),
    "product": Kind(_product, ("circular", "linear", "linear"), 2, good=True),
    "noise": Kind(CELLS["noise"].make, n=3, good=True, linear=True),
    "state of 10 %": Kind(_rare(0.1, 1 / 0.18), n=3, good=True),
    "bent, smooth networks": Kind(_bent, n=3, good=True, smooth=10),
    "swiss roll": Kind(_roll, n=2, **INDEPENDENT),
    "trefoil": Kind(_trefoil, ("circular",) * 2, 1),
    "t, 3 degrees": Kind(_linear(FACTORS, TAILS_3), n=3, **INDEPENDENT),
    "t, 4 degrees, tau 5": Kind(_linear(FACTORS, TAILS_4), n=3),
    "log-normal, tau 5": Kind(_linear(FACTORS, np.exp), n=3),
    "t, 3 degrees, normal scores": Kind(_linear(FACTORS, TAILS_3), n=None, scores=True, **INDEPENDENT),
    "log-normal, tau 5, normal scores": Kind(_linear(FACTORS, np.exp), n=None, scores=True),
    "six decades": Kind(_linear(FACTORS, np.sinh, DECADES), n=None, scale="feature", **INDEPENDENT),
    "weights, share 0.3": Kind(_in_a_straight_frame, n=3, tilt=np.sqrt(np.log(1 / 0.3)), **INDEPENDENT),
    "weights, share 0.2, tau 3": Kind(_in_a_straight_frame, n=3, tilt=np.sqrt(np.log(1 / 0.2)), time=3),
    "state of 3 %, dwell 30": Kind(_rare(0.03, 30), n=3),
    "state of 1 %, dwell 10": Kind(_rare(0.01, 10), n=3),
    "four walkers, 0.5 apart": Kind(CELLS["linear"].make, n=3, apart=0.5),
    "four walkers, 0.8 apart": Kind(CELLS["linear"].make, n=3, apart=0.8),
    "eight walkers, 0.8 apart": Kind(CELLS["linear"].make, n=3, apart=0.8, walkers=8),
}
