"""The data of the table: made on the spot, or carried by a package. Sides are cut once and are the same for every method and seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from sklearn.datasets import load_breast_cancer, load_digits

from benchmarks.generated import CELLS, Walk
from hae import datasets
from hae.network.objective import standardisation

__all__ = ["DATA", "Kind", "Sides"]

SHARES = (0.6, 0.8)  # of the rows: the ends of training and validation


@dataclass(frozen=True)
class Sides:
    """Standardised rows (N, D) of the three sides; factors (N, F) of the test rows, the most important first, None where nobody knows."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    factors: np.ndarray | None


@dataclass(frozen=True)
class Kind:
    """make(): rows (N, D), factors (N, F) or None, and the trajectory of each row or None where rows are independent. n: CVs asked for."""

    make: Callable[[], tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]
    n: int
    about: str

    def sides(self) -> Sides:
        """Whole trajectories, or rows in a random order, on each side; the metric is that of `scale="auto"`, from training rows."""
        rows, factors, groups = self.make()
        units = np.arange(len(rows)) if groups is None else np.unique(groups, return_inverse=True)[1]
        order = np.random.default_rng(0).permutation(units.max() + 1) / (units.max() + 1)
        side = np.searchsorted(SHARES, order[units], side="right")
        mean, scale = standardisation(rows[side == 0], "auto")
        x = ((rows - mean) / scale).astype(np.float32)
        return Sides(x[side == 0], x[side == 1], x[side == 2], None if factors is None else factors[side == 2])


def _linear():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(6000, 4)) * [2, 1.4, 1, 0.5]
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0][:4]
    return factors @ turn + 0.1 * rng.normal(size=(6000, 10)), factors[:, :3], None


def _cell(name):
    def make():
        return CELLS[name].make(Walk(6000, False, np.random.default_rng(1)))[1], None, None

    return make


def _swiss_roll():
    rng = np.random.default_rng(1)
    turn, height = 1.5 * np.pi * (1 + 2 * rng.uniform(size=6000)), 21 * rng.uniform(size=6000)
    x = np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], axis=1)
    return x + 0.3 * rng.normal(size=x.shape), None, None


def _sinusoids():
    """sin of x times cos of y on 32 x 32 points: two frequencies, 0.5 to 1.5, and two phases; the images of the POLCA Net paper (2024)."""
    rng = np.random.default_rng(1)
    frequency, phase = rng.uniform(0.5, 1.5, (2, 4000, 1)), rng.uniform(0, 2 * np.pi, (2, 4000, 1))
    axis = np.linspace(0, 1, 32)
    x, y = np.sin(2 * np.pi * frequency[0] * axis + phase[0]), np.cos(2 * np.pi * frequency[1] * axis + phase[1])
    return (1 + (y[:, :, None] * x[:, None, :]).reshape(4000, -1)) / 2, None, None


def _lorenz():
    """Ten values of x, 0.05 apart, along forty trajectories of the Lorenz equations (1963)."""
    rng, rows, groups = np.random.default_rng(1), [], []
    for run in range(40):
        solved = solve_ivp(lambda t, s: (10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]), (0, 20),
                           rng.normal(size=3) * 5 + [0, 0, 25], t_eval=np.arange(5, 20, 0.05), rtol=1e-8)
        rows.append(np.lib.stride_tricks.sliding_window_view(solved.y[0], 10)[::2])
        groups += [run] * len(rows[-1])
    return np.concatenate(rows), None, np.array(groups)


def _alanine():
    data = datasets.alanine_dipeptide()
    return data.X.to_numpy(), None, data.groups


DATA = {
    "linear": Kind(_linear, 3, "four normal factors of unlike spread turned into ten features, with noise: PCA is right"),
    "noisy curve": Kind(_cell("noisy curve"), 2, "a bent curve in three dimensions under noise"),
    "torus": Kind(_cell("torus"), 3, "two angles on circles of radii 2 and 1"),
    "product": Kind(_cell("product"), 3, "an angle and a factor that multiply"),
    "swiss roll": Kind(_swiss_roll, 2, "scikit-learn's shape, noise 0.3"),
    "Lorenz": Kind(_lorenz, 3, "ten delays of x, whole trajectories held out"),
    "sinusoids": Kind(_sinusoids, 4, "images of 32 x 32 pixels, two frequencies and two phases"),
    "alanine dipeptide": Kind(_alanine, 3, "coordinates of ten heavy atoms at 900 K, two of eight walkers held out"),
    "digits": Kind(lambda: (load_digits().data.astype(float), None, None), 4, "scikit-learn's images of 8 x 8 pixels"),
    "breast cancer": Kind(lambda: (load_breast_cancer().data, None, None), 3, "scikit-learn's table, 569 rows of 30 columns"),
}
