"""What each CV is worth, how sure that is, and whether the order holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from hae.errors import BadInput
from hae.importance.contributions import contributions, feature_errors
from hae.importance.intervals import STATUSES, Estimate, Sampling, status_of
from hae.importance.refits import CVs, Refits, RefitSettings, refit, tasks_of
from hae.importance.relation import on_circle, relate
from hae.importance.report import BEHIND, Comparison, Contributions, CVImportance, ImportanceReport
from hae.importance.verdicts import COPY, EPS, cv_verdict, leading, order_verdict, vote
from hae.network.hierarchy import VARIANTS, Decoder, HierarchicalNetwork
from hae.network.scoring import FrameErrors, encode, score_frames

__all__ = ["Measured", "assess", "compare", "evaluate", "refit_members"]

GRID = (0.005, 0.01, 0.02, 0.05)  # thresholds of a gain for which the number of CVs is reported
PARTED = 0.02  # trained and refitted gains further apart: a decoder is not converged


@dataclass(frozen=True)
class Measured:
    """All that the verdicts on one network are made from. cvs: at training rows (evenly spread) and evaluated rows; errors: of the
    trained levels at the evaluated rows; refits: of refitted decoders there; train_fve: (n,) of the trained levels."""

    cvs: CVs
    errors: FrameErrors
    refits: Refits
    train_fve: np.ndarray


def evaluate(
    network: HierarchicalNetwork,
    X_train: np.ndarray,
    X_test: np.ndarray,
    *,
    trajectory: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    blocks: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    train_weights: np.ndarray | None = None,
    target_train: np.ndarray | None = None,
    target: np.ndarray | None = None,
    root: np.ndarray | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
    members: Sequence[HierarchicalNetwork] = (),
    eps: float = EPS,
    settings: RefitSettings | None = None,
    features: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    progress: str | None = None,
) -> ImportanceReport:
    """Measure a network, and its fellow members if given, on held-out rows in raw units.

    Args:
        X_train, X_test: (N, D), (N', D); target_train, target: (N, D'), (N', D') where the target is not the input.
        trajectory, frame: (N',) of the evaluated rows; without them rows are taken as a series in the order given.
        blocks: (N',) block of the split that each evaluated row comes from; fewer than 20 are too few for intervals.
        weights, train_weights: (N',), (N,) positive statistical weights.
        root: further metric, see `hae.network.objective.frame_errors`.
        baselines: other models on the same frames: levels (n', N', D') in raw units, or their errors (n', N') in the same metric.
        members: other trainings of the same network; their reports are ``report.members``, and all vote on n.
        eps: information gain below which a CV is dead, and margin within which two CVs are tied.
        target_train, target with missing entries (NaN): trained figures leave them out, but refitted decoders read them as the mean, which
            makes information gains, and the verdicts from them, too small.
        features: names of the D' features; groups: feature -> what it is a part of, such as an atom, for gains by group.
        progress: title of a progress bar.

    Raises:
        BadInput: no rows on one of the sides, or a feature without a group.

    The metric and the mean come from the network (see `hae.network.scoring.score_frames`). All refits of all networks are one stack;
    those that stay behind the trained decoders by more than 0.01 are refitted once or twice more, wider and longer.
    """
    start = time.perf_counter()
    for name, rows in (("X_train", X_train), ("X_test", X_test)):
        if not len(rows):
            raise BadInput(f"{name}: no rows; allowed: one or more")
    settings = settings or RefitSettings()
    networks = [network, *members]
    X_test = np.asarray(X_test, dtype=np.float64)
    target = X_test if target is None else np.asarray(target, dtype=np.float64)
    pick = np.linspace(0, len(X_train) - 1, min(len(X_train), settings.rows)).round().astype(int)
    s_train = np.asarray(X_train, dtype=np.float64)[pick]
    t_train = s_train if target_train is None else np.asarray(target_train, dtype=np.float64)[pick]
    w_train = None if train_weights is None else np.asarray(train_weights, dtype=np.float64)[pick]
    kinds = tuple(network.bottleneck.kinds)
    cvs = [CVs(encode(net, s_train), encode(net, X_test), kinds) for net in networks]
    errors = [score_frames(net, X_test, target, root, weights) for net in networks]

    refits = refit_members(
        cvs,
        type(network.decoder),
        [_in_metric(net, t_train, root) for net in networks],
        [_in_metric(net, target, root) for net in networks],
        errors,
        [w_train] * len(networks),
        weights,
        settings,
        network.input_mean.device,
        progress,
    )
    sampling = Sampling.of(len(X_test), trajectory, frame, weights)
    n_blocks = None if blocks is None else len(np.unique(blocks))
    reports = []
    for net, its_cvs, own, its_refits in tqdm(
        list(zip(networks, cvs, errors, refits, strict=True)), desc="verdicts", disable=progress is None
    ):
        measured = Measured(its_cvs, own, its_refits, score_frames(net, s_train, t_train, root, w_train).fve)
        reports.append(assess(measured, sampling, n_blocks, _variant(net), eps))
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
        seconds=time.perf_counter() - start,
    )


def refit_members(
    cvs: Sequence[CVs],
    decoder: type[Decoder],
    target: Sequence[np.ndarray],
    target_test: Sequence[np.ndarray],
    trained: Sequence[FrameErrors] | None,
    train_weights: Sequence[np.ndarray | None],
    weights: np.ndarray | None,
    settings: RefitSettings,
    device="cpu",
    progress: str | None = None,
) -> list[Refits]:
    """`Refits` of members, which may each have data of their own: target (N, D) and (N', D') in the metric, about the training mean.

    What CVs know is at least what the trained decoders reach: members whose refits stay behind ``trained`` by more than 0.01 of FVE,
    over the evaluated rows and their weights (N',), are refitted once or twice more, wider and longer. None: nothing to stay behind.
    """
    n = cvs[0].n

    def refits_of(which: Sequence[int], strength: RefitSettings, title: str | None) -> list[Refits]:
        errors = refit(
            [tasks_of(cvs[i], decoder, train_weights[i]) for i in which],
            [target[i] for i in which],
            [target_test[i] for i in which],
            settings=strength,
            weights=[train_weights[i] for i in which],
            device=device,
            progress=title,
        )
        return [Refits(e[:n], e[n : 2 * n - 1], e[2 * n - 1 :]) for e in errors]

    refits = refits_of(range(len(cvs)), settings, progress)
    for times in (2, 4):
        behind = [i for i, own in enumerate(trained or ()) if _behind(refits[i], own, weights).max() > BEHIND]
        if not behind:
            break
        title = None if progress is None else f"{progress}, {len(behind)} behind the trained decoders again"
        for i, stronger in zip(behind, refits_of(behind, settings.stronger(times), title), strict=True):
            if np.average(stronger.prefix.mean(0), weights=weights) < np.average(refits[i].prefix.mean(0), weights=weights):
                refits[i] = stronger
    return refits


def _behind(refits: Refits, trained: FrameErrors, weights: np.ndarray | None) -> np.ndarray:
    """(n,): FVE of the trained levels less that of the refitted ones."""
    return np.average(refits.prefix - trained.e, axis=1, weights=weights) / (np.average(trained.v, weights=weights) or 1.0)


def assess(measured: Measured, sampling: Sampling, n_blocks: int | None = None, variant: str = "", eps: float = EPS) -> ImportanceReport:
    """Intervals and verdicts of one network from what was measured."""
    e, v, n = measured.errors.e, measured.errors.v, measured.cvs.n
    before, refitted = np.concatenate([v[None], e[:-1]]), measured.refits.prefix
    refitted_before = np.concatenate([v[None], refitted[:-1]])
    fve, gain = sampling.ratio(v - e, v), sampling.ratio(before - e, v)
    info, info_gain = sampling.ratio(v - refitted, v), sampling.ratio(refitted_before - refitted, v)
    raw = sampling.ratio(measured.refits.swapped - refitted[:-1], v)
    innovation = sampling.ratio(measured.refits.innovation - refitted[:-1], v)
    influence = e - (1 - fve.value)[:, None] * v
    n_eff = np.minimum(sampling.n_eff(np.stack([before, e, influence])).min(0), sampling.n_eff(v))
    statuses = [status_of(x, n_blocks) for x in n_eff]
    enough = np.array([status != "not enough data" for status in statuses])
    fve, gain, info_gain = (_only(estimate, enough) for estimate in (fve, gain, info_gain))
    raw, innovation = (_only(estimate, enough[:-1] & enough[1:]) for estimate in (raw, innovation))
    verdicts = []
    for k in range(n):
        bounds = info_gain.value[k], info_gain.low[k], info_gain.high[k]
        verdicts.append(cv_verdict(*bounds, eps, _copied(measured.cvs, k, sampling) if bounds[2] < eps else None))
    short = info.value > fve.value  # where the refitted decoder of a level is the worse one, the trained one is not to blame
    parted = (np.abs(gain.value - info_gain.value) > PARTED) & (short | np.append(False, short[:-1]))
    rows = []
    for k in range(n):
        order, margins = "", {}
        if k < n - 1:
            both = all(verdicts[j] in ("alive", "weak") for j in (k, k + 1))
            order = order_verdict(raw.high[k], innovation.value[k], innovation.low[k], innovation.high[k], both, eps)
            order = "undecided" if np.isnan(raw.high[k]) else order
            margins = {**_fields("raw_margin", raw, k), **_fields("innovation_margin", innovation, k)}
        rows.append(
            CVImportance(
                k + 1,
                **_fields("fve", fve, k),
                **_fields("gain", gain, k),
                **_fields("info_gain", info_gain, k),
                verdict=verdicts[k],
                order=order,
                n_eff=float(n_eff[k]),
                status=statuses[k],
                info=float(info.value[k]),
                train_fve=float(measured.train_fve[k]),
                **margins,
                converged=bool(not parted[k]),
            )
        )
    numbers = {f"{x:g}": leading(info_gain.low.tolist(), x) if enough.all() else None for x in sorted({*GRID, eps})}
    return ImportanceReport(
        variant, eps, max(statuses, key=STATUSES.index), len(sampling), n_blocks, tuple(rows), numbers[f"{eps:g}"], numbers
    )


def compare(errors: np.ndarray, other: np.ndarray, v: np.ndarray, sampling: Sampling, n_blocks: int | None = None) -> Estimate:
    """FVE of each level less that of another model on the same frames, paired: errors, other (n, N) in one metric, v (N,).

    Bounds are NaN where there are too few independent frames.
    """
    difference = other - errors
    n_eff = np.minimum(sampling.n_eff(difference), sampling.n_eff(v))
    enough = np.array([status_of(x, n_blocks) != "not enough data" for x in n_eff])
    return _only(sampling.ratio(difference, v), enough)


def _in_metric(network: HierarchicalNetwork, target: np.ndarray, root: np.ndarray | None) -> np.ndarray:
    """Target (N, D') in units whose mean square over columns is the error of `frame_errors`; missing entries stay NaN."""
    mean, scale = (getattr(network, name).double().cpu().numpy() for name in ("output_mean", "output_scale"))
    y = (target - mean) / scale
    if root is None:
        return y
    root = np.asarray(root)
    return y * root if root.ndim == 1 else np.nan_to_num(y) @ root * np.sqrt(root.shape[1] / root.shape[0])


def _variant(network: HierarchicalNetwork) -> str:
    return next((name for name, kind in VARIANTS.items() if isinstance(network.decoder, kind)), type(network.decoder).__name__)


def _errors_of(network, other, target, root) -> np.ndarray:
    """Errors (n', N') of another model's levels in this network's metric."""
    other = np.asarray(other)
    if other.ndim == 2:
        return other
    truth = _in_metric(network, target, root)
    return np.stack([np.nan_to_num(_in_metric(network, level, root) - truth) ** 2 for level in other]).mean(-1)


def _against(name: str, other: np.ndarray, own: FrameErrors, report: ImportanceReport, sampling: Sampling) -> list[Comparison]:
    levels = min(len(other), len(own.e))
    paired = compare(own.e[:levels], other[:levels], own.v, sampling, report.n_blocks)
    alone = compare(other[:levels], np.broadcast_to(own.v, (levels, len(own.v))), own.v, sampling, report.n_blocks)
    return [Comparison(name, k + 1, **_fields("fve", alone, k), **_fields("difference", paired, k)) for k in range(levels)]


def _copied(cvs: CVs, k: int, sampling: Sampling) -> int | None:
    """Number (from 1) of the earlier CV that tells nearly all of CV k (from 0), if there is one."""
    circle = [2 * np.pi if kind == "circular" else None for kind in cvs.kinds]
    pair = lambda j: [on_circle(side[:, j], circle[j]) for side in (cvs.train, cvs.test)]  # noqa: E731
    for j in range(k):
        told = relate(pair(j), pair(k), sampling)
        if told.r2 >= COPY and told.r2 > told.null:
            return j + 1
    return None


def _only(estimate: Estimate, enough: np.ndarray) -> Estimate:
    return Estimate(estimate.value, np.where(enough, estimate.low, np.nan), np.where(enough, estimate.high, np.nan))


def _fields(name: str, estimate: Estimate, k: int) -> dict[str, float]:
    return {name: float(estimate.value[k]), f"{name}_low": float(estimate.low[k]), f"{name}_high": float(estimate.high[k])}
