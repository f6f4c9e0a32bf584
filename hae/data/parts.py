"""A data set in parts: a folder of Parquet files and the manifest that names them. Who reads it goes by the manifest alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hae.data.rows import FileRows, RowFile
from hae.data.split import SIDES
from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["MANIFEST", "Manifest", "Part", "file_digest", "part_name", "publish", "read_positions"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Part:
    """A file of a data set: its name in the folder, its SHA-256, its rows, how many of them are on each side.

    name: of its trajectory; made_of: the digest of all that it was made of ("" where it is of no trajectory); told: what is to be said of
    its source, line by line.
    weights: sum and sum of squares of the weights that are in the file, () where there are none. mean: what they are divided by when they
    are read, for the mean of a round of sampling is known only when all its parts are made.
    positions: name and SHA-256 of the file that holds the atoms which distances and torsions read, at the test rows; () where features
    hold their positions, or have none. lacking: why they can't be had.

    Example: A part whose positions are in a file of their own.
        >>> part = Part("a.parquet", "0" * 64, 10, {"train": 8, "test": 2}, name="a", positions=("a.npy", "1" * 64))
        >>> [name for name, _ in part.files]
        ['a.parquet', 'a.npy']
        >>> Part.of(json.loads(json.dumps(asdict(part)))) == part
        True
    """

    file: str
    digest: str
    rows: int
    sides: Mapping[str, int]
    name: str = ""
    made_of: str = ""
    told: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    mean: float = 1.0
    positions: tuple[str, ...] = ()
    lacking: str = ""

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of each of its files."""
        return ((self.file, self.digest), *((self.positions[0], name) for name in self.positions[1:]))

    @classmethod
    def of(cls, content: Mapping) -> Part:
        """From what `dataclasses.asdict` made of one, and JSON of that. Raises TypeError for another content."""
        plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return cls(**plain)


@dataclass(frozen=True)
class Manifest:
    """What a data set is: its parts in the order of the rows, and the names and units that all of them share.

    beside: columns of a part that come before its features, "row:trajectory" and others. label_units, label_periods: as of
    `hae.data.frames.Frames`. split: the rule of the sides, as people gave it.

    Example: A data set of one part.
        >>> part = Part("a.parquet", "0" * 64, 10, {"train": 6, "validation": 2, "test": 2, "gap": 0})
        >>> manifest = Manifest((part, part), ("x", "y"), ("nm", "nm"), ("row:trajectory", "row:frame", "row:split"))
        >>> manifest.rows, manifest.sides["train"], manifest.bytes
        (20, 12, 160)
        >>> Manifest.from_json(manifest.to_json()) == manifest
        True
    """

    parts: tuple[Part, ...]
    features: tuple[str, ...]
    units: tuple[str, ...]
    beside: tuple[str, ...]
    labels: tuple[str, ...] = ()
    label_units: tuple[str, ...] = ()
    label_periods: tuple[float | None, ...] = ()
    split: Mapping = field(default_factory=dict)
    version: int = 1

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def sides(self) -> dict[str, int]:
        """Number of rows on each side of the split, gaps included."""
        return {side: sum(part.sides.get(side, 0) for part in self.parts) for side in (*SIDES, "gap")}

    @property
    def share(self) -> float | None:
        """Of rows that count: (sum w)^2 / (N sum w^2), Kish's; None without weights."""
        if not all(part.weights for part in self.parts):
            return None
        total, squares = (sum(part.weights[i] / part.mean ** (i + 1) for part in self.parts) for i in (0, 1))
        return total**2 / (self.rows * squares)

    @property
    def bytes(self) -> int:
        """Of the features of all rows as float32."""
        return 4 * self.rows * len(self.features)

    def to_json(self) -> str:
        """One line a part, so that a difference can be read."""
        about = {name: value for name, value in asdict(self).items() if name != "parts"}
        lines = ",\n  ".join(json.dumps(asdict(part), ensure_ascii=False) for part in self.parts)
        return json.dumps(about, ensure_ascii=False)[:-1] + f',\n "parts": [\n  {lines}\n ]}}'

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises ValueError, TypeError, KeyError or AttributeError for what `to_json` did not write."""
        content: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
        content["parts"] = tuple(map(Part.of, content["parts"]))
        return cls(**content)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Manifest:
        """Of the data set in a folder. Raises BadInput if there is none."""
        try:
            return cls.from_json(Path(folder, MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise BadInput(f"{folder}: no data there; allowed: a folder that the stage prepare wrote") from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise BadInput(f"{Path(folder, MANIFEST)}: not a manifest that the stage prepare wrote") from None


def publish(folder: str | os.PathLike, manifest: Manifest, new: Mapping[str, Path]) -> None:
    """Make a folder the data set of this manifest. new: its files that are not there yet, by their names in it; they are moved.

    A file that is there under its name stays as it is. The manifest is replaced once all that it names is there, and what it does not
    name goes after that: who reads by the manifest finds the old data or the new ones, whenever this is interrupted.
    """
    folder = Path(folder)
    for name, source in new.items():
        with written_whole(folder / name) as partial:
            shutil.move(source, partial)
    with written_whole(folder / MANIFEST) as partial:
        partial.write_text(manifest.to_json() + "\n", encoding="utf-8")
    named = {name for part in manifest.parts for name, _ in part.files}
    for path in (*folder.glob("*.parquet"), *folder.glob("*.npy")):
        if path.name not in named:
            path.unlink()


def read_positions(folder: str | os.PathLike, into: Path | None = None) -> np.ndarray | FileRows | None:
    """(N, A, 3) in nm: the atoms that features read (`hae.data.jacobian.atoms_read`) at the N test rows of a data set, None where a part
    has none. into: a file for them where memory does not hold them.
    Raises BadInput if there is no data set, or a file is missing or damaged."""
    parts: tuple[Part, ...] = Manifest.read(folder).parts
    if not all(part.positions for part in parts):
        return None
    if into is None:
        return np.concatenate(list(_positions(folder, parts)))
    file = RowFile(into)
    for piece in _positions(folder, parts):
        file.add(piece)
    return file.rows()


def _positions(folder: str | os.PathLike, parts: Sequence[Part]) -> Iterator[np.ndarray]:
    for part in parts:
        path = Path(folder, part.positions[0])
        try:
            with open(path, "rb") as file:
                while file.tell() < path.stat().st_size:
                    yield np.load(file)
        except (OSError, ValueError, EOFError):
            raise BadInput(f"{path}: no positions that can be read, and {MANIFEST} names them; allowed: what the stage prepare wrote "
                           "(run it again)") from None


def part_name(name: str, digest: str) -> str:
    """A file's name that tells people what it is of, and the rest of us what is in it."""
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name).strip('._')[:60] or 'part'}-{digest[:16]}.parquet"


def file_digest(path: str | os.PathLike, *more: str | Sequence[str]) -> str:
    """SHA-256, in hex, of the bytes of a file, and of words beside it."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256")
    for word in more:
        found.update(b"\0" + json.dumps(word).encode())
    return found.hexdigest()
