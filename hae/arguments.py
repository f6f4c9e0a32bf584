"""What the estimator accepts: its parameters checked one by one, and brought into the form that training takes."""

import dataclasses
import numbers

import numpy as np
import torch
from sklearn.utils.validation import check_random_state

from hae.errors import BadInput
from hae.network.bottleneck import WIDTHS
from hae.network.hierarchy import VARIANTS
from hae.network.layers import ACTIVATIONS
from hae.network.objective import SCALES
from hae.training.pairs import Standard
from hae.training.rows import Rows

__all__ = ["a_row_each", "augmentation", "checked_kinds", "is_whole", "member_seeds", "metric_root"]


def checked_kinds(estimator, n_features: int | None = None) -> tuple[str, ...]:
    """Kinds of the CVs of a `HierarchicalAutoencoder`, after a look at every parameter.

    With n_cvs "auto": of as many CVs as max_cvs and the number of features allow.

    Raises:
        BadInput: names the parameter and what is allowed.
    """

    def require(name, fine, allowed):
        value = getattr(estimator, name)
        try:
            good = fine(value)
        except (TypeError, ValueError):  # no list where one is needed, or not of numbers
            good = False
        if not good:
            raise BadInput(f"{name}: {value!r} is not allowed; {allowed}")

    auto = isinstance(estimator.n_cvs, str)
    require("n_cvs", lambda value: value == "auto" if auto else is_whole(value, 1), 'a whole number of 1 or more, or "auto"')
    for name in ("max_cvs", "n_seeds", "batch_size", "max_epochs", "block_frames"):
        require(name, lambda value: is_whole(value, 1), "a whole number of 1 or more")
    n = estimator.n_cvs if not auto else estimator.max_cvs if n_features is None else min(estimator.max_cvs, n_features)
    if auto and estimator.network is not None:
        raise BadInput('n_cvs: "auto" is not allowed with a network of one\'s own; a whole number of 1 or more')
    for name in ("lag", "gap_frames"):
        require(name, is_whole, "a whole number of 0 or more")
    for name, table in (
        ("variant", VARIANTS),
        ("activation", ACTIVATIONS),
        ("scale", SCALES),
        ("missing", ("error", "mask")),
    ):
        require(name, lambda value, table=table: isinstance(value, str) and value in table, f"one of {', '.join(table)}")
    require("hidden", lambda widths: all(is_whole(width, 1) for width in widths), "a list of widths of 1 or more")
    require(
        "cv",
        lambda cv: cv in WIDTHS if isinstance(cv, str) else len(cv) == n and set(cv) <= set(WIDTHS),
        f"one of {', '.join(WIDTHS)}, or a list of {n} of these",
    )
    require("patience", lambda value: value is None or is_whole(value, 1), "a whole number of 1 or more, or None")
    require("learning_rate", lambda value: isinstance(value, numbers.Real) and 0 < value < np.inf, "a number above 0")  # type: ignore[operator]
    require("smooth", lambda value: isinstance(value, numbers.Real) and 0 <= value < np.inf, "a number of 0 or more")  # type: ignore[operator]
    require("linear_path", lambda value: isinstance(value, bool), "True or False")
    require(
        "level_weights",
        lambda weights: weights is None or (len(weights) == n and bool(np.isfinite(weights).all()) and min(weights) > 0),
        f"{n} numbers above 0, or None",
    )
    require(
        "random_state",
        lambda value: not isinstance(value, numbers.Integral) or is_whole(value),
        "a whole number of 0 or more, None, or a RandomState",
    )
    for name in ("augment", "network"):
        require(name, lambda value: value is None or callable(value), "a function, or None")
    return (estimator.cv,) * n if isinstance(estimator.cv, str) else tuple(estimator.cv)


def member_seeds(random_state, n: int) -> list[int]:
    """n seeds; the first of them do not depend on how many follow."""
    if not isinstance(random_state, numbers.Integral):
        random_state = check_random_state(random_state).randint(2**31)
    return [int(seed) for seed in np.random.SeedSequence(int(random_state)).generate_state(n)]


def is_whole(value, low: int = 0) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= low


def a_row_each(name: str, values, n: int) -> np.ndarray | None:
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (n,):
        raise BadInput(f"{name}: shape {values.shape}, but X has {n} rows; allowed: one value a row")
    return values


def metric_root(feature_weights, n_features: int) -> np.ndarray | None:
    """A root R of the metric, W = R R^T: a vector for a vector of weights, a matrix for a matrix."""
    if feature_weights is None:
        return None
    allowed = f"{n_features} numbers of 0 or more, or a symmetric positive semidefinite matrix of that size"
    try:
        W = np.asarray(feature_weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"feature_weights: {feature_weights!r} is not allowed; {allowed}") from None
    if W.shape == (n_features,) and (W >= 0).all() and W.any():
        return np.sqrt(W)
    if W.shape == (n_features, n_features) and np.allclose(W, W.T):
        values, vectors = np.linalg.eigh(W)
        if values[0] >= -1e-10 * values[-1] and values[-1] > 0:
            return vectors * np.sqrt(values.clip(0))
    raise BadInput(f"feature_weights: shape {W.shape} or its values are not allowed; {allowed}")


def augmentation(augment, standard: Standard):
    """The user's function of raw inputs, around the standardised batches of training: (M, B, D) -> (M, B, D)."""

    def changed(batch: Rows, generators: list[torch.Generator]) -> Rows:
        mean, scale = (torch.as_tensor(value).to(batch.inputs) for value in (standard.input_mean, standard.input_scale))
        raw = batch.inputs * scale + mean
        new = torch.stack([augment(rows, generator) for rows, generator in zip(raw, generators, strict=True)])
        return dataclasses.replace(batch, inputs=(new - mean) / scale)

    return changed
