"""What the report looks at: of every variant its importance, history and CVs, and how two variants compare on the same frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.frames import Frames, concatenate, read_pieces
from hae.data.molecules import Recipe
from hae.data.parts import Manifest
from hae.data.rows import Growing, Shelf
from hae.data.sides import Beside, scratch_of
from hae.errors import BadInput
from hae.files import read_csv
from hae.importance.assess import Figures, compare
from hae.importance.intervals import Sampling
from hae.importance.report import Comparison, ImportanceReport
from hae.importance.series import made
from hae.importance.stability import Stability
from hae.memory import memory_limit
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import encode, error_pieces, reconstructions
from hae.storage import load_members
from pipelines import paths, settings

__all__ = ["Along", "Evidence", "Steep", "VariantEvidence", "gather", "weights"]

MOST_FRAMES = 100_000  # drawn in maps, evenly spread


@dataclass(frozen=True)
class Along:
    """Real frames along one CV, as the stage evaluate chose them: cv (F,) and values (F, D)."""

    cv: np.ndarray
    values: np.ndarray


READ = ("importance.json", "history.csv", "labels.csv", "stability.json", "gradients.csv", "passages.csv")  # of each variant


@dataclass(frozen=True)
class Steep:
    """Where the CVs of a variant are steep. sizes: (R, n), |ds/dx| at test rows; at: those rows; passages: (n, T), each CV along its
    steepest passage, at steps (T,). Units: those of the report's `smoothness`."""

    sizes: np.ndarray
    at: Frames
    steps: np.ndarray
    passages: np.ndarray


@dataclass(frozen=True)
class VariantEvidence:
    """One variant. cvs: (N, n) at the drawn frames; kinds: of the CVs; levels: (n, N', D) at the test frames looked at; stability:
    None where it was not measured; along: of each CV where the features are positions, else empty; weights: a name for the trained
    networks, the tag `weights` of their version in MLflow; steep: None where gradients were not measured; widths: of the network, in
    words."""

    name: str
    importance: ImportanceReport
    stability: Stability | None
    history: pd.DataFrame
    relations: pd.DataFrame
    kinds: tuple[str, ...]
    cvs: np.ndarray
    test_cvs: np.ndarray
    levels: np.ndarray
    along: tuple[Along, ...] = ()
    weights: str = ""
    steep: Steep | None = None
    widths: str = ""

    @property
    def sentence(self) -> str:
        """The verdicts, and what is tied."""
        tied = self.stability.words() if self.stability else ""
        return "; ".join(filter(None, [self.importance.sentence(), tied]))


@dataclass(frozen=True)
class Evidence:
    """Of the whole project. frames: all that are drawn; test: evenly spread ones of the test side; paired: by "A - B"."""

    variants: tuple[VariantEvidence, ...]
    frames: Frames
    test: Frames
    counts: dict[str, int]
    trajectories: int
    recipe: Recipe
    temperature: float | None
    paired: dict[str, tuple[Comparison, ...]]

    @property
    def thing(self) -> str:
        """What a sample is called: a table's is a row, unless it comes from a simulation."""
        return "row" if self.recipe.kind == "columns" and self.temperature is None else "frame"

    def called(self, words: str) -> str:
        """Words of the library, whose samples are frames, with the samples by their name."""
        return words.replace("frames", f"{self.thing}s")

    @property
    def reports(self) -> dict[str, ImportanceReport]:
        return {variant.name: variant.importance for variant in self.variants}


def gather(names: Mapping[str, object] | list[str], temperature: float | None = None) -> Evidence:
    """Read what prepare, train and evaluate left, in the project folder. Raises BadInput for what is not there."""
    manifest = Manifest.read(paths.FRAMES)
    recipe = Recipe.from_json(paths.RECIPE.read_text(encoding="utf-8"))
    for name in names:
        for path in (paths.results(name) / file for file in READ):
            if not path.is_file():
                raise BadInput(f"{path}: no such file; allowed: every variant under train evaluated first, "
                               "and its files among the deps of report in dvc.yaml")
    networks = {name: load_members(paths.model(name))[0] for name in names}
    tables = {name: [pd.read_csv(paths.results(name) / f"{table}.csv") for table in ("gradients", "passages")] for name in names}
    most = min(MOST_FRAMES, max(memory_limit() // (16 * len(manifest.features)), 1))
    with scratch_of(settings.home() / "rows" / "report", manifest.bytes > memory_limit()) as shelf:
        seen = _Seen(networks, _Picked(_spread(manifest.rows, most)), _Picked(_spread(manifest.sides["test"], 4000)),
                     {name: _Picked(table["row"].to_numpy()) for name, (table, _) in tables.items()}, shelf)
        for piece in read_pieces(paths.FRAMES):
            seen.add(piece)
        frames, looked_at, variants = seen.drawn.frames(), seen.looked_at.frames(), []
        for name, network in networks.items():
            folder = paths.results(name)
            variants.append(VariantEvidence(
                name,
                ImportanceReport.from_json((folder / "importance.json").read_text(encoding="utf-8")),
                Stability.from_json((folder / "stability.json").read_text(encoding="utf-8")),
                pd.read_csv(folder / "history.csv"),
                read_csv(folder / "labels.csv"),
                tuple(network.bottleneck.kinds),
                encode(network, frames.values),
                encode(network, looked_at.values),
                reconstructions(network, looked_at.values),
                _along(folder / "along", network.n_cvs, frames.n_features) if recipe.kind == "coordinates" else (),
                weights(paths.model(name)),
                _steep(tables[name][0], tables[name][1], seen.steep[name]),
                network.widths,
            ))
        errors, sampling = seen.compared()
        paired = {
            f"{a.name} - {b.name}": _paired(a, b, errors, sampling)
            for i, a in enumerate(variants) for b in variants[i + 1 :]
        }
    return Evidence(tuple(variants), frames, looked_at, manifest.sides, len(seen.trajectories), recipe, temperature, paired)


class _Picked:
    """Those rows of a series, by their sorted numbers, that are among the pieces of it that come."""

    def __init__(self, rows: np.ndarray):
        self.rows, self.first = rows, 0
        self._pieces: list[Frames] = []

    def add(self, piece: Frames) -> None:
        here = self.rows[(self.rows >= self.first) & (self.rows < self.first + len(piece))] - self.first
        self.first += len(piece)
        if len(here) or not self._pieces:
            self._pieces.append(piece.select(here))

    def frames(self) -> Frames:
        return concatenate(self._pieces)


class _Seen:
    """What is kept of all rows as they come in pieces: rows to be drawn, and, on a shelf, errors of each variant at test rows and where
    these come from."""

    def __init__(self, networks: Mapping[str, HierarchicalNetwork], drawn: _Picked, looked_at: _Picked, steep: Mapping[str, _Picked],
                 shelf: Shelf):
        self.networks, self.drawn, self.looked_at, self.steep = networks, drawn, looked_at, steep
        self.trajectories: set[str] = set()
        self._errors = {name: Growing(shelf) for name in networks}
        self._beside = Beside(shelf)

    def add(self, piece: Frames) -> None:
        self.drawn.add(piece)
        self.trajectories |= set(piece.trajectory.tolist()) - {""}
        test = piece.select("test")
        for picked in (self.looked_at, *self.steep.values()):
            picked.add(test)
        if len(test):
            self._beside.add(test.trajectory, test.frame, test.weights)
            for name, network in self.networks.items():
                for errors in error_pieces(network, test.values):
                    self._errors[name].add(errors.T)

    def compared(self) -> tuple[dict[str, Figures], Sampling]:
        """Errors (n + 1, N) of each variant at all test rows, the last of them that of the mean, and the sampling of the rows."""
        sampling = Sampling.of(*self._beside.sampling_of())
        return {name: sampling.of_rows(errors.rows()) for name, errors in self._errors.items()}, sampling


def _paired(a: VariantEvidence, b: VariantEvidence, errors: Mapping[str, Figures], sampling: Sampling) -> tuple[Comparison, ...]:
    """FVE of a less that of b on the test frames, over the levels that both have."""
    levels = min(len(a.kinds), len(b.kinds))
    ours, theirs = (made(lambda x: x[:levels], errors[variant.name]) for variant in (a, b))
    found = compare(ours, theirs, made(lambda x: x[-1], errors[a.name]), sampling, a.importance.n_blocks)
    return tuple(
        Comparison(b.name, k + 1, cv.fve, cv.fve_low, cv.fve_high, *(float(x[k]) for x in (found.value, found.low, found.high)))
        for k, cv in enumerate(b.importance.cvs[:levels])
    )


def _along(folder: Path, n_cvs: int, n_features: int) -> tuple[Along, ...]:
    tables = [pd.read_csv(folder / f"cv{k + 1}.csv") for k in range(n_cvs)]
    return tuple(Along(table[f"cv{k + 1}"].to_numpy(), table.iloc[:, -n_features:].to_numpy()) for k, table in enumerate(tables))


def _steep(sizes: pd.DataFrame, along: pd.DataFrame, at: _Picked) -> Steep | None:
    if not len(sizes):
        return None
    return Steep(sizes.filter(like="cv").to_numpy(), at.frames(), along["step"].to_numpy(), along.filter(like="cv").to_numpy().T)


def weights(model: Path) -> str:
    """The same name for a trained model as `pipelines.record.contents.weights` gives."""
    files = {path.name: _digest(path.read_bytes()) for path in sorted(model.glob("*")) if path.is_file()}
    return _digest(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()) if files else ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _spread(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)
