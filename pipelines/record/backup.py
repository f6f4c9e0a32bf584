"""What outlives the database: who was champion and why, as a small JSON beside the store, and a daily copy of a database of one's own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from hae.files import write_json, written_whole
from pipelines.record import lineage

__all__ = ["copy_database", "keep", "kept", "take_copy_back"]

COPIES = 2


def keep(home: Path, uri: str, content: dict) -> None:
    """Write what the registry knows, whole."""
    write_json(_file(home, uri), content)


def kept(home: Path, uri: str) -> dict | None:
    """What was kept last, or None."""
    try:
        return json.loads(_file(home, uri).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _file(home: Path, uri: str) -> Path:
    """registry.json of the project's own database; a server has a file of its own. No password of an address is in its name."""
    if uri == f"sqlite:///{home / 'mlflow.db'}":
        return home / "registry.json"
    parts = urlsplit(uri)
    return home / f"registry-{lineage.digest([parts.scheme, parts.hostname, parts.port, parts.path])[:8]}.json"


def copy_database(database: Path, home: Path) -> None:
    """Copy a sqlite database to copies/, once a day; the newest two stay."""
    target = home / "copies" / f"{database.stem}-{datetime.now(UTC):%Y-%m-%d}.db"
    if target.exists():
        return
    with written_whole(target) as partial, closing(sqlite3.connect(partial)) as copy, closing(sqlite3.connect(database)) as now:
        now.backup(copy)
    for old in _copies(database, home)[:-COPIES]:
        old.unlink()


def take_copy_back(database: Path, home: Path) -> str:
    """Put the newest copy where the database was: its name, or "" where there is none."""
    copies = _copies(database, home)
    if not copies:
        return ""
    for left in ("-wal", "-shm", "-journal"):  # of the database that is gone, and first: they would be applied to the copy
        Path(f"{database}{left}").unlink(missing_ok=True)
    with written_whole(database) as partial:
        shutil.copyfile(copies[-1], partial)
    return copies[-1].name


def _copies(database: Path, home: Path) -> list[Path]:
    """Oldest first."""
    return sorted((home / "copies").glob(f"{database.stem}-*.db"))
