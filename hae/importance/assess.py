"""From what was measured of one network to intervals and verdicts: pure functions of errors frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hae.importance.intervals import STATUSES, Estimate, Sampling, status_of
from hae.importance.refits import EncodedRows, Refits
from hae.importance.relation import column_on_circle, relate
from hae.importance.report import BEHIND, CVImportance, ImportanceReport
from hae.importance.series import Series, made
from hae.importance.trust import FEW_WIDER, heavy, trust_of
from hae.importance.verdicts import COPY, EPS, cv_verdict, leading, order_verdict
from hae.network.kinds import PERIODS
from hae.network.scoring import FrameErrors

__all__ = ["Figures", "Measured", "assess", "compare", "fields"]

Figures = np.ndarray | Series

GRID = (0.005, 0.01, 0.02, 0.05)  # thresholds of a gain for which the number of CVs is reported
PARTED = 0.02  # trained and refitted gains further apart: a decoder is not converged
SHARPEST = 0.001  # half width below which no gain is known: of decoders that all but agree the segments do not show the whole error


@dataclass(frozen=True)
class Measured:
    """All that the verdicts on one network are made from. cvs: at training rows (evenly spread) and evaluated rows; errors: of the
    trained levels at the evaluated rows; refits: of refitted decoders there; train_fve: (n,) of the trained levels; train_weights: (N,) of
    the training rows.

    Example: One CV whose decoder, trained or refitted, leaves a tenth of the variance.
        >>> x, v, e = np.random.default_rng(0).normal(size=(3, 1, 2000))
        >>> cvs, errors = EncodedRows(x.T, x.T, ("linear",)), FrameErrors(0.1 * e**2, v[0] ** 2)
        >>> measured = Measured(cvs, errors, Refits(errors.e, errors.e[:0], errors.e[:0]), train_fve=errors.fve)
        >>> assess(measured, Sampling.of(2000)).cvs[0].verdict
        'alive'
    """

    cvs: EncodedRows
    errors: FrameErrors
    refits: Refits
    train_fve: np.ndarray
    train_weights: np.ndarray | None = None


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
    refitted = measured.refits.prefix
    fve, gain = sampling.ratio(made(_explained, e, v), v), sampling.ratio(made(_gained, e, v), v)
    trust = trust_of(measured.errors, sampling, n_blocks, fve, measured.cvs, gain.value > eps, seen)
    enough = np.array([status != "not enough data" for status in trust.statuses])
    both = enough[:-1] & enough[1:]
    # Where a few frames decide, the error of a last level is mostly that of frames farther out than any that were seen: no bounds hold.
    fve = _only(_wider(fve, trust.wider), enough & (not trust.few))
    info = sampling.ratio(made(_explained, refitted, v), v)
    info_gain = sampling.ratio(made(_gained, refitted, v), v)
    gain, info_gain = (_only(_blunt(_wider(estimate, trust.wider)), enough) for estimate in (gain, info_gain))
    wider = np.maximum(trust.wider[:-1], trust.wider[1:])
    raw = _only(_wider(sampling.ratio(made(_lost, measured.refits.swapped, refitted), v), wider), both)
    innovation = _only(_wider(sampling.ratio(made(_lost, measured.refits.innovation, refitted), v), wider), both)
    behind = fve.value - info.value > BEHIND  # refits that fail say nothing of the CV
    verdicts = [_verdict(measured, info_gain, k, eps, sampling, bool(behind[max(k - 1, 0) : k + 1].any())) for k in range(n)]
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
                events=float(trust.events[k]),
                info=float(info.value[k]),
                train_fve=float(measured.train_fve[k]),
                **margins,
                converged=bool(not parted[k]),
            )
        )
    sure = enough.all() and not behind.any()  # a CV whose refits fail is no reason to stop counting
    numbers = {f"{x:g}": leading(info_gain.low.tolist(), x) if sure else None for x in sorted({*GRID, eps})}
    status = max(trust.statuses, key=STATUSES.index)
    said = variant, eps, status, len(sampling), n_blocks, tuple(rows), numbers[f"{eps:g}"], numbers
    return ImportanceReport(*said, apart=trust.apart, few=trust.few, untold=trust.untold)


def _explained(e: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Errors (n, N) of levels, of the variance (N,)."""
    return v - e


def _gained(e: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.concatenate([v[None], e[:-1]]) - e


def _lost(errors: np.ndarray, refitted: np.ndarray) -> np.ndarray:
    """What errors (n - 1, N) of other decoders are above those of the refitted levels (n, N)."""
    return errors - refitted[:-1]


def compare(errors: Figures, other: Figures, v: Figures, sampling: Sampling, n_blocks: int | None = None) -> Estimate:
    """FVE of each level less that of another model on the same frames, paired: errors, other (n, N) in one metric, v (N,).

    Bounds are NaN where there are too few independent frames.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(3, 1, 2000)) ** 2
        >>> better = compare(0.1 * noise[0], 0.3 * noise[1], noise[2, 0], Sampling.of(2000))
        >>> bool(0 < better.low[0] < better.value[0] < better.high[0])  # surely better
        True
    """
    difference = made(np.subtract, other, errors)
    n_eff = np.minimum(sampling.n_eff(difference), sampling.n_eff(v))
    enough = np.array([status_of(x, n_blocks) != "not enough data" for x in n_eff])
    found = sampling.ratio(difference, v)
    return _only(_wider(found, FEW_WIDER if heavy(v, sampling) else 1.0), enough)


def fields(name: str, estimate: Estimate, k: int) -> dict[str, float]:
    """An estimate of level k (from 0) as fields name, name_low, name_high."""
    return {name: float(estimate.value[k]), f"{name}_low": float(estimate.low[k]), f"{name}_high": float(estimate.high[k])}


def _verdict(measured: Measured, info_gain: Estimate, k: int, eps: float, sampling: Sampling, behind: bool) -> str:
    if behind:
        return "undecided"
    low, high = info_gain.low[k], info_gain.high[k]
    return cv_verdict(low, high, eps, _copied(measured, k, sampling) if high < eps else None)


def _order(verdicts: list[str], raw: Estimate, innovation: Estimate, k: int, eps: float, behind: bool) -> str:
    if behind or np.isnan(raw.high[k]):
        return "undecided"
    both = all(verdict in ("alive", "weak") for verdict in verdicts)
    return order_verdict(raw.high[k], innovation.value[k], innovation.low[k], innovation.high[k], both, eps)


def _copied(measured: Measured, k: int, sampling: Sampling) -> int | None:
    """Number (from 1) of the earlier CV that tells nearly all of CV k (from 0), if there is one."""
    cvs = measured.cvs
    circle = [PERIODS[kind] for kind in cvs.kinds]
    pair = lambda j: [column_on_circle(side, j, circle[j]) for side in (cvs.train, cvs.test)]  # noqa: E731
    for j in range(k):
        told = relate(pair(j), pair(k), sampling, measured.train_weights)
        if told.r2 >= COPY and told.r2 > told.null:
            return j + 1
    return None


def _blunt(estimate: Estimate) -> Estimate:
    half = np.maximum(estimate.high - estimate.value, SHARPEST)
    return Estimate(estimate.value, estimate.value - half, estimate.value + half)


def _wider(estimate: Estimate, factor: np.ndarray | float) -> Estimate:
    low, high = (estimate.value + (bound - estimate.value) * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value, low, high)


def _only(estimate: Estimate, enough: np.ndarray) -> Estimate:
    return Estimate(estimate.value, np.where(enough, estimate.low, np.nan), np.where(enough, estimate.high, np.nan))
