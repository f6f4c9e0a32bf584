"""Evaluations of arrays, for tests that have no data set."""

import numpy as np

from hae.importance.evaluate import evaluate
from hae.training.pairs import Pairs

__all__ = ["measure", "pairs"]


def pairs(X, target=None, weights=None, trajectory=None, frame=None) -> Pairs:
    X = np.asarray(X)
    return Pairs(X, X if target is None else target, weights, trajectory, frame)


def measure(network, X, X_test, *, target_train=None, train_weights=None, target=None, weights=None, trajectory=None, frame=None, **more):
    """`evaluate` on rows X and X_test."""
    return evaluate(network, pairs(X, target_train, train_weights), pairs(X_test, target, weights, trajectory, frame), **more)
