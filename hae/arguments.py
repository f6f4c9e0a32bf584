"""What the estimator accepts: its parameters checked one by one, and brought into the form that training takes."""

import numbers

import numpy as np
import pandas as pd

from hae.data.split import SIDES
from hae.devices import resolve_device
from hae.errors import BadInput
from hae.network.hierarchy import VARIANTS
from hae.network.kinds import WIDTHS
from hae.network.layers import ACTIVATIONS
from hae.network.objective import SCALES
from hae.training.fit import Plan
from hae.training.members import member_seeds
from hae.training.pairs import Pairs, make_pairs, split_or_warn
from hae.training.schedule import Settings
from hae.training.sources import RowsInMemory
from hae.training.stored import StoredFrames

__all__ = ["checked_kinds", "checked_pairs", "is_whole", "metric_root", "plan_of", "rows_in_file", "rows_in_memory"]


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
    for name in ("max_cvs", "n_seeds", "batch_size", "block_frames"):
        require(name, lambda value: is_whole(value, 1), "a whole number of 1 or more")
    n = estimator.n_cvs if not auto else estimator.max_cvs if n_features is None else min(estimator.max_cvs, n_features)
    if estimator.network is not None:
        _nothing_chosen(estimator)
    for name in ("lag", "gap_frames", "min_steps"):
        require(name, is_whole, "a whole number of 0 or more")
    for name, table in (
        ("variant", VARIANTS),
        ("activation", ACTIVATIONS),
        ("scale", SCALES),
        ("missing", ("error", "mask")),
    ):
        require(name, lambda value, table=table: isinstance(value, str) and value in table, f"one of {', '.join(table)}")
    require("hidden", lambda widths: widths == "auto" if isinstance(widths, str) else all(is_whole(width, 1) for width in widths),
            'a list of widths of 1 or more, or "auto"')
    require(
        "cv",
        lambda cv: cv in WIDTHS if isinstance(cv, str) else len(cv) == n and set(cv) <= set(WIDTHS),
        f"one of {', '.join(WIDTHS)}, or a list of {n} of these",
    )
    for name in ("max_epochs", "patience"):
        require(name, lambda value: value is None or is_whole(value, 1), "a whole number of 1 or more, or None")
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


def _nothing_chosen(estimator) -> None:
    """Raises BadInput where CVs or widths of a network of one's own are to be chosen."""
    for name, allowed in (("n_cvs", "a whole number of 1 or more"), ("hidden", "a list of widths, which is not looked at")):
        if isinstance(getattr(estimator, name), str):
            raise BadInput(f'{name}: "auto" is not allowed with a network of one\'s own; {allowed}')


OF_A_PLAN = ("variant", "hidden", "activation", "network", "scale", "level_weights", "smooth", "linear_path", "augment")


def plan_of(estimator, n_features: int, n_targets: int) -> Plan:
    """What a `HierarchicalAutoencoder` is to train on so many columns. Raises BadInput for a parameter that does not fit them."""
    kinds = checked_kinds(estimator, n_features)
    if len(kinds) > n_features:
        raise BadInput(f"n_cvs: {len(kinds)} is not allowed; 1 to the number of features, here n_features = {n_features}")
    return Plan(
        kinds,
        root=metric_root(estimator.feature_weights, n_targets),
        settings=Settings.of(estimator),
        seeds=member_seeds(estimator.random_state, estimator.n_seeds),
        device=resolve_device(estimator.device),
        progress=estimator.variant if estimator.verbose else None,
        **{name: getattr(estimator, name) for name in OF_A_PLAN if name != "hidden" or not isinstance(estimator.hidden, str)},
    )


def is_whole(value, low: int = 0) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= low


def _a_row_each(name: str, values, n: int) -> np.ndarray | None:
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (n,):
        raise BadInput(f"{name}: shape {values.shape}, but X has {n} rows; allowed: one value for each row")
    return values


def _trajectories(groups, n: int, lag: int) -> np.ndarray | None:
    """(N,) name of the trajectory of each row; None: rows that stand alone, which a lag takes as one trajectory.

    Raises:
        BadInput: not one name for each row, or a name is missing.
    """
    if groups is None:
        return np.full(n, "all") if lag else None
    missing = pd.isna(np.asarray(groups, dtype=object))
    groups = _a_row_each("groups", groups, n)
    if missing.any():
        raise BadInput(f'groups: row {int(np.argmax(missing))} has no name; allowed: a name for each row, "" for a row that stands alone')
    return groups.astype(str)


def _frame_numbers(frame, n: int) -> np.ndarray | None:
    """(N,) int64 of frame numbers, which may come as whole floats. Raises BadInput for others."""
    frame = _a_row_each("frame", frame, n)
    if frame is None or frame.dtype.kind in "iu":
        return None if frame is None else frame.astype(np.int64)  # unsigned ones become floats beside signed ones
    try:
        numbers = frame.astype(np.float64)
        wrong = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
    except (TypeError, ValueError):
        raise BadInput("frame: values that are not numbers are not allowed; whole numbers, one for each row") from None
    if wrong.any():
        raise BadInput(f"frame: {numbers[wrong][0]:g} in row {int(np.argmax(wrong))} is not allowed; whole numbers, one for each row")
    return numbers.astype(np.int64)


def rows_in_memory(estimator, X: np.ndarray, *, groups, frame, split, target, sample_weight) -> RowsInMemory:
    """The rows given to `hae.HierarchicalAutoencoder.fit`, checked, each on its side.

    Raises:
        BadInput: something does not fit the rows, is not finite, or leaves no training rows.
    """
    split = _a_row_each("split", split, len(X))
    if split is None:
        names, numbers = _trajectories(groups, len(X), estimator.lag), _frame_numbers(frame, len(X))
        how = {name: getattr(estimator, name) for name in ("shares", "block_frames", "gap_frames")}
        split = split_or_warn(X, names, numbers, **how)
    elif not set(split.tolist()) <= {*SIDES, "gap"}:
        raise BadInput(f"split: {sorted(map(str, set(split.tolist())))} are not all sides; allowed: {', '.join(SIDES)}, gap")
    pairs = {side: of for side, of in checked_pairs(estimator, X, groups, frame, split, target, sample_weight).items() if len(of)}
    if "train" not in pairs:
        raise BadInput("split: no training rows; allowed: shares, block_frames and gap_frames that leave some")
    return RowsInMemory(pairs, split)


def rows_in_file(estimator, source: StoredFrames, **rows) -> StoredFrames:
    """Rows in a file, after a look whether the estimator needs all of them at once, or is given rows beside them. Raises BadInput."""
    for name, plain in (("lag", 0), ("missing", "error")):
        if getattr(estimator, name) != plain:
            raise BadInput(f"{name}: {getattr(estimator, name)!r} is not allowed for rows that stay in files; allowed: {plain!r}")
    if estimator.n_cvs == "auto":
        raise BadInput("n_cvs: auto is not allowed for rows that stay in files (HAE_MEMORY_LIMIT); allowed: a number")
    for name, value in rows.items():
        if value is not None:
            raise BadInput(f"{name}: not allowed beside rows that stay in files, which bring their own; allowed: None")
    return source


def checked_pairs(
    estimator, X: np.ndarray, groups, frame, split: np.ndarray, target, sample_weight, fitted: tuple[int, bool] | None = None
) -> dict[str, Pairs]:
    """Pairs of input and target by side, of rows X (N, D) whose sides are known; others as in `hae.HierarchicalAutoencoder.fit`.

    fitted: number of targets of a fitted estimator, and whether its fit was given a target.

    Raises:
        BadInput: something does not fit the rows or the fit, or is not finite.
    """
    if fitted is not None and target is None and fitted[1]:
        raise BadInput(f"target: is missing; allowed: {fitted[0]} columns, as in fit")
    if target is not None:
        target = _checked_target(target, X.dtype, estimator.missing == "mask")
    groups, frame = _trajectories(groups, len(X), estimator.lag), _frame_numbers(frame, len(X))
    pairs = make_pairs(X, groups, frame, split, lag=estimator.lag, target=target, weights=sample_weight)
    columns = next(iter(pairs.values())).targets.shape[1]
    if fitted is not None and columns != fitted[0]:
        raise BadInput(f"target: {columns} columns; allowed: {fitted[0]}, as in fit")
    return pairs


def _checked_target(target, dtype: np.dtype, holes: bool) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what is too large for the type is infinite there
            target = np.asarray(target, dtype=np.float64).astype(dtype)
    except (TypeError, ValueError):
        raise BadInput("target: values that are not numbers are not allowed; an array (N,) or (N, D')") from None
    if target.ndim not in (1, 2) or target.shape[1:] == (0,):
        raise BadInput(f"target: shape {target.shape} is not allowed; (N,) or (N, D')")
    if np.isinf(target).any() if holes else not np.isfinite(target).all():
        allowed = "finite numbers, or NaN where they are missing" if holes else 'finite numbers, or missing="mask"'
        raise BadInput(f"target: {'' if holes else 'missing or '}infinite values are not allowed; {allowed}")
    return target


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
