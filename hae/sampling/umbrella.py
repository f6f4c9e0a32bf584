"""Umbrella windows: springs that hold walkers near centres along the CVs, and their frames pooled by MBAR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.sampling.force import Walls

__all__ = ["Windows", "groups", "mbar", "pooled"]

REACH = 0.03  # share of the frames of a window that are as well another's
APART = 0.5  # spacings: standard deviation of a window along a CV whose free energy is flat


@dataclass(frozen=True)
class Windows:
    """Springs strength / 2 (s - centre)^2 of each CV. centres (W, n) and strength (n,), kJ/mol by the CV's unit squared; period (n,): 0
    where a CV is not an angle.

    Example: Four windows over frames on a line, and the frames where their walkers begin.
        >>> windows, nearest = Windows.over(np.linspace(0.0, 3.0, 31)[:, None], [0.0], 4, 300.0)
        >>> windows.centres[:, 0], nearest
        (array([0., 1., 2., 3.]), array([ 0, 10, 20, 30]))
        >>> windows.energies(np.array([[1.0]])).argmin(1)
        array([1])
    """

    centres: np.ndarray
    strength: np.ndarray
    period: np.ndarray

    def __len__(self) -> int:
        return len(self.centres)

    def plain(self) -> dict[str, list]:
        """As lists, for JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def of(cls, plain: Mapping[str, list]) -> Windows:
        """What `plain` gave."""
        return cls(**{name: np.array(values, dtype=float) for name, values in plain.items()})

    def walls(self, number: int) -> Walls:
        """The springs of one window: walls that begin on both sides of its centre."""
        return Walls(self.centres[number], self.centres[number], self.strength, self.period)

    def energies(self, cvs: np.ndarray) -> np.ndarray:
        """(N, W) kJ/mol that each window has at CVs (N, n)."""
        return 0.5 * (self.strength * _apart(cvs[:, None], self.centres[None], self.period) ** 2).sum(-1)

    @classmethod
    def over(cls, cvs: np.ndarray, period: Sequence[float], number: int, temperature: float) -> tuple[Windows, np.ndarray]:
        """Windows over frames with CVs (N, n), and (W,) the frame nearest to the centre of each.

        Along one CV they stand at equal steps from its lowest to its highest value (an angle: all round); along two at frames, each the
        farthest from all before it. A spring is as weak as lets a window reach the next.

        Raises:
            BadInput: fewer than two windows, or frames that do not differ along a CV.
        """
        turns = np.asarray(period, dtype=float)
        if number < 2:
            raise BadInput(f"umbrella: {number} window; allowed: 2 or more (--walkers), enough to overlap")
        spread = np.where(turns > 0, 1.0, cvs.std(0))
        if not (spread > 0).all():
            raise BadInput("umbrella: the frames do not differ along a CV; allowed: CVs that vary")
        if cvs.shape[1] == 1:
            low, high = (0.0, turns[0] * (1 - 1 / number)) if turns[0] else (cvs.min(), cvs.max())
            centres = np.linspace(low, high, number)[:, None]
            spacing = (centres[1, 0] - centres[0, 0]) / spread
        else:
            centres, spacing = _spread_out(cvs, spread, turns, number)
        nearest = np.array([((_apart(cvs, centre, turns) / spread) ** 2).sum(1).argmin() for centre in centres])
        return cls(centres, BOLTZMANN * temperature / (APART * spacing * spread) ** 2, turns), nearest


def _apart(a: np.ndarray, b: np.ndarray, period: np.ndarray) -> np.ndarray:
    """a - b, the short way round where a CV has a period."""
    d = a - b
    with np.errstate(divide="ignore", invalid="ignore"):
        return d - np.where(period > 0, period * np.round(d / period), 0.0)


def _spread_out(cvs: np.ndarray, spread: np.ndarray, period: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames as far apart as so many can be, and how far a frame is at most from one of them, in spreads."""
    away, chosen = np.full(len(cvs), np.inf), [int(((cvs - cvs.mean(0)) ** 2).sum(1).argmin())]
    for _ in range(number):
        away = np.minimum(away, ((_apart(cvs, cvs[chosen[-1]], period) / spread) ** 2).sum(1))
        chosen.append(int(away.argmax()))
    return cvs[chosen[:number]].astype(float), np.full(cvs.shape[1], np.sqrt(away.max()))


def mbar(energies: np.ndarray, window: np.ndarray, temperature: float, counts: np.ndarray | None = None,
         start: np.ndarray | None = None) -> np.ndarray:
    """(W,) free energy of each window in kT, that of the first one 0: Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008).

    energies (N, W): kJ/mol of every frame in every window. window (N,): where a frame was seen. counts (N,): how often a frame counts.
    start: values to begin at. A window without frames has nan.

    The minimum of a convex function, by Newton's method within a region of trust.

    Example: Two windows that differ by an energy of 1 kJ/mol everywhere.
        >>> energies, window = np.tile([0.0, 1.0], (10, 1)), np.repeat([0, 1], 5)
        >>> mbar(energies, window, temperature=300.0).round(3)  # 1 kJ/mol in kT
        array([0.   , 0.401])
    """
    counts = np.ones(len(window)) if counts is None else np.asarray(counts, dtype=float)
    seen = np.bincount(window, counts, energies.shape[1])
    there = np.flatnonzero(seen)
    n, kept = seen[there], counts > 0
    u, weight = energies[kept][:, there] / (BOLTZMANN * temperature), counts[kept]

    def look(f: np.ndarray):
        p, total = _shares(u, n, np.append(0.0, f))
        slope = weight @ p - n
        curve = np.diag(weight @ p) - (p * weight[:, None]).T @ p
        return (weight @ total - n[1:] @ f) / n.sum(), slope[1:] / n.sum(), curve[1:, 1:] / n.sum()

    first = np.zeros(len(there) - 1) if start is None else start[there][1:] - start[there][0]
    if len(first):
        first = minimize(lambda f: look(f)[:2], first, jac=True, hess=lambda f: look(f)[2], method="trust-exact",
                         options={"gtol": 1e-8, "maxiter": 500}).x
    found = np.full(energies.shape[1], np.nan)
    found[there] = np.append(0.0, first)
    return found


def _shares(u: np.ndarray, n: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, W) of each frame how far it is one of each window, and (N,) the logarithm of what they are shares of. u: energies in kT."""
    exponent = np.log(n) + f - u
    total = logsumexp(exponent, axis=1)
    return np.exp(exponent - total[:, None]), total


def groups(energies: np.ndarray, window: np.ndarray, temperature: float, free: np.ndarray) -> int:
    """How many groups the windows with frames fall into that do not reach into each other: between these no free energy is known,
    whatever `mbar` says. Two windows reach into each other where their overlap is `REACH` or more, the least that Klimovich, Shirts and
    Mobley take for enough, J. Comput.-Aided Mol. Des. 29, 397 (2015)."""
    seen = np.bincount(window, minlength=energies.shape[1])
    there = np.flatnonzero(seen)
    p, _ = _shares(energies[:, there] / (BOLTZMANN * temperature), seen[there], free[there])
    overlap = p.T @ p / seen[there][:, None]
    return int(connected_components(np.minimum(overlap, overlap.T) >= REACH, directed=False)[0])


def pooled(energies: np.ndarray, window: np.ndarray, temperature: float, free: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """(N,) kJ/mol, the bias of the pool of all windows at each frame: its weight is exp(bias / kT). free: as `mbar` gives it."""
    kt = BOLTZMANN * temperature
    seen = np.bincount(window, counts, energies.shape[1])
    there = np.flatnonzero(seen)
    return -kt * logsumexp(np.log(seen[there] / seen.sum()) + free[there] - energies[:, there] / kt, axis=1)
