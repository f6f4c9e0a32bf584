"""From what was measured of one network to intervals and verdicts: pure functions of errors frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hae.importance.intervals import STATUSES, Estimate, Sampling, status_of
from hae.importance.refits import EncodedRows, Refits
from hae.importance.relation import on_circle, relate
from hae.importance.report import BEHIND, CVImportance, ImportanceReport
from hae.importance.verdicts import COPY, EPS, cv_verdict, leading, order_verdict
from hae.network.scoring import FrameErrors

__all__ = ["Measured", "assess", "compare", "fields"]

GRID = (0.005, 0.01, 0.02, 0.05)  # thresholds of a gain for which the number of CVs is reported
PARTED = 0.02  # trained and refitted gains further apart: a decoder is not converged
FEW = 15  # pieces of 300 that the variance is spread over: 1 to 15 in heavy tails and under uneven weights, else 20 to 150
FEWEST = 3  # pieces that the influence on a figure is spread over, where the variance is spread over fewer than twice FEW
FEW_WIDER = 2.0  # times wider where a few frames decide
SHARPEST = 0.001  # half width below which no gain is known: of decoders that all but agree the segments do not show the whole error


@dataclass(frozen=True)
class Measured:
    """All that the verdicts on one network are made from. cvs: at training rows (evenly spread) and evaluated rows; errors: of the
    trained levels at the evaluated rows; refits: of refitted decoders there; train_fve: (n,) of the trained levels."""

    cvs: EncodedRows
    errors: FrameErrors
    refits: Refits
    train_fve: np.ndarray


@dataclass(frozen=True)
class _Trust:
    """How far the frames can be trusted, level by level. statuses: their words; apart: whether trajectories surely have other means;
    few: whether a few pieces of the series decide; wider: (n,) factors of half widths, 1 or more, that the other rows of the source, and
    trajectories that differ, ask for."""

    n_eff: np.ndarray
    statuses: list[str]
    apart: bool
    few: bool
    wider: np.ndarray


def assess(
    measured: Measured,
    sampling: Sampling,
    n_blocks: int | None = None,
    variant: str = "",
    eps: float = EPS,
    seen: tuple[FrameErrors, Sampling] | None = None,
) -> ImportanceReport:
    """Intervals and verdicts of one network. seen: its errors at all rows of the source, see `hae.importance.evaluate.evaluate`."""
    e, v, n = measured.errors.e, measured.errors.v, measured.cvs.n
    before, refitted = np.concatenate([v[None], e[:-1]]), measured.refits.prefix
    refitted_before = np.concatenate([v[None], refitted[:-1]])
    fve, gain = sampling.ratio(v - e, v), sampling.ratio(before - e, v)
    trust = _trust(measured.errors, sampling, n_blocks, fve, seen)
    enough = np.array([status != "not enough data" for status in trust.statuses])
    both = enough[:-1] & enough[1:]
    # Where a few frames decide, the error of a last level is mostly that of frames farther out than any that were seen: no bounds hold.
    fve = _only(_wider(fve, trust.wider), enough & (not trust.few))
    info = sampling.ratio(v - refitted, v)
    info_gain = sampling.ratio(refitted_before - refitted, v)
    gain, info_gain = (_only(_blunt(_wider(estimate, trust.wider)), enough) for estimate in (gain, info_gain))
    wider = np.maximum(trust.wider[:-1], trust.wider[1:])
    raw = _only(_wider(sampling.ratio(measured.refits.swapped - refitted[:-1], v), wider), both)
    innovation = _only(_wider(sampling.ratio(measured.refits.innovation - refitted[:-1], v), wider), both)
    behind = fve.value - info.value > BEHIND  # refits that fail say nothing of the CV
    verdicts = [_verdict(measured.cvs, info_gain, k, eps, sampling, bool(behind[max(k - 1, 0) : k + 1].any())) for k in range(n)]
    short = info.value > fve.value  # where the refitted decoder of a level is the worse one, the trained one is not to blame
    parted = (np.abs(gain.value - info_gain.value) > PARTED) & (short | np.append(False, short[:-1]))
    rows = []
    for k in range(n):
        order, margins = "", {}
        if k < n - 1:
            order = _order(verdicts[k : k + 2], raw, innovation, k, eps, bool(behind[max(k - 1, 0) : k + 2].any()))
            margins = {**fields("raw_margin", raw, k), **fields("innovation_margin", innovation, k)}
        rows.append(
            CVImportance(
                k + 1,
                **fields("fve", fve, k),
                **fields("gain", gain, k),
                **fields("info_gain", info_gain, k),
                verdict=verdicts[k],
                order=order,
                n_eff=float(trust.n_eff[k]),
                status=trust.statuses[k],
                info=float(info.value[k]),
                train_fve=float(measured.train_fve[k]),
                **margins,
                converged=bool(not parted[k]),
            )
        )
    numbers = {f"{x:g}": leading(info_gain.low.tolist(), x) if enough.all() else None for x in sorted({*GRID, eps})}
    status = max(trust.statuses, key=STATUSES.index)
    return ImportanceReport(
        variant, eps, status, len(sampling), n_blocks, tuple(rows), numbers[f"{eps:g}"], numbers, apart=trust.apart, few=trust.few
    )


def compare(errors: np.ndarray, other: np.ndarray, v: np.ndarray, sampling: Sampling, n_blocks: int | None = None) -> Estimate:
    """FVE of each level less that of another model on the same frames, paired: errors, other (n, N) in one metric, v (N,).

    Bounds are NaN where there are too few independent frames.
    """
    difference = other - errors
    n_eff = np.minimum(sampling.n_eff(difference), sampling.n_eff(v))
    enough = np.array([status_of(x, n_blocks) != "not enough data" for x in n_eff])
    found = sampling.ratio(difference, v)
    few = _few(v, difference - found.value[:, None] * v, sampling)
    return _only(_wider(found, FEW_WIDER if few else 1.0), enough)


def fields(name: str, estimate: Estimate, k: int) -> dict[str, float]:
    """An estimate of level k (from 0) as fields name, name_low, name_high."""
    return {name: float(estimate.value[k]), f"{name}_low": float(estimate.low[k]), f"{name}_high": float(estimate.high[k])}


def _series(errors: FrameErrors, fve: np.ndarray) -> np.ndarray:
    """(2 n + 1, N): what decides how independent frames are: the variance, the error of each level, and the influence on its FVE."""
    return np.concatenate([errors.v[None], errors.e, errors.e - (1 - fve)[:, None] * errors.v])


def _levels(figures: np.ndarray) -> np.ndarray:
    """Figures (2 n + 1,) of a series each -> (4, n): for each CV those of the variance, the level before, the level and its influence."""
    n = len(figures) // 2
    return np.stack([np.broadcast_to(figures[:1], n), figures[:n], figures[1 : n + 1], figures[n + 1 :]])


def _few(v: np.ndarray, influence: np.ndarray, sampling: Sampling) -> bool:
    """Whether a few pieces of the series hold most of the variance (N,), or not many do, and of an influence (n, N) next to none."""
    pieces = sampling.participation(v - sampling.mean(v))
    return bool(pieces < FEW or (pieces < 2 * FEW and sampling.participation(influence).min() < FEWEST))


def _trust(
    errors: FrameErrors, sampling: Sampling, n_blocks: int | None, fve: Estimate, seen: tuple[FrameErrors, Sampling] | None
) -> _Trust:
    others, around = seen or (errors, sampling)
    share, n = len(sampling) / len(around), len(fve.value)
    series, all_series = _series(errors, fve.value), _series(others, others.fve)
    n_eff = _levels(sampling.n_eff(series)).min(0)
    half = fve.high - fve.value
    own = np.where(half > 0, half, np.inf)
    if seen is not None:
        n_eff = np.minimum(n_eff, _levels(around.n_eff(all_series)).min(0) * share)
        all_fve = around.ratio(others.v - others.e, others.v)
        half = np.fmax(half, (all_fve.high - all_fve.value) / np.sqrt(share))
    between = around.between(all_series[n + 1 :]) / (around.mean(others.v) or 1.0)
    wider = np.fmax(np.hypot(half, between) / own, 1.0)
    apart = _levels(around.apart(all_series)).any(0)
    n_eff = np.where(apart, np.minimum(n_eff, around.trajectories), n_eff)  # each trajectory is one answer
    few = _few(errors.v, series[n + 1 :], sampling) or _few(others.v, all_series[n + 1 :], around)
    statuses = [status_of(x, n_blocks) for x in n_eff]
    return _Trust(
        n_eff, ["rough" if few and word == "ok" else word for word in statuses], bool(apart.any()), few, wider * (FEW_WIDER if few else 1.0)
    )


def _verdict(cvs: EncodedRows, info_gain: Estimate, k: int, eps: float, sampling: Sampling, behind: bool) -> str:
    if behind:
        return "undecided"
    low, high = info_gain.low[k], info_gain.high[k]
    return cv_verdict(low, high, eps, _copied(cvs, k, sampling) if high < eps else None)


def _order(verdicts: list[str], raw: Estimate, innovation: Estimate, k: int, eps: float, behind: bool) -> str:
    if behind or np.isnan(raw.high[k]):
        return "undecided"
    both = all(verdict in ("alive", "weak") for verdict in verdicts)
    return order_verdict(raw.high[k], innovation.value[k], innovation.low[k], innovation.high[k], both, eps)


def _copied(cvs: EncodedRows, k: int, sampling: Sampling) -> int | None:
    """Number (from 1) of the earlier CV that tells nearly all of CV k (from 0), if there is one."""
    circle = [2 * np.pi if kind == "circular" else None for kind in cvs.kinds]
    pair = lambda j: [on_circle(side[:, j], circle[j]) for side in (cvs.train, cvs.test)]  # noqa: E731
    for j in range(k):
        told = relate(pair(j), pair(k), sampling)
        if told.r2 >= COPY and told.r2 > told.null:
            return j + 1
    return None


def _blunt(estimate: Estimate) -> Estimate:
    half = np.hypot(estimate.high - estimate.value, SHARPEST)
    return Estimate(estimate.value, estimate.value - half, estimate.value + half)


def _wider(estimate: Estimate, factor: np.ndarray | float) -> Estimate:
    low, high = (estimate.value + (bound - estimate.value) * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value, low, high)


def _only(estimate: Estimate, enough: np.ndarray) -> Estimate:
    return Estimate(estimate.value, np.where(enough, estimate.low, np.nan), np.where(enough, estimate.high, np.nan))
