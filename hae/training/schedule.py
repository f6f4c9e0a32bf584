"""How long a training goes on, in which batches and at which rate: settled before it begins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FEW", "SMALLEST_BATCH", "Schedule", "Settings", "one_cycle"]

FEWEST_STEPS, SMALLEST_BATCH = 16, 32  # few rows are cut into smaller batches, or an epoch would be a handful of steps
FEW = 4000  # training rows up to which hidden="auto" adds a linear path
EPOCHS = 100  # of a training whose length is not said
START, END = 25, 1e4  # the one-cycle rate begins at peak / START and ends at peak / START / END, as torch's does


@dataclass(frozen=True)
class Settings:
    """How to train.

    batch_size: rows of a step, fewer where the rows would not fill `FEWEST_STEPS` batches. max_epochs: passes over the rows, at most.
    patience: epochs without a better validation loss before a member ends, counted after the peak of the one-cycle rate; None: no early
    stop. warmup: share of steps until the peak. min_steps: where ``max_epochs`` give fewer steps, both they and ``patience`` grow in
    proportion until they give as many.

    Example:
        >>> Schedule.of(Settings(batch_size=50, max_epochs=10, patience=2, min_steps=500), n_rows=800, seeds=[0]).epochs
        32
    """

    batch_size: int = 512
    max_epochs: int = EPOCHS
    patience: int | None = 20
    learning_rate: float = 5e-3
    warmup: float = 0.15
    weight_decay: float = 0.0
    min_steps: int = 0

    @classmethod
    def of(cls, params) -> "Settings":
        """Settings from the parameters of that name of an estimator or of a section of params.yaml; ``min_steps`` counts where
        ``max_epochs`` is None."""
        free = params.max_epochs is None
        return cls(
            params.batch_size,
            EPOCHS if free else params.max_epochs,
            params.patience,
            params.learning_rate,
            min_steps=params.min_steps if free else 0,
        )


@dataclass(frozen=True)
class Schedule:
    """What follows from settings and the number of rows.

    seeds: one for each member. steps: of an epoch; what is left of the rows is less than a batch, and another part in each epoch. patience,
    peak: epochs, see `Settings`. rates: learning rate of every step of the training.

    Example:
        >>> schedule = Schedule.of(Settings(batch_size=50, max_epochs=4), n_rows=1620, seeds=[7, 8])
        >>> schedule.steps, schedule.epochs, len(schedule.rates)
        (32, 4, 128)
    """

    seeds: tuple[int, ...]
    batch_size: int
    steps: int
    epochs: int
    patience: int | None
    peak: int
    rates: Sequence[float]

    @classmethod
    def of(cls, settings: Settings, n_rows: int, seeds: Sequence[int]) -> "Schedule":
        batch_size = min(settings.batch_size, max(SMALLEST_BATCH, n_rows // FEWEST_STEPS), n_rows)
        steps = n_rows // batch_size
        epochs, patience = max(settings.max_epochs, math.ceil(settings.min_steps / steps)), settings.patience
        if patience is not None:
            patience = math.ceil(patience * epochs / settings.max_epochs)
        rates = one_cycle(settings.learning_rate, epochs * steps, settings.warmup)
        return cls(tuple(seeds), batch_size, steps, epochs, patience, math.ceil(settings.warmup * epochs), rates)


def one_cycle(peak: float, total: int, warmup: float) -> list[float]:
    """Learning rate of every step of torch's OneCycleLR (Smith and Topin, Super-convergence, 2018), in closed form and to the last bit.

    warmup: share of the steps until the peak. Fewer than three steps have no cycle and go at the peak.
    """
    if total < 3:
        return [peak] * total
    share = 1.5 / total if math.isclose(warmup * total, 1) else warmup  # for a rise of one step torch divides by 0
    low, top, end = peak / START, share * total - 1, total - 1

    def between(start: float, stop: float, part: float) -> float:
        return stop + (start - stop) / 2.0 * (math.cos(math.pi * part) + 1)

    return [between(low, peak, i / top) if i <= top else between(peak, low / END, (i - top) / (end - top)) for i in range(total)]
