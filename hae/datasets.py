"""Data to try things on: shapes whose answer is known, and a small molecule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["Dataset", "alanine_dipeptide", "curve", "product", "torus"]

SHIPPED = Path(__file__).parent / "data" / "alanine-dipeptide.npz"


@dataclass(frozen=True)
class Dataset:
    """Rows to train on, and what is known of them.

    X: (N, D) features. groups: (N,) trajectory of each row, None where rows are independent. labels: (N, L) what is looked at beside
    the CVs and never trained on. fve: FVE of each level that a good network reaches, () where nobody knows.

    Example:
        >>> from hae.datasets import torus
        >>> data = torus(1000)
        >>> data.X.shape, list(data.labels.columns)
        ((1000, 4), ['a', 'b'])
    """

    X: pd.DataFrame
    groups: np.ndarray | None
    labels: pd.DataFrame
    fve: tuple[float, ...] = ()


def torus(n: int = 3000, seed: int = 0) -> Dataset:
    """Two independent angles on circles of radii 2 and 1: two circular CVs explain 0.8 and 1, PCA's components 0.4 and 0.8.

    Example:
        >>> from hae.datasets import torus
        >>> torus(500).X.shape
        (500, 4)
    """
    a, b = np.random.default_rng(seed).uniform(-np.pi, np.pi, (2, n))
    columns = {"2 cos a": 2 * np.cos(a), "2 sin a": 2 * np.sin(a), "cos b": np.cos(b), "sin b": np.sin(b)}
    return Dataset(pd.DataFrame(columns), None, pd.DataFrame({"a": a, "b": b}), (0.8, 1.0))


def curve(n: int = 3000, seed: int = 0) -> Dataset:
    """A smooth curve (t, sin 2t, t^2): one CV explains everything, a second one is dead.

    Example:
        >>> from hae.datasets import curve
        >>> curve(500).X.columns.tolist()
        ['t', 'sin 2t', 't^2']
    """
    t = np.random.default_rng(seed).uniform(-1.5, 1.5, n)
    columns = {"t": t, "sin 2t": np.sin(2 * t), "t^2": t**2}
    return Dataset(pd.DataFrame(columns), None, pd.DataFrame({"t": t}), (1.0,))


def product(n: int = 3000, seed: int = 0) -> Dataset:
    """Two factors that multiply, (2 cos t, 2 sin t, 2.5 u cos t, 2.5 u sin t): two CVs of the collective network, the first circular,
    explain everything; levels that add up, as in the boosted one, do not.

    Example:
        >>> from hae.datasets import product
        >>> product(500).X.shape, product(500).labels.columns.tolist()
        ((500, 4), ['t', 'u'])
    """
    rng = np.random.default_rng(seed)
    t, u = rng.uniform(-np.pi, np.pi, n), rng.uniform(-1, 1, n)
    columns = {"2 cos t": 2 * np.cos(t), "2 sin t": 2 * np.sin(t), "2.5 u cos t": 2.5 * u * np.cos(t), "2.5 u sin t": 2.5 * u * np.sin(t)}
    return Dataset(pd.DataFrame(columns), None, pd.DataFrame({"t": t, "u": u}))


def alanine_dipeptide() -> Dataset:
    """2,000 frames of alanine dipeptide at 900 K, 8 ps apart, from 8 simulations; x, y, z of its ten heavy atoms in nm, each frame laid
    onto a reference; labels phi and psi in radians.

    They are every tenth frame of the default project's data (`python -m benchmarks.shipped` takes them out again).

    Example:
        >>> from hae.datasets import alanine_dipeptide
        >>> data = alanine_dipeptide()
        >>> data.X.shape, sorted(set(data.groups.tolist()))[:2], list(data.labels)
        ((2000, 30), ['walker-0', 'walker-1'], ['phi', 'psi'])
    """
    with np.load(SHIPPED) as stored:
        features, labels = (pd.DataFrame(stored[name], columns=stored[f"{name}_names"].tolist()) for name in ("X", "labels"))
        return Dataset(features, stored["groups"].astype(str), labels)
