"""Whether new rows are still those that a model was trained on: missing values, each column's distribution, ranges, reconstruction error.

Rows of a trajectory follow each other, so a distance counts by its independent rows, and all tests together raise no more false alarms
than the share that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import kolmogi, ndtri

from hae.files import written_whole
from hae.importance.intervals import Sampling
from pipelines.sections import Drift as Rule

__all__ = ["Drift", "Profile", "Thinned", "compare"]

QUANTILES = 2000  # of a column that a profile keeps
FEWEST = 20  # independent rows; with fewer nothing is said
KINDS = ("missing", "distribution", "error")  # families of tests, which share the false alarms


@dataclass(frozen=True)
class Profile:
    """What is kept of reference rows. quantiles: (Q, D); low, high, missing (share), n_eff: (D,);
    error, error_se: (K,) of the levels, or ()."""

    features: tuple[str, ...]
    rows: int
    quantiles: np.ndarray
    low: np.ndarray
    high: np.ndarray
    missing: np.ndarray
    n_eff: np.ndarray
    error: np.ndarray
    error_se: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, features: Sequence[str], trajectory: np.ndarray | None = None, frame: np.ndarray | None = None,
           errors: np.ndarray | None = None) -> Profile:
        """Of rows (N, D), which may hold NaN, and the error (K, N) of each level at rows that it was not trained on, NaN elsewhere."""
        values = np.asarray(values, dtype=np.float64)
        error, se = _errors(errors, trajectory, frame)
        some = np.isfinite(values).any(0)
        filled = np.where(some, values, 0.0)
        grid = np.linspace(0, 1, min(len(values), QUANTILES))
        return cls(tuple(features), len(values), np.nanquantile(filled, grid, axis=0, method="inverted_cdf"), np.nanmin(filled, 0),
                   np.nanmax(filled, 0), np.isnan(values).mean(0), _independent(values, trajectory, frame), error, se)

    def save(self, path: Path) -> None:
        """Write a .npz file, whole."""
        with written_whole(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Profile:
        """Read what `save` wrote. Raises OSError or ValueError where it can't be read."""
        with np.load(path, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
        return cls(**found | {"features": tuple(map(str, found["features"])), "rows": int(found["rows"])})


@dataclass(frozen=True)
class Drift:
    """What was found. distance: column -> Kolmogorov's distance, and what chance allows; missing: column -> share; beyond: share of rows
    with a value out of the reference's range; error: of each level, over the reference's; alarms: kind -> words, none where all is well."""

    rows: int
    independent: float
    distance: dict[str, tuple[float, float]]
    missing: dict[str, float]
    beyond: float
    error: tuple[float, ...]
    alarms: dict[str, list[str]]

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.independent < FEWEST:
            return f"{self.rows} rows are worth {self.independent:.0f} independent ones: too few to say"
        said = [word for words in self.alarms.values() for word in words]
        return "; ".join(said[:4]) + (f" and {len(said) - 4} more" if len(said) > 4 else "") if said else f"none in {self.rows} rows"


class Thinned:
    """Rows that come in pieces, in order, of which at most `limit` are held: all of them, or every second, fourth, ...

    >>> seen = Thinned(limit=4)
    >>> for piece in np.arange(20.0).reshape(10, 2, 1):
    ...     seen.add(piece, np.array(["run", "run"]))
    >>> seen.rows()[0].ravel().tolist(), seen.seen
    ([0.0, 8.0, 16.0], 20)
    """

    LIMIT = 200_000

    def __init__(self, limit: int = LIMIT):
        self.limit, self.step, self.seen = limit, 1, 0
        self._pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def __len__(self) -> int:
        return sum(len(piece[0]) for piece in self._pieces)

    def add(self, values: np.ndarray, trajectory: np.ndarray) -> None:
        """The next rows (N, D), and the names (N,) of their trajectories."""
        number = self.seen + np.arange(len(values))
        self.seen += len(values)
        self._pieces.append((values, trajectory, number))
        self._thin(self._pieces[-1:])
        while len(self) > self.limit:
            self.step *= 2
            self._thin(self._pieces)

    def _thin(self, pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        thin = [tuple(part[number % self.step == 0] for part in (values, names, number)) for values, names, number in pieces]
        self._pieces[len(self._pieces) - len(pieces) :] = thin  # type: ignore[assignment]  # three parts again

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (M, D), trajectories (M,) and numbers (M,) of the rows that are held."""
        values, trajectory, number = (np.concatenate(parts) for parts in zip(*self._pieces, strict=True))
        return values, trajectory, number // self.step


def compare(reference: Profile, values: np.ndarray, rule: Rule, trajectory: np.ndarray | None = None, frame: np.ndarray | None = None,
            errors: np.ndarray | None = None) -> Drift:
    """Compare rows (M, D), in the columns of the reference, with it. errors: (K, M) of the levels, compared where the reference has them.

    A family of tests has a third of `rule.alarms`, and each of its tests an equal part of that (Bonferroni).
    """
    values = np.asarray(values, dtype=np.float64)
    independent = _independent(values, trajectory, frame)
    least, share = float(independent.min(initial=len(values))), rule.alarms / len(KINDS)
    distance = _distances(reference, values, independent, share)
    missing = np.isnan(values).mean(0)
    beyond = float(((values < reference.low) | (values > reference.high)).any(1).mean()) if len(values) else 0.0
    ratio, wrong = _error_ratios(reference, *_errors(errors, trajectory, frame), share)
    alarms = {
        "missing": [f"{reference.features[k]}: {missing[k]:.1%} are missing ({reference.missing[k]:.1%} in the training data)"
                    for k in _more_missing(reference, missing, values, trajectory, frame, share)],
        "distribution": [f"{name}: its distribution moved by {far:.2f} ({allowed:.2f} by chance)"
                         for name, (far, allowed) in distance.items() if far > allowed],
        "beyond": [f"{beyond:.1%} of the rows lie beyond the training range ({rule.beyond:.1%} allowed)"] * (beyond > rule.beyond),
        "error": [f"level {k + 1}: the reconstruction error is {ratio[k]:.2f} times that of the test blocks" for k in wrong],
    }
    told = {kind: words for kind, words in alarms.items() if words} if least >= FEWEST else {}
    return Drift(len(values), least, distance, dict(zip(reference.features, missing.tolist())), beyond, ratio, told)


def _independent(values: np.ndarray, trajectory: np.ndarray | None, frame: np.ndarray | None) -> np.ndarray:
    """(D,) independent rows of each column's ranks, which is what a distance of distributions looks at; a column without values has all."""
    sampling = Sampling.of(len(values), trajectory, frame)
    ranks = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable").T.astype(np.float64)
    ranks[np.ptp(np.nan_to_num(values), axis=0) == 0] = 0  # a column of one value: order says nothing
    return np.minimum(sampling.n_eff(ranks), len(values)) if len(values) else np.zeros(values.shape[1])


def _distances(reference: Profile, values: np.ndarray, independent: np.ndarray, share: float) -> dict[str, tuple[float, float]]:
    from scipy.stats import ks_2samp  # takes a second to import, which a profile does without

    found = {}
    for k, name in enumerate(reference.features):
        column = values[np.isfinite(values[:, k]), k]
        a, b = reference.n_eff[k] * (1 - reference.missing[k]), independent[k] * len(column) / max(len(values), 1)
        if min(a, b) < 1:
            found[name] = (0.0, 1.0)  # nothing is there: the missing values say so
            continue
        allowed = kolmogi(share / len(reference.features)) / np.sqrt(a * b / (a + b))
        found[name] = (float(ks_2samp(reference.quantiles[:, k], column, method="asymp").statistic), float(allowed))
    return found


def _more_missing(reference: Profile, missing: np.ndarray, values: np.ndarray, trajectory, frame, share: float) -> list[int]:
    """Columns whose share of missing values is surely another one, also where the reference has none."""
    if not len(values) or share == 0:
        return []
    gaps = np.isnan(values).T.astype(np.float64)
    independent = np.minimum(Sampling.of(len(values), trajectory, frame).n_eff(gaps), len(values))
    independent = np.maximum(independent, 1)
    pooled = (reference.missing * reference.n_eff + missing * independent) / (reference.n_eff + independent)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 0) * (1 / reference.n_eff + 1 / independent))
    allowed = -ndtri(share / len(missing) / 2) * spread
    return [k for k in range(len(missing)) if abs(missing[k] - reference.missing[k]) > allowed[k]]


def _errors(errors: np.ndarray | None, trajectory: np.ndarray | None, frame: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean error of each level (K,), over the rows that have one, and its standard error."""
    if errors is None:
        return np.zeros(0), np.zeros(0)
    rows = np.isfinite(errors).all(0)
    there = errors[:, rows]
    trajectory, frame = (None if part is None else part[rows] for part in (trajectory, frame))
    independent = np.clip(Sampling.of(there.shape[1], trajectory, frame).n_eff(there), 1, max(there.shape[1], 1))
    return there.mean(1), there.std(1, ddof=1) / np.sqrt(independent)


def _error_ratios(reference: Profile, error: np.ndarray, se: np.ndarray, share: float) -> tuple[tuple[float, ...], list[int]]:
    """Error over the reference's for each level, and the levels where it is surely larger."""
    levels = min(len(error), len(reference.error))
    error, se = error[:levels], se[:levels]
    allowed = -ndtri(share / max(levels, 1)) * np.hypot(se, reference.error_se[:levels])
    ratio = error / np.where(reference.error[:levels] > 0, reference.error[:levels], np.inf)
    return tuple(ratio.tolist()), [k for k in range(levels) if error[k] - reference.error[k] > allowed[k]]
