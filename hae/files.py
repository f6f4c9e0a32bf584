"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hae.errors import BadInput

__all__ = ["check_writable", "plain", "write_json", "written_whole"]


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`; it becomes `path` at the end of the block, or vanishes if the block fails.

    The folder is made. The temporary path ends like `path`. Raises BadInput where the folder can't be written to.
    """
    path = Path(path)
    # A name of its own: threads of one process may write side by side.
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"{path}: can't be written ({reason}); allowed: a folder that can be written to") from None


def check_writable(folder: str | os.PathLike) -> None:
    """Make a folder and write to it, so that what can't be written is said before long work and not after.

    Raises BadInput where the folder can't be written to.
    """
    probe = Path(folder) / f".writable-{os.getpid()}-{secrets.token_hex(4)}"  # its own: others may ask at the same time
    with written_whole(probe) as partial:
        partial.touch()
    probe.unlink()


def write_json(path: str | os.PathLike, content) -> None:
    """Write a JSON file whole or not at all, a line an entry, so that a difference can be read."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def plain(value):
    """A parameter or a fitted attribute as JSON has it."""
    if isinstance(value, np.ndarray | tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | None) else None  # a random state, for one: what it was is gone
