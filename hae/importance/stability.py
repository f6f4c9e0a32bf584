"""Whether another training on other data finds the same: S_k of levels, agreement of CVs, and levels that are tied."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise

import numpy as np
from tqdm import tqdm

from hae.errors import BadInput
from hae.network.kinds import PERIODS
from hae.network.scoring import chunked, encode, filled
from hae.training.pairs import Pairs

__all__ = [
    "Stability", "agreement", "cv_agreement", "level_agreement", "replica_of", "replicate", "resampled_blocks", "stability_of",
    "tied_levels",
]

SHAKY, FIRM = 0.9, 0.95  # a level below the first, before a level above the second, is tied with it


@dataclass(frozen=True)
class Stability:
    """How well replicas of a training agree, see `replicate`; 1: they give the same.

    levels: S_k, mean over pairs of replicas; lowest: the least of any pair; cvs: agreement of CV_k, mean over pairs; tied: (k, k+1) from 1;
    replicas: how many; seconds: what they took, which is no part of an evaluation's time; rows: of a sample, for training and compared,
    where they were not all rows.

    Example:
        >>> print(Stability((0.99, 0.97), (0.99, 0.95), (0.98, 0.9), (), replicas=4, seconds=60.0).sentence())
        agreement of 4 replicas: level 1 0.99, level 2 0.97
    """

    levels: tuple[float, ...]
    lowest: tuple[float, ...]
    cvs: tuple[float, ...]
    tied: tuple[tuple[int, int], ...]
    replicas: int
    seconds: float
    rows: tuple[int, ...] = ()

    def sentence(self) -> str:
        figures = ", ".join(f"level {k} {s:.2f}" for k, s in enumerate(self.levels, start=1))
        return "; ".join(filter(None, [self.words(), f"agreement of {self.replicas} replicas: {figures}", self.sample()]))

    def sample(self) -> str:
        """Of which rows it was measured, "" of all."""
        return f"on a sample, {self.rows[0]:,} rows to train and {self.rows[1]:,} to compare" if self.rows else ""

    def words(self) -> str:
        """What another training may find otherwise, "" if nothing: levels that are tied, and levels below 0.9."""
        first = dict(self.tied)
        parts = []
        for k, s in enumerate(self.levels, start=1):
            if s < SHAKY:
                after = f", those of level {first[k]} to {self.levels[k]:.2f} (tied levels)" if k in first else ""
                parts.append(f"on other draws of the data the reconstructions of level {k} agree to {s:.2f} only{after}")
        return "; ".join(parts)

    def to_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "rows" or value}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Stability | None:
        """What `to_json` gave; None of "{}"."""
        about = json.loads(text)
        if not about:
            return None
        tied = tuple((a, b) for a, b in about["tied"])
        levels, lowest, cvs = (tuple(about[name]) for name in ("levels", "lowest", "cvs"))
        return cls(levels, lowest, cvs, tied, about["replicas"], about["seconds"], tuple(about.get("rows", ())))


def resampled_blocks(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of as many blocks as there are, drawn with replacement; blocks: (N,) the block of each row."""
    _, inverse = np.unique(blocks, return_inverse=True)
    by_block = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return np.concatenate([by_block[i] for i in rng.integers(len(by_block), size=len(by_block))])


def level_agreement(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """S_k = 1 - mean |q_k^a - q_k^b|^2 / (mean of the variances of q_k^a and q_k^b), of levels (n, N, D) in one metric -> (n,)."""
    w = np.ones(a.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    mean_square = lambda x: np.einsum("knd,n->k", x**2, w)  # noqa: E731
    centred = [x - np.einsum("knd,n->kd", x, w)[:, None] for x in (a, b)]
    variance = (mean_square(centred[0]) + mean_square(centred[1])) / 2
    return 1 - mean_square(a - b) / np.where(variance > 0, variance, 1)


def cv_agreement(a: np.ndarray, b: np.ndarray, kinds: Sequence[str], weights: np.ndarray | None = None) -> np.ndarray:
    """(n,) from 0 to 1: agreement of CVs (N, n) of two replicas at rows with weights (N,).

    |Spearman's correlation|, which does not see sign and monotone maps; for circular CVs the longer of the mean vectors of difference and
    sum of the angles, which does not see rotation and reflection. A collective CV may be mixed with earlier ones and be as good: a low
    value says nothing against its level.
    """
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = w > 0
    out = []
    for k, kind in enumerate(kinds):
        x, y = a[:, k], b[:, k]
        if PERIODS[kind]:
            out.append(max(abs(np.average(np.exp(1j * angle), weights=w)) for angle in (x - y, x + y)))
        elif np.ptp(x[counts]) == 0 or np.ptp(y[counts]) == 0:
            out.append(0.0)
        else:
            covariance = np.cov(_ranks(x, w), _ranks(y, w), aweights=w)
            out.append(abs(covariance[0, 1]) / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return np.array(out)


def _ranks(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Places of x (N,) in order, each row taking as many as it counts; equal values share the middle of theirs."""
    _, place = np.unique(x, return_inverse=True)
    taken = np.bincount(place, weights)
    return (np.cumsum(taken) - taken / 2)[place]


def tied_levels(stability: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """Pairs (k, k+1), from 1, with S_k < 0.9 and S_{k+1} > 0.95: what both levels explain together is sure, what the first of them takes
    of it is chance."""
    return tuple((k + 1, k + 2) for k, (s, after) in enumerate(pairwise(stability)) if s < SHAKY and after > FIRM)


def replicate(
    fit: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    blocks: np.ndarray,
    kinds: Sequence[str],
    *,
    replicas: int = 4,
    seed: int = 0,
    weights: np.ndarray | None = None,
    progress: str | None = None,
) -> Stability:
    """Train replicas on block-resampled training rows and compare what they make of the same evaluated rows.

    fit(rows, seed) trains on these row numbers and gives CVs (N', n) and levels (n, N', D) of the evaluated rows; blocks: (N,) of the
    training rows; weights: (N',); progress: name of a bar. New seeds can't see a tie: all of them find the same order in the same data.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    numbers = tqdm(range(replicas), desc=progress, unit="replica", disable=progress is None)
    found = [fit(resampled_blocks(blocks, rng), seed + 1 + i) for i in numbers]
    return agreement(found, kinds, weights, time.perf_counter() - start)


def agreement(
    found: Sequence[tuple[np.ndarray, np.ndarray]], kinds: Sequence[str], weights: np.ndarray | None = None, seconds: float = 0.0
) -> Stability:
    """Of replicas that are trained: CVs (N', n) and levels (n, N', D) in one metric of each, at the same rows with weights (N',)."""
    pairs = list(combinations(found, 2))
    levels = np.array([level_agreement(a[1], b[1], weights) for a, b in pairs])
    cvs = np.array([cv_agreement(a[0], b[0], kinds, weights) for a, b in pairs])
    mean = tuple(map(float, levels.mean(0)))
    return Stability(mean, tuple(map(float, levels.min(0))), tuple(map(float, cvs.mean(0))), tied_levels(mean), len(found), seconds)


def stability_of(
    model,
    *,
    train: Pairs | None = None,
    evaluated: Pairs | None = None,
    blocks: np.ndarray | None = None,
    replicas: int = 4,
    seed: int = 0,
    progress: str | None = None,
) -> Stability:
    """Stability of a fitted `hae.HierarchicalAutoencoder`: replicas of it, compared on held-out rows in its metric.

    Each replica is one member, trained on as many blocks of the training rows as there are, drawn with replacement; blocks that were not
    drawn are its validation rows. It takes as long as training that many members one after another.

    Args:
        train, evaluated: rows to train on and rows to compare on; None: those of the model's own `fit`.
        blocks: (N,) block of each training row, by number or name; None: as the model's own `fit` would cut them.
        replicas: 2 or more.
        progress: shown with a bar of the replicas.

    Raises:
        BadInput: the model was loaded and no rows are given (a saved model has none), or too few replicas.
    """
    train = model.training_rows_ if train is None else train
    evaluated = model.held_out_rows_ if evaluated is None else evaluated
    if train is None or evaluated is None:
        raise BadInput("stability: needs the training rows, which are not saved with a model; allowed: fit again, or rows to train on")
    if replicas < 2:
        raise BadInput(f"replicas: {replicas} is not allowed; 2 or more, which are compared with each other")
    if blocks is None:
        blocks = train.blocks(model.block_frames)
        blocks = np.arange(len(train)) if blocks is None else blocks
    return replicate(
        lambda rows, number: _trained(model, train, evaluated, rows, number),
        blocks,
        model.network_.bottleneck.kinds,
        replicas=replicas,
        seed=seed,
        weights=evaluated.weights,
        progress=progress,
    )


def replica_of(model, number: int, train: Pairs, evaluated: Pairs, blocks: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """CVs (N', n) and levels (n, N', D) of one replica, counted from 0, as `stability_of` trains it; it needs none of the others."""
    rng = np.random.default_rng(seed)
    for _ in range(number + 1):
        rows = resampled_blocks(blocks, rng)
    return _trained(model, train, evaluated, rows, seed + 1 + number)


def _trained(model, train: Pairs, evaluated: Pairs, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A replica on these training rows, with all that were not drawn as its validation rows."""
    from sklearn.base import clone

    kinds = list(model.network_.bottleneck.kinds)
    weights = None if model.level_weights is None else model.level_weights[: len(kinds)]
    left = np.setdiff1d(np.arange(len(train)), rows)
    both = np.concatenate([rows, left])
    spec = model.network_.spec or {}  # what was chosen by hidden="auto" is not chosen anew
    same = {name: spec[name] for name in ("hidden", "linear_path") if name in spec}
    replica = clone(model).set_params(
        n_cvs=len(kinds), cv=kinds, level_weights=weights, n_seeds=1, lag=0, random_state=seed, verbose=False, **same
    )
    replica.fit(
        train.inputs[both],
        split=np.repeat(["train", "validation"], [len(rows), len(left)]),
        target=None if train.targets is train.inputs else train.targets[both],
        sample_weight=None if train.weights is None else train.weights[both],
    )
    levels = chunked(replica.network_, evaluated.inputs, lambda net, s: net(filled(net, s))[1].cpu().numpy())
    return encode(replica.network_, evaluated.inputs), _in_metric(model, np.concatenate(levels, axis=1))


def _in_metric(model, levels: np.ndarray) -> np.ndarray:
    levels = levels / model.network_.output_scale.double().cpu().numpy()
    root = model.metric_root_
    return levels if root is None else levels * root if root.ndim == 1 else levels @ root
