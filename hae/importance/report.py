"""The importance report: figures with intervals and verdicts of every CV, written, read, and said in words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from html import escape
from importlib import import_module
from itertools import pairwise
from typing import Any

import pandas as pd

from hae.importance.smoothness import Smoothness
from hae.importance.verdicts import figure, join, pair_words

__all__ = ["COLUMNS", "CVImportance", "Comparison", "Contributions", "ImportanceReport"]

COLUMNS = (
    *("cv", "fve", "fve_low", "fve_high", "gain", "gain_low", "gain_high", "info_gain", "info_gain_low", "info_gain_high"),
    *("verdict", "order", "n_eff", "status"),
)
NAN = float("nan")
BEHIND = 0.01  # of FVE that refitted decoders may lack of the trained ones
EVENTS = 10  # pieces of the series, of 300, that an influence is spread over: fewer do not tell their scatter


@dataclass(frozen=True)
class CVImportance:
    """One CV. Bounds are of 90 % intervals, NaN where there are too few independent frames.

    fve: fraction of the variance explained by level k; gain: over level k - 1; info_gain: the same of refitted decoders, which is what
    the CV knows; order: of this CV and the next; train_fve: level k on the training rows; info: of refitted decoders, level k;
    events: pieces of the series that its figures are spread over, of 300 (about 100 in plain data; few where a rare state decides);
    raw_margin, innovation_margin: what refitted level k loses with the next CV, or what the next CV adds, in the place of this one.

    Example:
        >>> figures = 0.80, 0.78, 0.82, 0.80, 0.78, 0.82, 0.81, 0.79, 0.83
        >>> round(CVImportance(1, *figures, "alive", "ordered", 400.0, "ok", train_fve=0.83).overfit, 3)
        0.03
    """

    cv: int
    fve: float
    fve_low: float
    fve_high: float
    gain: float
    gain_low: float
    gain_high: float
    info_gain: float
    info_gain_low: float
    info_gain_high: float
    verdict: str
    order: str
    n_eff: float
    status: str
    info: float = NAN
    train_fve: float = NAN
    raw_margin: float = NAN
    raw_margin_low: float = NAN
    raw_margin_high: float = NAN
    innovation_margin: float = NAN
    innovation_margin_low: float = NAN
    innovation_margin_high: float = NAN
    converged: bool = True
    events: float = NAN

    @property
    def name(self) -> str:
        return f"CV{self.cv}"

    @property
    def overfit(self) -> float:
        """FVE of level k on training rows less that on the evaluated rows."""
        return self.train_fve - self.fve

    @property
    def behind(self) -> bool:
        """Whether the refitted decoders stayed behind the trained ones, so that information gains from here on say too little."""
        return self.fve - self.info > BEHIND


@dataclass(frozen=True)
class Comparison:
    """FVE of level k of another model on the same frames, and this model's FVE less that, paired; bounds are of 90 % intervals.

    Example:
        >>> Comparison("pca", 1, 0.443, 0.42, 0.46, 0.013, 0.001, 0.025).words
        '0.013 [0.001, 0.025] more'
    """

    other: str
    level: int
    fve: float
    fve_low: float
    fve_high: float
    difference: float
    difference_low: float
    difference_high: float

    @property
    def words(self) -> str:
        """The difference: "0.013 [0.001, 0.025] more", three digits, as differences are far surer than the figures."""
        low, high, word = self.difference_low, self.difference_high, "more"
        if self.difference < 0:
            low, high, word = -high, -low, "less"
        interval = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        return f"{abs(self.difference):.3f}{interval} {word}"


@dataclass(frozen=True)
class Contributions:
    """What each feature, or each group of features, contributes to the gain of each CV; over all of them it adds up to the gain.

    names: (G,) of features or groups; gain, low, high: (n, G), with the bounds of 90 % intervals, NaN where there are too few frames.

    Example:
        >>> Contributions(("x", "y"), ((0.5, 0.25),), ((0.4, 0.2),), ((0.6, 0.3),)).to_frame().loc["x"].tolist()
        [0.5, 0.4, 0.6]
    """

    names: tuple[str, ...] = ()
    gain: tuple[tuple[float, ...], ...] = ()
    low: tuple[tuple[float, ...], ...] = ()
    high: tuple[tuple[float, ...], ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row for each feature or group, with the columns gain_cv1, gain_cv1_low, gain_cv1_high, gain_cv2, ..."""
        columns: dict[str, tuple[float, ...]] = {}
        for k, figures in enumerate(zip(self.gain, self.low, self.high, strict=True), start=1):
            columns |= zip((f"gain_cv{k}", f"gain_cv{k}_low", f"gain_cv{k}_high"), figures, strict=True)
        return pd.DataFrame(columns, index=list(self.names))


@dataclass(frozen=True, repr=False)
class ImportanceReport:
    """What each CV of a network is worth, how sure that is, and whether the order holds.

    n: leading CVs that are surely alive (by vote where there are several members), None without enough data or where refits stay behind;
    n_by_eps: the same for other thresholds; members: reports of the other members; by_feature, by_group: what features, and groups of
    them where there are any, contribute to each gain (empty with a further metric, which mixes the features); status: the worst of the
    CVs'; apart: number of trajectories where they surely differ, so that each is about one answer, else 0; few: whether a few frames far
    out decide the figures: then levels have no bounds; untold: whether the rows are too few to show heavy tails; side: of the split that
    it was measured on.

    Example:
        >>> from hae import HierarchicalAutoencoder
        >>> from hae.datasets import curve
        >>> model = HierarchicalAutoencoder(n_cvs=1, n_seeds=1, max_epochs=5, device="cpu").fit(curve(500).X)
        >>> model.importance_.plot().axes[0].get_xlabel()
        'share of all variance that a CV adds'
    """

    variant: str
    eps: float
    status: str
    n_frames: int
    n_blocks: int | None
    cvs: tuple[CVImportance, ...]
    n: int | None
    n_by_eps: dict[str, int | None] = field(default_factory=dict)
    against: tuple[Comparison, ...] = ()
    by_feature: Contributions = Contributions()
    by_group: Contributions | None = None
    members: tuple[ImportanceReport, ...] = ()
    seconds: float = NAN
    apart: int = 0
    side: str = "test"
    few: bool = False
    untold: bool = False
    smoothness: Smoothness | None = None  # whether a force can act along the CVs, where it was measured

    @property
    def n_eff(self) -> float:
        """Number of independent frames that the evaluated ones are worth: the least over the levels."""
        return min(cv.n_eff for cv in self.cvs)

    def to_frame(self) -> pd.DataFrame:
        """One row for each CV, with the columns cv, fve, ..., status."""
        return pd.DataFrame([{name: getattr(cv, name) for name in COLUMNS} for cv in self.cvs], columns=list(COLUMNS))

    def plot(self, axis=None):
        """What each CV is worth, with 90 % intervals, on an axis of matplotlib or on one of its own; gives the figure."""
        return import_module("hae.figures.model").worth(self, axis)  # by name: figures are a room above this one

    def __repr__(self) -> str:
        """The table and the sentence; `dataclasses.asdict` has all there is."""
        return f"{self._short_table().to_string(index=False)}\n{self._words()}"

    def _repr_html_(self) -> str:
        return f"{self._short_table().to_html(index=False, border=0)}<p>{escape(self._words())}</p>"

    def _short_table(self) -> pd.DataFrame:
        """What a person reads first: one row for each CV, intervals in brackets."""
        return pd.DataFrame([{
            "cv": cv.name, "fve": figure(cv.fve, cv.fve_low, cv.fve_high), "gain": figure(cv.gain, cv.gain_low, cv.gain_high),
            "information gain": figure(cv.info_gain, cv.info_gain_low, cv.info_gain_high),
            "verdict": "too little data" if cv.status == "not enough data" else cv.verdict, "order": cv.order,
        } for cv in self.cvs])

    def _words(self) -> str:
        return "; ".join(filter(None, [self.sentence(), self.beside_pca()]))

    def beside_pca(self) -> str:
        """CV1 and all CVs beside as many principal components, in figures; "" where PCA was not measured."""
        rows = self.compared("pca")
        return "; ".join(
            (f"CV1 {row.fve + row.difference:.3f}, PC1" if row.level == 1 else
             f"{row.level} CVs {row.fve + row.difference:.3f}, {row.level} PCs") + f" {row.fve:.3f}: {row.words}"
            for row in rows[:1] + rows[1:][-1:]
        )

    def compared(self, other: str) -> list[Comparison]:
        """The comparisons with one other model, level by level."""
        return [row for row in self.against if row.other == other]

    def to_json(self) -> str:
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ImportanceReport:
        return _report(json.loads(text))

    def sentence(self) -> str:
        """The verdicts in one sentence, with what is alive and in order first."""
        first = f"CV1 alone explains {figure(self.cvs[0].fve, self.cvs[0].fve_low, self.cvs[0].fve_high)}"
        if self.status == "not enough data":
            return f"Not enough independent data for intervals and verdicts ({self._too_few()} are needed); {first}"
        pushed = [self.smoothness.words] if self.smoothness and self.smoothness.words else []
        words = "; ".join([*self._of_cvs(), *self._of_decoders(), *pushed, first])
        return words + self._chosen() + (f" (rough: {'; '.join(self._why_rough())})" if self.status == "rough" else "")

    def n_words(self) -> str:
        """What the number of CVs says and what would settle it: a line, "" without enough data."""
        if self.n is None:
            return ""
        first = "No CV is" if not self.n else f"{self.cvs[0].name} alone is" if self.n == 1 else f"The first {self.n} CVs are"
        more = "a further CV might still be" if self.n == len(self.cvs) else "the next one is"
        return (f"{first} surely worth having for this network. That is not the number of motions in the data: train wider and longer "
                f"to see whether {more} worth having then.")  # fmt: skip

    def _chosen(self) -> str:
        """That the rows also chose the model: its figures are then too good."""
        if self.side != "validation":
            return ""
        which = f"the best of {len(self.members) + 1} members and its best epoch" if self.members else "the best epoch"
        return f"; measured on validation rows, which also chose {which}, so these figures are a little too good"

    def _why_rough(self) -> list[str]:
        why = [f"{self.n_eff:.0f} independent frames"]
        if self.apart:
            why.append(self._apart())
        if self.few:
            return [*why, "a few extreme frames decide these figures, so levels have no intervals"]
        if self.untold:
            why.append("fewer than 250 rows don't show whether their tails are heavy")
        rare = [cv for cv in self.cvs if cv.events < EVENTS]
        return [*why, f"a few events decide {join([cv.name for cv in rare])}"] if rare else why

    def _apart(self) -> str:
        return (f"the {self.apart} trajectories do not agree: their means differ by more than chance, so they count as about {self.apart} "
                "samples")

    def _too_few(self) -> str:
        if self.apart:
            return f"{self._apart()}; 100 independent frames"
        why = f"{self.n_frames} evaluated frames are worth {self.n_eff:.0f} independent ones"
        if self.n_blocks in (None, self.n_frames):  # rows that stand alone have no blocks
            return f"{why}; 100"
        return f"{why} in {self.n_blocks} blocks; 100 in 20 blocks"

    def _of_cvs(self) -> list[str]:
        """Phrases on each CV and on neighbouring pairs, what is alive and in order first."""
        alive = [cv for cv in self.cvs if cv.verdict == "alive"]
        orders = [cv.order for cv in self.cvs[:-1]]
        parts, said = [], [False] * len(orders)
        if alive:
            in_a_row = alive[-1].cv - alive[0].cv == len(alive) - 1
            ordered = len(alive) > 1 and in_a_row and all(cv.order == "ordered" for cv in alive[:-1])
            # Pairs with a weak CV are said only where something is wrong or unsure.
            said = [ordered or not (a in alive and b in alive) for a, b in pairwise(self.cvs)]
            parts.append(f"{join([cv.name for cv in alive])} {_are(alive)} alive{' and ordered' if ordered else ''}")
        for cv in self.cvs:
            if cv.verdict in ("weak", "undecided"):
                parts.append(f"{cv.name} is {cv.verdict} (information gain {figure(cv.info_gain, cv.info_gain_low, cv.info_gain_high)})")
        dead = [cv for cv in self.cvs if cv.verdict == "dead"]
        if dead:
            parts.append(f"{join([cv.name for cv in dead])} {_are(dead)} dead")
        parts += [f"{cv.name} is a {cv.verdict}" for cv in self.cvs if cv.verdict.startswith("copy")]
        return parts + pair_words([cv.name for cv in self.cvs], orders, said)

    def _of_decoders(self) -> list[str]:
        """Phrases on decoders that are not converged, and on refits that fail."""
        parts = []
        short = [str(cv.cv) for cv in self.cvs if not cv.converged]
        if short:
            which = f"decoder of level {short[0]} is" if len(short) == 1 else f"decoders of levels {join(short)} are"
            parts.append(f"the {which} not converged")
        behind = [f"level {cv.cv} ({cv.info:.2f} against {cv.fve:.2f})" for cv in self.cvs if cv.behind]
        if behind:
            parts.append(f"refitted decoders stay behind the trained ones at {join(behind)}, so nothing is decided there: trust gains more "
                         "than information gains")
        return parts


def _are(cvs) -> str:
    return "are" if len(cvs) > 1 else "is"


def _plain(value):
    """NaN, which JSON has not, as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """A row as `_plain` gave it, with NaN for null."""
    return {name: NAN if value is None else value for name, value in row.items()}


def _contributions(about: dict) -> Contributions:
    rows = ([[NAN if x is None else x for x in row] for row in about[name]] for name in ("gain", "low", "high"))
    return Contributions(tuple(about["names"]), *(tuple(map(tuple, figures)) for figures in rows))


def _report(about: dict) -> ImportanceReport:
    cvs = tuple(CVImportance(**_read(row)) for row in about["cvs"])
    against = tuple(Comparison(**_read(row)) for row in about["against"])
    seconds = NAN if about["seconds"] is None else about["seconds"]
    return ImportanceReport(
        **{
            **about,
            "cvs": cvs,
            "against": against,
            "by_feature": _contributions(about["by_feature"]),
            "by_group": None if about["by_group"] is None else _contributions(about["by_group"]),
            "seconds": seconds,
            "members": tuple(map(_report, about["members"])),
            "smoothness": None if about["smoothness"] is None else Smoothness.from_json(json.dumps(about["smoothness"])),
        }
    )
