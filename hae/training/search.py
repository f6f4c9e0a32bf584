"""hidden="auto": of few rows several small settings are trained, and what explains most of the rows that each did not see is taken."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from hae.training.fit import Plan, fit_members
from hae.training.pairs import Pairs
from hae.training.schedule import FEW
from hae.training.sources import RowsInMemory, Source

__all__ = ["CROSSED", "SETTINGS", "Found", "Setting", "folds", "search", "settled"]

CROSSED, FOLDS = 400, 4  # training and validation rows below which folds judge, since a validation side would be some dozens
MEMBERS = 2  # trained of each setting, whose mean error counts: a choice by the best one would be a choice of starts


@dataclass(frozen=True)
class Setting:
    """hidden: widths of the encoder's layers; linear_path, smooth: see `hae.training.fit.Plan`.

    Example:
        >>> Setting((32, 32), smooth=1.0).words
        '32-32 beside a linear path, smooth 1'
    """

    hidden: tuple[int, ...] = (64, 64)
    linear_path: bool = True
    smooth: float = 0.0

    @property
    def words(self) -> str:
        path = " beside a linear path" if self.linear_path else ""
        return f"{'-'.join(map(str, self.hidden))}{path}" + (f", smooth {self.smooth:g}" if self.smooth else "")


# Each begins at the principal components, so that few rows have no need to find them; how long it is trained is left to early stopping.
SETTINGS = (Setting((16,)), Setting((32, 32)), Setting(), Setting(smooth=10))


@dataclass(frozen=True)
class Found:
    """What was taken, and how: loss of each setting tried, by its words, on rows that it did not see; rows that judged, and in how many
    folds; no errors where there was no choice.

    Example:
        >>> Found(Setting((8,)), {"8 beside a linear path": 0.2, "16 beside a linear path": 0.3}, rows=119, folds=4).words
        'hidden: auto took 8 beside a linear path: error 0.2000 on rows held out, 4 folds of 119 rows (16 beside a linear path 0.3000)'
    """

    setting: Setting
    errors: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: int = 0
    folds: int = 0

    @property
    def words(self) -> str:
        """In a line, with the errors of all that were tried."""
        taken = self.setting.words
        if not self.errors:
            return f"hidden: auto took {taken} (more than {FEW} rows, or too few to choose by)"
        how = f"{self.folds} folds of {self.rows} rows" if self.folds > 1 else f"{self.rows} validation rows"
        others = ", ".join(f"{words} {error:.4f}" for words, error in self.errors.items() if words != taken)
        return f"hidden: auto took {taken}: error {self.errors[taken]:.4f} on rows held out, {how} ({others})"


def search(source: Source, plan: Plan) -> Found:
    """The setting of a plan for these rows.

    Up to `FEW` training rows, the one of `SETTINGS` whose mean error on held-out rows is the least: on the validation side, or, below
    `CROSSED` rows in all, over `FOLDS` folds of both sides together. A plan that asks to be smooth keeps that in all. With more rows,
    and with less than two a fold, there is no choice: the plan stays as it is.

    Example:
        >>> from hae.training.schedule import Settings
        >>> t = np.random.default_rng(0).normal(size=(60, 1))
        >>> line = RowsInMemory({"train": Pairs.same(t @ [[1.0, 2.0, -1.0]])})
        >>> found = search(line, Plan(("linear",), settings=Settings(max_epochs=5)))
        >>> len(found.errors), found.rows, found.folds
        (4, 60, 4)
    """
    train, own = source.pairs("train"), Setting(tuple(plan.hidden), plan.linear_path, plan.smooth)
    parts = [] if train is None or len(train) > FEW else folds(source)
    if not parts:
        return Found(own)
    tried = SETTINGS if not plan.smooth else tuple({dataclasses.replace(one, smooth=plan.smooth): None for one in SETTINGS})
    title = f"{plan.progress}, choosing widths" if plan.progress else None
    with tqdm(total=len(tried) * len(parts), desc=title, disable=title is None, unit="training") as bar:
        errors = []
        for setting in tried:
            quiet = dataclasses.replace(settled(plan, setting), seeds=plan.seeds[:MEMBERS], progress=None)
            losses = []
            for part in parts:
                losses.append(np.mean(fit_members(part, quiet).loss))
                bar.update()
            errors.append(float(np.mean(losses)))
    rows = sum(len(part.by_side["validation"]) for part in parts)
    return Found(tried[int(np.argmin(errors))], {one.words: error for one, error in zip(tried, errors, strict=True)}, rows, len(parts))


def settled(plan: Plan, setting: Setting) -> Plan:
    """The plan with this setting."""
    return dataclasses.replace(plan, **dataclasses.asdict(setting))


def folds(source: Source) -> list[RowsInMemory]:
    """Rows to train on and rows to judge by: the sides as they are, or where both are few, four times other ones. A fold of trajectories
    is a piece in time, a fold of rows that stand alone is drawn. Empty where there are less than two rows a fold."""
    train, validation = source.pairs("train"), source.pairs("validation")
    assert train is not None
    n = len(train) + len(validation or ())
    if validation is not None and n >= CROSSED:
        return [RowsInMemory({"train": train, "validation": validation})]
    if n < 2 * FOLDS:
        return []
    everything = Pairs.joined([train] if validation is None else [train, validation])
    place = np.arange(n)
    if everything.trajectory is None or not (everything.trajectory != "").any():
        place = np.random.default_rng(0).permutation(n)
    fold = place * FOLDS // n
    return [RowsInMemory({"train": everything.take(fold != k), "validation": everything.take(fold == k)}) for k in range(FOLDS)]
