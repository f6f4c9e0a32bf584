"""What each CV is worth, how sure that is, and whether the order holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from hae.data.rows import FileRows, MadeRows, Rows
from hae.errors import BadInput
from hae.importance.assess import Measured, assess, compare, fields
from hae.importance.contributions import contributions, feature_errors
from hae.importance.decoders import RefitSettings
from hae.importance.intervals import Sampling
from hae.importance.refits import EncodedRows, refit_members
from hae.importance.report import Comparison, Contributions, ImportanceReport
from hae.importance.series import Series, made
from hae.importance.verdicts import EPS, vote
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import FrameErrors, encode, encoded, error_pieces, score_frames
from hae.training.pairs import Pairs

__all__ = ["errors_at", "evaluate"]


def evaluate(
    network: HierarchicalNetwork,
    train: Pairs,
    test: Pairs,
    *,
    members: Sequence[HierarchicalNetwork] = (),
    seen: Pairs | None = None,
    blocks: np.ndarray | int | None = None,
    root: np.ndarray | None = None,
    baselines: Mapping[str, np.ndarray | Series] | None = None,
    features: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    eps: float = EPS,
    side: str = "test",
    sampling: Sampling | None = None,
    settings: RefitSettings | None = None,
    progress: str | None = None,
) -> ImportanceReport:
    """Measure a network, and its fellow members if given, on held-out rows in raw units.

    Args:
        train, test: rows that decoders are refitted on, and rows that all is measured on.
        members: other trainings of the same network; their reports are ``report.members``, and all vote on n.
        seen: all rows there are of the same source, the test rows among them, in their order. How slow and how rare their motions are
            counts too: a test side that missed a rare state would else look surer than one that caught it. None: the test rows alone.
        blocks: (N',) block of the split that each evaluated row comes from, or how many they are; fewer than 20 are too few for intervals.
        root: further metric, see `hae.network.objective.frame_errors`.
        baselines: other models on the same frames: levels (n', N', D') in raw units, or their errors (n', N') in the same metric, as of
            `errors_at` where the rows are in files.
        features: names of the D' features; groups: feature -> what it is a part of, such as an atom, for gains by group.
        eps: information gain below which a CV is dead, and margin within which two CVs are tied.
        side: of the split that the evaluated rows are: of "validation" rows the report says that they chose the model.
        sampling: of the evaluated rows, where there is one already. Where they are in files, what is made of all rows is on its shelf.
        progress: title of a progress bar.

    Missing entries (NaN) of targets are left out, of refits too. Only where ``root`` is a matrix, which mixes features, refitted decoders
    read them as the mean; information gains are then too small.

    Raises:
        BadInput: no rows on one of the sides, or a feature without a group.

    The metric and the mean come from the network (see `hae.network.scoring.score_frames`). All refits of all networks are one stack;
    those that stay behind the trained decoders by more than 0.01 are refitted once or twice more, wider and longer.

    Example: The first principal component of rows that lie near a line.
        >>> from hae.training.baselines import principal_components
        >>> rows = np.random.default_rng(0).normal(size=(600, 2)) * [3.0, 0.3]
        >>> train, test = Pairs.same(rows[:300]), Pairs.same(rows[300:])
        >>> pc = principal_components(train.inputs, n=1)
        >>> evaluate(pc, train, test, settings=RefitSettings(hidden=(4,), steps=100)).cvs[0].verdict
        'alive'
    """
    start = time.perf_counter()
    for name, rows in (("train", train), ("test", test)):
        if not len(rows):
            raise BadInput(f"{name}: no rows; allowed: one or more")
    settings = settings or RefitSettings()
    networks = [network, *members]
    X_test, target = _doubles(test)
    pick = np.linspace(0, len(train) - 1, min(len(train), settings.rows)).round().astype(int)
    some = train.take(pick)
    s_train, t_train = (np.asarray(side[:]) for side in _doubles(some))
    w_train, weights = some.weights, test.weights
    kinds = tuple(network.bottleneck.kinds)
    sampling = sampling or Sampling.of(len(test), test.trajectory, test.frame, weights)
    around = None if seen is None else Sampling.of(len(seen), seen.trajectory, seen.frame, seen.weights, sampling.shelf)
    cvs = [EncodedRows(encode(net, s_train), sampling.shelf.keep(encoded(net, X_test)), kinds) for net in networks]
    errors = [errors_at(net, X_test, target, root, weights, sampling) for net in networks]

    refits = refit_members(
        cvs,
        type(network.decoder),
        [_in_metric(net, t_train, root) for net in networks],
        [_rows_in_metric(net, target, root) for net in networks],
        errors,
        [w_train] * len(networks),
        sampling,
        settings,
        network.input_mean.device,
        progress,
    )
    n_blocks = len(np.unique(blocks)) if isinstance(blocks, np.ndarray) else blocks
    reports = []
    for net, its_cvs, own, its_refits in tqdm(
        list(zip(networks, cvs, errors, refits, strict=True)), desc="verdicts", disable=progress is None
    ):
        measured = Measured(its_cvs, own, its_refits, score_frames(net, s_train, t_train, root, w_train).fve, w_train)
        others = None if seen is None or around is None else (errors_at(net, *_doubles(seen), root, seen.weights, around), around)
        reports.append(assess(measured, sampling, n_blocks, net.variant, eps, others))
    report = reports[0]
    if report.n is not None:
        able = [r for r in reports if r.n is not None]  # a member whose frames are worth too few has no vote
        numbers = {key: [n for r in able if (n := r.n_by_eps[key]) is not None] for key in report.n_by_eps}
        report = replace(
            report,
            n=vote([r.n for r in able if r.n is not None]),
            n_by_eps={key: vote(votes) for key, votes in numbers.items()},
        )
    against = [
        row
        for name, other in (baselines or {}).items()
        for row in _against(name, _errors_of(network, other, target, root), errors[0], report, sampling)
    ]
    by_feature, by_group = Contributions(), None
    if root is None:
        names = features if features is not None else [f"x{i}" for i in range(target.shape[1])]
        by_frame = feature_errors(network, X_test, sampling, target)
        sure = [cv.status != "not enough data" for cv in report.cvs]
        by_feature = contributions(by_frame, names, None, sure)
        by_group = None if groups is None else contributions(by_frame, names, groups, sure)
    return replace(
        report,
        against=tuple(against),
        members=tuple(reports[1:]),
        by_feature=by_feature,
        by_group=by_group,
        side=side,
        seconds=time.perf_counter() - start,
    )


def errors_at(
    network: HierarchicalNetwork,
    X: Rows,
    target: Rows | None,
    root: np.ndarray | None,
    weights: np.ndarray | FileRows | None,
    sampling: Sampling,
) -> FrameErrors:
    """`hae.network.scoring.score_frames`, kept as the sampling of the rows keeps figures."""
    both = sampling.series(error_pieces(network, X, target, root))
    e, v = made(lambda x: x[:-1], both), made(lambda x: x[-1], both)
    return FrameErrors(e, v, weights)  # type: ignore[arg-type]  # Series and files stand in the places of arrays


def _doubles(rows: Pairs) -> tuple[MadeRows, MadeRows]:
    """Inputs and targets in float64 where they are read, one object where the target is the input."""
    inputs = MadeRows(rows.inputs, rows.inputs.shape[1])
    return inputs, inputs if rows.targets is rows.inputs else MadeRows(rows.targets, rows.targets.shape[1])


def _in_metric(network: HierarchicalNetwork, target: np.ndarray, root: np.ndarray | None) -> np.ndarray:
    """Target (N, D') in units whose mean square over columns is the error of `frame_errors`; missing entries stay NaN."""
    mean, scale = (getattr(network, name).double().cpu().numpy() for name in ("output_mean", "output_scale"))
    y = (target - mean) / scale
    if root is None:
        return y
    root = np.asarray(root)
    return y * root if root.ndim == 1 else np.nan_to_num(y) @ root * np.sqrt(root.shape[1] / root.shape[0])


def _rows_in_metric(network: HierarchicalNetwork, target: MadeRows, root: np.ndarray | None) -> MadeRows:
    width = target.shape[1] if root is None or np.ndim(root) == 1 else np.shape(root)[1]
    return MadeRows(target, width, lambda rows: _in_metric(network, rows, root))


def _errors_of(network, other, target, root) -> np.ndarray | Series:
    """Errors (n', N') of another model's levels in this network's metric."""
    other = other if isinstance(other, Series) else np.asarray(other)
    if other.ndim == 2:
        return other
    truth = _in_metric(network, target[:], root)
    return np.stack([np.nan_to_num(_in_metric(network, level, root) - truth) ** 2 for level in other]).mean(-1)


def _against(name: str, other: np.ndarray | Series, own: FrameErrors, report: ImportanceReport, sampling: Sampling) -> list[Comparison]:
    levels = min(len(other), len(own.e))
    ours, theirs = (made(lambda e: e[:levels], e) for e in (own.e, other))
    paired = compare(ours, theirs, own.v, sampling, report.n_blocks)
    alone = compare(theirs, made(lambda v: np.broadcast_to(v, (levels, len(v))), own.v), own.v, sampling, report.n_blocks)
    return [Comparison(name, k + 1, **fields("fve", alone, k), **fields("difference", paired, k)) for k in range(levels)]
