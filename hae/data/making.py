"""From a trajectory to its part of a data set, made once: what was made of the same trajectory in the same way is taken as it is."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from hae.data.frames import Frames, write_part
from hae.data.molecules import Recipe
from hae.data.parts import Part, file_digest, part_name
from hae.data.split import split_rows
from hae.data.trajectories import frames_of, load_structure
from hae.engine import map_parts
from hae.files import written_whole

__all__ = ["Made", "make_parts"]


@dataclass(frozen=True)
class Made:
    """Parts in the order of their trajectories, what a manifest says of all of them, and the files that are not in the folder yet."""

    parts: tuple[Part, ...]
    about: Mapping
    new: Mapping[str, Path]


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
    progress: str | None = None,
) -> Made:
    """The parts of trajectories in `files` (name -> path), side by side (`hae.engine`), each in pieces, so that none need fit in memory.

    rule: of the sides, arguments of `hae.data.split.split_rows`. folder: of the data set as it is, with its parts of before as `known`, by
    the name of their trajectory. New parts are made on the `desk`, a folder where a call that was interrupted finds them again.
    Raises BadInput as `hae.data.trajectories.frames_of`, for the first trajectory that has a fault.
    """
    way = hashlib.sha256(json.dumps([recipe.to_json(), dict(rule), file_digest(topology), _code()], sort_keys=True).encode()).hexdigest()
    orders = {
        str(path): _Order(name, str(path), str(topology), recipe.to_json(), dict(rule), way, known.get(name), str(folder), str(desk))
        for name, path in files.items()
    }
    made = map_parts(_make, orders, progress=progress)
    about = {"beside": ("row:trajectory", "row:frame", "row:split"), **_about(recipe)}
    new = {part.file: Path(desk, part.file) for part, place in made.values() if place == str(desk)}
    return Made(tuple(part for part, _ in made.values()), about, new)


def _make(order: _Order) -> tuple[Part, str]:
    """The part, found in the folder, found on the desk, or made there; and in which of the two it is."""
    of = file_digest(order.path, order.name, order.way)
    name = part_name(order.name, of)
    note = Path(order.desk, f"{name}.json")
    noted = Part(**json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else None
    for place, part in ((order.folder, order.known), (order.desk, noted and replace(noted, told=tuple(noted.told)))):
        if part is not None and part.made_of == of and _is(Path(place, part.file), part.digest):
            return part, place
    sides: Counter[str] = Counter()
    path = Path(order.desk, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        write_part(path, _counted(order, sides))
    told = tuple(dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)))
    part = Part(name, file_digest(path), sum(sides.values()), dict(sorted(sides.items())), order.name, of, told)
    with written_whole(note) as partial:
        partial.write_text(json.dumps(asdict(part)), encoding="utf-8")
    return part, order.desk


def _counted(order: _Order, sides: Counter[str]) -> Iterator[Frames]:
    """The frames of a trajectory with their sides, which are counted, in pieces."""
    recipe, structure = Recipe.from_json(order.recipe), _structure(order.topology, order.way)
    for piece in frames_of(recipe, {order.name: order.path}, structure):
        piece = replace(piece, split=split_rows(piece.trajectory, piece.frame, **order.rule))
        sides.update({side: count for side, count in piece.counts().items() if count})
        yield piece


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
