"""From a trajectory to its part of a data set, made once: what was made of the same trajectory in the same way is taken as it is."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hae.data.frames import Frames, sums, write_part
from hae.data.jacobian import SAME, featurise, positions_read
from hae.data.molecules import Recipe
from hae.data.parts import Part, file_digest, part_name
from hae.data.rounds import Rule, colvar_of, frame_weights
from hae.data.split import split_rows
from hae.data.trajectories import frames_of, load_structure
from hae.engine import map_parts
from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["make_parts"]


@dataclass(frozen=True)
class _Order:
    """A part to be made, in words that travel: of which trajectory, in which way (`way`: the digest of all but the trajectory), and what
    there is of it already."""

    name: str
    path: str
    topology: str
    recipe: str
    rule: Mapping
    way: str
    weigh: Rule | None
    known: Part | None
    folder: str
    desk: str


def make_parts(
    recipe: Recipe,
    files: Mapping[str, str | os.PathLike],
    topology: str | os.PathLike,
    rule: Mapping,
    *,
    folder: str | os.PathLike,
    known: Mapping[str, Part],
    desk: str | os.PathLike,
    weigh: Rule | None = None,
    progress: str | None = None,
) -> tuple[tuple[Part, ...], Mapping, Mapping[str, Path]]:
    """The parts of trajectories in `files` (name -> path), side by side (`hae.engine`), each in pieces, so that none need fit in memory.

    Gives the parts in the order of their trajectories, what a manifest says of all of them (arguments of `hae.data.parts.Manifest`), and
    the files that are not in the folder yet, by their names in it.

    rule: of the sides, arguments of `hae.data.split.split_rows`. folder: of the data set as it is, with its parts of before as `known`, by
    the name of their trajectory. New parts are made on the `desk`, a folder where a call that was interrupted finds them again.
    weigh: how frames of biased rounds count; the mean of the weights over a round, a folder of trajectories, is 1.
    Raises BadInput as `hae.data.trajectories.frames_of` and `hae.data.rounds.frame_weights`, for the first trajectory that has a fault.
    """
    said = [recipe.to_json(), dict(rule), file_digest(topology), _code(), weigh]
    way = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    orders = {
        str(path): _Order(name, str(path), str(topology), recipe.to_json(), dict(rule), way, weigh, known.get(name), str(folder), str(desk))
        for name, path in files.items()
    }
    made = map_parts(_make, orders, progress=progress)
    about = {"beside": ("row:trajectory", "row:frame", "row:split", *(["row:weight"] if weigh else [])), **_about(recipe)}
    new = {name: Path(desk, name) for part, place in made.values() if place == str(desk) for name, _ in part.files}
    return _of_rounds({path: part for path, (part, _) in made.items()}), about, new


def _of_rounds(parts: Mapping[str, Part]) -> tuple[Part, ...]:
    """Parts, by the path of their trajectory, with the mean weight over all parts whose trajectories are in the same folder."""
    total: defaultdict[Path, float] = defaultdict(float)
    rows: Counter[Path] = Counter()
    for path, part in parts.items():
        total[Path(path).parent] += part.weights[0] if part.weights else part.rows
        rows[Path(path).parent] += part.rows
    return tuple(replace(part, mean=total[Path(path).parent] / rows[Path(path).parent]) for path, part in parts.items())


def _make(order: _Order) -> tuple[Part, str]:
    """The part, found in the folder, found on the desk, or made there; and in which of the two it is."""
    bias = colvar_of(Path(order.path))
    of = file_digest(order.path, order.name, order.way, *([file_digest(bias)] if order.weigh and bias.is_file() else []))
    name = part_name(order.name, of)
    note = Path(order.desk, f"{name}.json")
    noted = Part.of(json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else None
    for place, part in ((order.folder, order.known), (order.desk, noted)):
        if part is not None and part.made_of == of and all(_is(Path(place, file), digest) for file, digest in part.files):
            return part, place
    found, path, positions = _Found(), Path(order.desk, name), Path(order.desk, name).with_suffix(".npy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        with written_whole(positions) as partial, open(partial, "wb") as beside:
            write_part(path, _looked_at(order, found, beside))
    told = tuple(dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)))
    kept = positions.stat().st_size > 0 and not found.lacking
    part = Part(name, file_digest(path), sum(found.sides.values()), dict(sorted(found.sides.items())), order.name, of, told,
                weights=tuple(found.weights), positions=(positions.name, file_digest(positions)) if kept else (), lacking=found.lacking)
    if not kept:
        positions.unlink()
    with written_whole(note) as partial:
        partial.write_text(json.dumps(asdict(part)), encoding="utf-8")
    return part, order.desk


@dataclass
class _Found:
    """What is seen of a trajectory while its part is written."""

    sides: Counter[str] = field(default_factory=Counter)
    weights: list[float] = field(default_factory=list)
    lacking: str = ""


def _looked_at(order: _Order, found: _Found, beside: BinaryIO) -> Iterator[Frames]:
    """The frames of a trajectory with their sides and weights, in pieces. Positions that features do not hold go into the file beside,
    an array (n, A, 3) for each piece."""
    recipe, structure = Recipe.from_json(order.recipe), _structure(order.topology, order.way)
    weights_of = frame_weights(Path(order.path), *order.weigh) if order.weigh else None
    seen: list[np.ndarray] = []
    frames = 0
    look = None if recipe.kind == "coordinates" else lambda piece: seen.append(positions_read(recipe, piece))
    for piece in frames_of(recipe, {order.name: order.path}, structure, look=look):
        weights, frames = None if weights_of is None else weights_of(piece.frame), frames + len(piece)
        piece = replace(piece, split=split_rows(piece.trajectory, piece.frame, **order.rule), weights=weights)
        found.sides.update({side: count for side, count in piece.counts().items() if count})
        found.weights = [sum(both) for both in zip(found.weights or (0.0, 0.0), sums(weights), strict=False)]
        if seen:
            test = piece.split == "test"
            positions = seen.pop()[test]
            found.lacking = found.lacking or _other(recipe, positions, piece.values[test])
            np.save(beside, positions)
        yield piece
    if weights_of is not None:
        weights_of.check_whole(frames)


def _other(recipe: Recipe, positions: np.ndarray, values: np.ndarray) -> str:
    """Why features (n, D) are not those of positions (n, A, 3); "" where they are."""
    try:
        same = not len(values) or np.allclose(featurise(recipe, positions)[0], values, rtol=0, atol=SAME)
    except BadInput as error:
        return str(error)
    return "" if same else "distances between molecules that go by the nearest image of a periodic box"


@lru_cache(maxsize=1)
def _structure(topology: str, way: str):
    """Read once a process; the way knows its content."""
    return load_structure(topology)


def _about(recipe: Recipe) -> dict:
    labels = recipe.labels
    return {"features": recipe.names, "units": recipe.units, "labels": tuple(label.name for label in labels),
            "label_units": tuple(label.unit for label in labels), "label_periods": tuple(label.period for label in labels)}


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest


def _code() -> str:
    """A digest of the code that makes features: with another one parts may be others."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()
