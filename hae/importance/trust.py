"""How far evaluated frames can be trusted: how many are independent, and whether tails, a few events or the trajectories decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # of scipy.stats, which takes a second to import, in its own words

from hae.importance.intervals import OK_N_EFF, STATUSES, Estimate, Sampling, status_of
from hae.importance.refits import EncodedRows
from hae.importance.report import EVENTS
from hae.importance.series import Series, made
from hae.network.scoring import FrameErrors

__all__ = ["FEW_WIDER", "Trust", "heavy", "trust_of"]

NO_VARIANCE = 0.5  # index of a tail from which on there is no variance: no interval can come from it
NO_WIDTH = 0.25  # index from which on a variance is not known from any number of frames, nor is the width of an interval
FEW_WIDER = 2.0  # times wider where a tail or fewer than `EVENTS` events decide
SURELY_WIDER = 1.25  # times wider by all rows than by the evaluated ones: below, two estimates of one width differ by chance


@dataclass(frozen=True)
class Trust:
    """Level by level, (n,): n_eff independent frames; statuses; events that a level and its gain rest on; wider: factors of half
    widths, 1 or more, that other rows of the source, trajectories and few events ask for. apart: number of trajectories that surely stay
    in places of their own, 0 where they agree; few: whether a few frames far out decide; untold: whether so few rows hide their tails.

    Example: Independent frames, and the same where the squares of a few are most of the variance.
        >>> x, e = np.random.default_rng(0).normal(size=(2, 1, 2000))
        >>> cvs, sampling = EncodedRows(x.T, x.T, ("linear",)), Sampling.of(2000)
        >>> for v in (x[0] ** 2, np.exp(3 * x[0])):
        ...     trust = trust_of(FrameErrors(e**2, v), sampling, None, sampling.ratio(v - e**2, v), cvs, np.array([True]))
        ...     print(trust.statuses, trust.few)
        ['ok'] False
        ['rough'] True
    """

    n_eff: np.ndarray
    statuses: list[str]
    events: np.ndarray
    wider: np.ndarray
    apart: int
    few: bool
    untold: bool


def trust_of(
    errors: FrameErrors,
    sampling: Sampling,
    n_blocks: int | None,
    fve: Estimate,
    cvs: EncodedRows,
    living: np.ndarray,
    seen: tuple[FrameErrors, Sampling] | None = None,
) -> Trust:
    """Of errors (n, N') at the evaluated frames with their FVE; living (n,): CVs that gain anything; seen: all rows of the source."""
    others, around = seen or (errors, sampling)
    share, n = len(sampling) / len(around), len(fve.value)
    series, all_series = _series(errors, fve.value), _series(others, _fve(others, around))
    n_eff = _levels(sampling.n_eff(series)).min(0)
    half = fve.high - fve.value
    own = np.where(half > 0, half, np.inf)
    if seen is not None:
        n_eff = np.minimum(n_eff, _levels(around.n_eff(all_series)).min(0) * share)
        all_fve = around.ratio(made(lambda e, v: v - e, others.e, others.v), others.v)
        all_half = (all_fve.high - all_fve.value) / np.sqrt(share)
        half = np.where(all_half > SURELY_WIDER * own, all_half, half)
    influence = made(lambda x: x[n + 1 :], all_series)
    between = around.between(influence) / (around.mean(others.v) or 1.0)
    wider = np.fmax(np.hypot(half, between) / own, 1.0)
    answers = np.minimum(_levels(around.answers(all_series)).min(0), _answers_of_cvs(cvs, living, sampling))
    n_eff, apart = np.minimum(n_eff, answers), around.trajectories if answers.min() < OK_N_EFF else 0
    index, _ = around.tail(others.v)
    few, untold = heavy(others.v, around), bool(np.isnan(index))
    spread = around.participation(influence)
    events = np.minimum(spread, np.append(spread[:1], spread[:-1]))  # a gain rests on two levels
    wider = wider * np.where(events < 2 * EVENTS, stdtrit(np.maximum(events - 1, 1), 0.95) / ndtri(0.95), 1.0)
    statuses = [_word(x, n_blocks, few or untold or number < EVENTS) for x, number in zip(n_eff, events, strict=True)]
    return Trust(n_eff, statuses, events, wider * np.where(few | (events < EVENTS), FEW_WIDER, 1.0), apart, few, untold)


def heavy(v: np.ndarray | Series, sampling: Sampling) -> bool:
    """Whether the variance (N,) of frames may well have a tail so heavy that no interval of its mean holds; False where nobody can tell."""
    index, high = sampling.tail(v)
    return bool(index > NO_WIDTH and high > NO_VARIANCE)


def _word(n_eff: float, n_blocks: int | None, unsure: bool) -> str:
    return max(status_of(n_eff, n_blocks), "rough" if unsure else "ok", key=STATUSES.index)


def _answers_of_cvs(cvs: EncodedRows, living: np.ndarray, sampling: Sampling) -> float:
    """Independent frames that trajectories are worth whose CVs surely differ. Errors are of second order in a CV, and so is the
    share of their variance that lies between the trajectories."""
    alive = [sampling.answers(sampling.of_rows(cvs.embedded(int(k))[1]), order=2).min() for k in np.flatnonzero(living)]
    return min(alive, default=np.inf)


def _fve(errors: FrameErrors, sampling: Sampling) -> np.ndarray:
    if not isinstance(errors.e, Series):
        return errors.fve
    variance = sampling.mean(errors.v)
    return 1 - sampling.mean(errors.e) / variance if variance > 0 else np.zeros(len(errors.e))


def _series(errors: FrameErrors, fve: np.ndarray) -> np.ndarray | Series:
    """(2 n + 1, N): what decides how independent frames are: the variance, the error of each level, and the influence on its FVE."""
    return made(lambda e, v: np.concatenate([v[None], e, e - (1 - fve)[:, None] * v]), errors.e, errors.v)


def _levels(figures: np.ndarray) -> np.ndarray:
    """Figures (2 n + 1,) of a series each -> (4, n): for each CV those of the variance, the level before, the level and its influence."""
    n = len(figures) // 2
    return np.stack([np.broadcast_to(figures[:1], n), figures[:n], figures[1 : n + 1], figures[n + 1 :]])
