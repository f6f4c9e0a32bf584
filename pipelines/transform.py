"""hae transform: the CVs of new data from a registered version, by the model's own recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.patterns import expanded
from hae.errors import BadInput
from hae.files import written_in_pieces
from hae.memory import memory_limit
from pipelines import params
from pipelines.flow import drifting
from pipelines.record import packaging, registry
from pipelines.record.store import opened, plainly
from pipelines.watch.drift import Thinned

__all__ = ["TransformReport", "transform"]

KINDS = (".csv", ".parquet")
ROWS = 16384  # that the network takes at a time


@dataclass(frozen=True)
class TransformReport:
    """What was written: rows and CVs, by which version, where; far: features far outside the training data, a line for each.
    drift: from the data that the version was trained on, in words, "" where they are not here."""

    rows: int
    n_cvs: int
    version: str
    variant: str
    output: Path
    far: tuple[str, ...] = ()
    drift: str = ""


def transform(
    project: Path,
    inputs: Sequence[Path],
    output: Path,
    topology: Path | None = None,
    version: str | None = None,
    keep: Sequence[str] = (),
) -> TransformReport:
    """Write the CVs of trajectories or tables to a .csv or .parquet file: trajectory and frame, or the columns to keep, and cv1..cvn.

    inputs: files, or patterns that no shell has expanded. version: of the registered model; the champion by default. topology: of the
    trajectories, by default the project's; not for tables. keep: columns of tables that go to the output as they are, such as a time or
    the name of a sample.

    Raises:
        BadInput: no champion, a file that can't be read, another molecule, a column that the recipe needs and the table lacks.
    """
    output = Path(output)
    if output.suffix.lower() not in KINDS:
        raise BadInput(f"{output}: '{output.suffix}' is not a kind of table that can be written; allowed: {', '.join(KINDS)}")
    files = [path for given in inputs for path in expanded(given) or [Path(given)]]
    if output.exists() and any(path.exists() and output.samefile(path) for path in [*files, *([topology] if topology else [])]):
        raise BadInput(f"{output}: an input too, which would be lost; allowed: another file")
    store = opened(project)
    with plainly(store.uri):
        row = registry.champion(store) if version is None else registry.find(store, version)
        if row is None:
            there = ", ".join(known.version for known in registry.rows(store)) or "none yet"
            wanted = "champion" if version is None else f"version {version}"
            raise BadInput(f"{store.name}: no {wanted}; allowed: hae retrain or hae promote VERSION first (versions: {there})")
        model = packaging.load(store, row.version)
    if topology is None and model.recipe["kind"] != "columns":
        known = params.load(project / "params.yaml").prepare.topology
        topology = project / known if known and (project / known).is_file() else None
    pieces = featurise(model.recipe, files, topology, keep)
    outside, total = np.zeros(len(model.about["features"]), dtype=int), 0
    seen = Thinned(max(min(Thinned.LIMIT, memory_limit() // (32 * len(outside))), 1))

    def encoded(piece: Frames, rows: pd.DataFrame) -> pd.DataFrame:
        nonlocal outside, total
        total += len(rows)
        values = piece.values[:, [piece.features.index(name) for name in model.about["features"]]]
        outside = outside + _far(model.about, values).sum(0)
        seen.add(values, piece.trajectory)
        cvs = np.concatenate([model.encode(values[start : start + ROWS]) for start in range(0, len(values), ROWS)])
        return rows.assign(**{f"cv{k + 1}": cvs[:, k] for k in range(cvs.shape[1])})

    with written_in_pieces(output) as write:
        for piece in pieces:
            write(encoded(*piece))
    far = [
        f"{name}: {count} of {total} rows lie far outside the training data ({low:.4g} to {high:.4g}); their CVs mean little"
        for name, count, low, high in zip(model.about["features"], outside, model.about["low"], model.about["high"])
        if count
    ]
    drifted = drifting.scored(project, store, model, seen)
    return TransformReport(total, len(model.about["cv"]), row.version, row.variant, output, tuple(far), drifted)


def _far(about: dict, values: np.ndarray) -> np.ndarray:
    """(N, D): what lies outside the range of the training data by more than half of that range."""
    low, high = np.array(about["low"]), np.array(about["high"])
    return (values < low - (high - low) / 2) | (values > high + (high - low) / 2)


def featurise(
    recipe: dict, inputs: Sequence[Path], topology: Path | None, keep: Sequence[str] = ()
) -> Iterator[tuple[Frames, pd.DataFrame]]:
    """Features of files by a recipe (its JSON) and what names their rows, in pieces: large files need not fit into memory.

    Rows of a trajectory are named by its file and their number, those of a table by the columns to keep.
    """
    from hae.data.molecules import Recipe
    from hae.data.readers import TABLES, is_table
    from hae.data.trajectories import frames_of, load_structure

    own = Recipe.from_json(json.dumps(recipe))
    if not inputs:
        raise BadInput("transform: no input; allowed: one file or more")
    absent = next((path for path in (*inputs, *([topology] if topology else [])) if not path.is_file()), None)
    if absent is not None:
        raise BadInput(f"{absent}: no such file; allowed: files that are there")
    if own.kind == "columns":
        if topology is not None:
            raise BadInput(f"{topology}: the model takes columns of a table; allowed: no topology")
        wrong = next((path for path in inputs if not is_table(path)), None)
        if wrong is not None:
            raise BadInput(f"{wrong}: the model takes columns of a table; allowed: {', '.join(TABLES)} or COLVAR with {_some(own.columns)}")
        return _rows_of_tables(own, inputs, tuple(dict.fromkeys(keep)))
    if keep:
        raise BadInput(f"--keep {keep[0]}: the model takes {own.kind} of a molecule; allowed: columns of a table")
    if topology is None:
        raise BadInput(f"{inputs[0]}: the model takes {own.kind} of a molecule; allowed: a trajectory with --topology PDB")
    files: dict[str, Path] = {}
    for path in inputs:
        if files.setdefault(path.stem, path) != path:
            files[str(path)] = path
    pieces = frames_of(own, files, load_structure(topology), labels=False)
    return ((piece, pd.DataFrame({"trajectory": piece.trajectory, "frame": piece.frame})) for piece in pieces)


def _rows_of_tables(recipe, inputs: Sequence[Path], keep: Sequence[str]) -> Iterator[tuple[Frames, pd.DataFrame]]:
    from hae.data.readers import table_pieces

    for path in inputs:
        for piece in table_pieces(path, words=keep):
            for name in keep:
                if name not in piece.columns:
                    raise BadInput(f"{path}: no column '{name}' to keep; allowed: {_some(piece.columns)}")
                if name.startswith("cv") and name[2:].isdecimal():
                    raise BadInput(f"--keep {name}: a name of the output; allowed: columns of other names")
            rows = piece[list(keep)].reset_index(drop=True)
            rows.attrs = {}  # how the file was written is nothing for the next one
            yield recipe.features(piece, str(path), labels=False), rows


def _some(names: Sequence[str]) -> str:
    return "the columns " + ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
