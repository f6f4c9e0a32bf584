"""Files and patterns of files that people name, and the name of the trajectory in each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hae.errors import BadInput

__all__ = ["expanded", "find_files", "matches", "without_ending"]

WILD = set("*?[")


def find_files(patterns: Sequence[str], root: str | os.PathLike = ".") -> dict[str, Path]:
    """Name -> file, for files and patterns below a folder. A name is the path behind the fixed part of the pattern, without ending.

    So `runs/*/md.xtc` gives "a/md" and "b/md", and a file keeps its name, and its blocks their sides, when others come.

    Raises:
        BadInput: a pattern matches nothing, or two files have one name.
    """
    files: dict[str, Path] = {}
    for pattern in patterns:
        base, found = matches(pattern, root)
        if not found:
            raise BadInput(f"prepare.trajectories: {pattern} matches no file; allowed: files that are there")
        for path in found:
            name = without_ending(path.relative_to(base))
            if files.setdefault(name, path) != path:
                raise BadInput(
                    f"prepare.trajectories: {files[name]} and {path} would both be named '{name}'; "
                    "allowed: different names, or a pattern such as runs/*/md.xtc, whose folders become part of the name"
                )
    return files


def matches(pattern: str, root: str | os.PathLike = ".") -> tuple[Path, list[Path]]:
    """The fixed folder of a pattern, and the files that it matches, sorted. Wild cards of the root's own path are plain letters.

    ``**`` is any number of folders. Hidden files and folders, links that lead nowhere and folders are left out; a file without wild
    cards is given whether it is there or not.
    """
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts[:-1]) if set(part) & WILD), len(parts) - 1)
    base, rest = Path(root, *parts[:fixed]), os.path.join(*parts[fixed:])
    if not set(rest) & WILD:
        return base, [base / rest]
    return base, sorted(_visible(base, rest))


def expanded(given: str | os.PathLike) -> list[Path]:
    """The file of this name (it may have wild cards), or the files of a pattern that no shell has expanded; [] where there are none."""
    return [Path(given)] if Path(given).exists() else matches(str(given))[1]


def without_ending(path: Path) -> str:
    """The name of a trajectory in this file; a number at the end, as in COLVAR.0, is no ending.

    Example:
        >>> without_ending(Path("a/md.xtc")), without_ending(Path("COLVAR.0"))
        ('a/md', 'COLVAR.0')
    """
    return path.as_posix() if path.suffix[1:].isdigit() else path.with_suffix("").as_posix()


def _visible(base: Path, rest: str) -> Iterator[Path]:
    for path in base.glob(rest):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(base).parts):
            yield path
