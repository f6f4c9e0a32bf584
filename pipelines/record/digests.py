"""The digest of every file of a registered model: kept on its version, and checked before anything of the model is read or run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from hae.errors import BadInput

__all__ = ["TAG", "cleaned_and_checked", "digests", "to_tag"]

TAG = "files"  # of a version: JSON of path -> SHA-256
LONGEST = 5000  # characters that MLflow takes in a tag
# What others write into a model's folder when they load it where it lies: Python beside code that it runs, MLflow to remember the version.
# `cleaned_and_checked` takes it out of a copy before anything is read, so it is never checked.
BESIDE = ("__pycache__", "registered_model_meta")


def digests(folder: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256 of the file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not set(BESIDE) & set(path.relative_to(folder).parts))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def to_tag(folder: Path) -> str:
    """The digests of a folder as the text of a tag."""
    text = json.dumps(digests(folder), separators=(",", ":"))
    if len(text) > LONGEST:
        raise BadInput(f"{folder}: too many files for a model ({len(text)} characters of digests); allowed: {LONGEST}")
    return text


def cleaned_and_checked(folder: Path, tags: Mapping[str, str], what: str) -> None:
    """Remove what `BESIDE` names from a copy of a model, then make sure that the files left are those that the version's tags say, byte
    for byte, and no others.

    Raises:
        BadInput: names the file, and says that nothing of the model was run.
    """
    for name in BESIDE:
        for path in list(folder.rglob(name)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    try:
        said = json.loads(tags[TAG])
    except (KeyError, ValueError):
        raise BadInput(f"{what}: no digests of its files are on the version, so nothing of it is run; allowed: a version that hae "
                       "registered") from None
    links = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink()]
    found = digests(folder)
    for fault, names in (
        ("is missing", sorted(set(said) - set(found))),
        ("was not there when it was registered", sorted(set(found) - set(said))),
        ("has changed since it was registered", sorted(name for name in set(said) & set(found) if said[name] != found[name])),
        ("is a link", sorted(links)),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise BadInput(f"{what}: {names[0]}{more} {fault}: nothing of it was run; allowed: the files as they were registered")
