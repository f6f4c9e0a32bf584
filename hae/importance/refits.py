"""What CVs know, whatever the trained decoders make of it: decoders are refitted with the encoder frozen, again where they stay behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hae.data.rows import IN_MEMORY, Rows, Shelf, made_rows
from hae.devices import one_thread
from hae.importance.decoders import LITTLE, DecoderStack, RefitSettings, Task
from hae.importance.innovations import innovations
from hae.importance.intervals import Sampling
from hae.importance.report import BEHIND
from hae.importance.series import Series, made
from hae.network.hierarchy import Decoder
from hae.network.kinds import PERIODS, WIDTHS
from hae.network.scoring import FrameErrors

__all__ = ["EncodedRows", "Refits", "refit", "refit_members", "tasks_of"]


@dataclass(frozen=True)
class EncodedRows:
    """CVs of one member at rows of training and of evaluation: (N, n), (N', n), a circular one in radians, and the kind of each.

    Example:
        >>> rows = EncodedRows(np.zeros((3, 2)), np.zeros((2, 2)), ("linear", "circular"))
        >>> [part.shape for part in rows.embedded(1)]  # an angle is a point on a circle
        [(3, 2), (2, 2)]
    """

    train: np.ndarray
    test: Rows
    kinds: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.kinds)

    def embedded(self, k: int) -> list[Rows]:
        """CV k as (rows, width) for training and evaluation rows: an angle as cosine and sine, others centred, with unit variance."""
        x = np.asarray(self.train[:, k], dtype=np.float64)
        centre, spread = x.mean(), x.std()

        def of(rows: np.ndarray) -> np.ndarray:
            x = np.asarray(rows[:, k], dtype=np.float64)
            if PERIODS[self.kinds[k]]:
                return np.stack([np.cos(x), np.sin(x)], axis=1)
            return ((x - centre) / (spread or 1))[:, None]

        return [of(self.train), made_rows(self.test, WIDTHS[self.kinds[k]], of)]


@dataclass(frozen=True)
class Refits:
    """Squared errors of the refitted decoders at the evaluated frames, of one member.

    prefix (n, N'): from CV_1..CV_k. swapped (n-1, N'): level k with CV_{k+1} in the place of CV_k. innovation (n-1, N'): with what
    CV_{k+1} adds to CV_1..CV_k in that place.

    Example:
        >>> from hae.network.hierarchy import CollectiveDecoder
        >>> t = np.random.default_rng(0).normal(size=(400, 1))
        >>> cvs, target = EncodedRows(t, t, ("linear",)), np.hstack([t, t**2])
        >>> (errors,) = refit([tasks_of(cvs, CollectiveDecoder)], [target], [target], settings=RefitSettings(hidden=(16,), steps=400))
        >>> found = Refits(*np.split(errors, [1, 1]))  # 3n - 2 tasks: of one CV only its prefix
        >>> bool(found.prefix.mean() < 0.1 * target.var(0).mean())
        True
    """

    prefix: np.ndarray | Series
    swapped: np.ndarray | Series
    innovation: np.ndarray | Series


def tasks_of(cvs: EncodedRows, decoder: type[Decoder], weights: np.ndarray | None = None, shelf: Shelf = IN_MEMORY) -> list[Task]:
    """The 3n - 2 refits of one member, in the order of `Refits`.

    A decoder that reads all CVs up to its own can't tell them from their innovations, so it is given those, and whatever mixes a CV
    with earlier ones changes nothing; others are given the CVs as they are. shelf: for the innovations at the evaluation rows.
    """
    raw = [cvs.embedded(k) for k in range(cvs.n)]
    new: list[list[Rows]] = []
    for k in range(cvs.n):
        new.append(innovations(new[:k], raw[k], weights, shelf))
    nested = bool(decoder.reads(cvs.n)[-1].all())
    swap = [innovations(new[:k], raw[k + 1], weights, shelf) if nested else raw[k + 1] for k in range(cvs.n - 1)]
    new, swap = [_within(x) for x in new], [_within(x) for x in swap]
    first = new if nested else raw
    prefixes = [first[: k + 1] for k in range(cvs.n)]
    swapped = [[*first[:k], swap[k]] for k in range(cvs.n - 1)]
    innovated = [[*first[:k], new[k + 1]] for k in range(cvs.n - 1)]
    return [
        tuple(tuple(inputs[j] for j in seen) for seen in _last_level(decoder, len(inputs)))
        for inputs in (*prefixes, *swapped, *innovated)
    ]


def _within(x: list[Rows]) -> list[Rows]:
    """Evaluation rows kept within the range of the training rows: outside, the polynomials of an innovation run away."""
    train = np.asarray(x[0])
    return [train, made_rows(x[1], train.shape[1], lambda rows: np.clip(rows, train.min(0), train.max(0)))]


def _last_level(decoder: type[Decoder], n: int) -> list[list[int]]:
    """What each of the decoders reads whose sum is the last of n levels: all CVs at once, or one CV each, as the variant says."""
    part = decoder.combine(torch.eye(n)[:, None, :])[-1, 0]  # output l is the l-th unit vector
    return [row.nonzero().flatten().tolist() for row, share in zip(decoder.reads(n), part, strict=True) if share != 0]


def refit(
    tasks: Sequence[Sequence[Task]],
    target: Sequence[np.ndarray],
    target_test: Sequence[Rows],
    *,
    sampling: Sampling | None = None,
    settings: RefitSettings | None = None,
    weights: Sequence[np.ndarray | None] | None = None,
    device: torch.device | str = "cpu",
    progress: str | None = None,
) -> list[np.ndarray | Series]:
    """Refit all tasks of all members at once and give the errors of each at the evaluated frames: (T, N') mean square over features.

    Args:
        tasks: M members with T tasks each, all of one shape.
        target, target_test: for every member (N, D) and (N', D) in the metric W, about the training mean; NaN is left out.
        sampling: of the evaluated frames, which keeps the errors; None: in an array, in the order of the rows.
        weights: for every member (N,) weights of the training rows, or None.

    All decoders of all tasks have the same start and the same batches, in float64, so that a difference between two tasks is not one of
    luck. Hidden layers are trained with Adam; then the last layer is solved for: ridge regression towards the trained one.
    """
    run = DecoderStack(tasks, target, weights, settings or RefitSettings(), torch.device(device))
    with one_thread(run.work < LITTLE):
        run.train(progress)
    sampling = sampling or Sampling.of(len(target_test[0]))
    return [sampling.series(run.errors(m, target_test[m])) for m in range(len(tasks))]


def refit_members(
    cvs: Sequence[EncodedRows],
    decoder: type[Decoder],
    target: Sequence[np.ndarray],
    target_test: Sequence[Rows],
    trained: Sequence[FrameErrors] | None,
    train_weights: Sequence[np.ndarray | None],
    sampling: Sampling,
    settings: RefitSettings,
    device="cpu",
    progress: str | None = None,
) -> list[Refits]:
    """`Refits` of members, which may each have data of their own: target (N, D) and (N', D') in the metric, about the training mean.

    What CVs know is at least what the trained decoders reach: members whose refits stay behind ``trained`` by more than 0.01 of FVE,
    over the evaluated rows, are refitted once more, wider and longer, and where that was better a last time, longer still. None: nothing to
    stay behind. sampling: of the evaluated rows; it keeps the errors.
    """
    n = cvs[0].n

    def refits_of(which: Sequence[int], strength: RefitSettings, title: str | None) -> list[Refits]:
        errors = refit(
            [tasks_of(cvs[i], decoder, train_weights[i], sampling.shelf) for i in which],
            [target[i] for i in which],
            [target_test[i] for i in which],
            sampling=sampling,
            settings=strength,
            weights=[train_weights[i] for i in which],
            device=device,
            progress=title,
        )
        parts = slice(0, n), slice(n, 2 * n - 1), slice(2 * n - 1, None)
        return [Refits(*(made(lambda e, part=part: e[part], of) for part in parts)) for of in errors]

    refits = refits_of(range(len(cvs)), settings, progress)
    hopeful: Sequence[int] = range(len(trained or ()))
    for times in (2, 4):
        behind = [i for i in hopeful if trained and _behind(refits[i], trained[i], sampling).max() > BEHIND]
        if not behind:
            break
        title = None if progress is None else f"{progress}, {len(behind)} behind the trained decoders again"
        again = dict(zip(behind, refits_of(behind, settings.stronger(times), title), strict=True))
        hopeful = [i for i, stronger in again.items() if sampling.mean(stronger.prefix).mean() < sampling.mean(refits[i].prefix).mean()]
        for i in hopeful:
            refits[i] = again[i]
    return refits


def _behind(refits: Refits, trained: FrameErrors, sampling: Sampling) -> np.ndarray:
    """(n,): FVE of the trained levels less that of the refitted ones."""
    return sampling.mean(made(np.subtract, refits.prefix, trained.e)) / (sampling.mean(trained.v) or 1.0)
