"""hae clean: old trainings leave MLflow, DVC's cache, the checkpoints and Prefect's records. What the way back needs stays."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from hae.errors import BadInput
from hae.files import written_whole
from pipelines import locks, params, settings
from pipelines.flow import cache, retraining, versioning
from pipelines.record import pruning, recovery
from pipelines.record.store import opened, plainly

__all__ = ["Cleaned", "by_rule", "clean"]

LINES = 2000  # of the lists of retrainings and of looks at drift
PREFECT = """
delete from flow_run where state_type in ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') and id not in (
    select id from flow_run where state_type in ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') order by end_time desc limit :keep);
delete from log where flow_run_id is not null and flow_run_id not in (select id from flow_run);
delete from artifact where flow_run_id is not null and flow_run_id not in (select id from flow_run);
delete from artifact_collection where latest_id not in (select id from artifact);
delete from event_resources where occurred < (select min(created) from flow_run);
delete from events where occurred < (select min(created) from flow_run);
"""


@dataclass(frozen=True)
class Cleaned:
    """What goes, or went, in one place: in words, and how many bytes of files."""

    words: str
    size: int

    def __str__(self) -> str:
        return f"{self.words}: {self.size / 1e6:.1f} MB"


def clean(project: Path, keep: int, dry_run: bool = False) -> Iterator[Cleaned]:
    """Remove all but the last `keep` trainings of each stage and what goes with them, one line for each. The checkout is held meanwhile.

    Champion, previous, candidate and the last `keep` champions of the way back stay, with the data that they were trained on; so does
    what is on disk, what the heads of git's branches and its tags name, and every mark of rejection. dry_run: only look.

    Raises:
        BadInput: somebody is at work here, or a store can't be reached.
    """
    with locks.checkout_lock(project):
        data = yield from _records(project, keep, dry_run)
        files, size = cache.prune(project, keep, data, dry_run)
        yield Cleaned(f"DVC's cache: {files} files", size)
        yield from _checkpoints(project, keep, dry_run)
        yield from _prefect(project, keep, dry_run)
        if not dry_run:
            for name in ("retrainings.jsonl", "drift.jsonl"):
                _shorten(settings.home(project) / name)


def by_rule(project: Path, say: Callable[[str], object]) -> None:
    """What hae serve does after a retraining, by clean.keep in params.yaml. A fault of it is said, and is no fault of the retraining."""
    try:
        keep = params.load(project / "params.yaml").clean.keep
        for cleaned in clean(project, keep) if keep else ():
            say(f"cleaned {cleaned}")
    except BadInput as error:
        say(f"not cleaned: {error}")


def _records(project: Path, keep: int, dry_run: bool):
    """MLflow's share; returns the hashes of the data of the trainings that stay."""
    graph = versioning.read_graph(project)
    today = {facts.key for facts in retraining.facts(project, graph).values()}
    store = opened(project)
    with plainly(store.uri):
        if not dry_run:
            recovery.mend(store)  # what a killed call left: the way back is what the history says
        old = pruning.old(store, project, keep, today)
        size = pruning.size(old)
        if not dry_run:
            pruning.remove(store, old)
            if store.own_database:
                _give_back(store.own_database)
    marks = f", files of {len(old.marks)} rejected ones" if old.marks else ""
    yield Cleaned(f"MLflow: {len(old.runs)} runs, {len(old.versions)} versions{marks}", size)
    return {run.data.tags["data_hash"] for run in old.kept if "data_hash" in run.data.tags}


def _checkpoints(project: Path, keep: int, dry_run: bool) -> Iterator[Cleaned]:
    """What trainings left that were ended and never taken up again: the newest stay."""
    folders = sorted((settings.home(project) / "checkpoints").glob("*"), key=lambda path: -path.stat().st_mtime)[keep * 10 :]
    size = sum(file.stat().st_size for folder in folders for file in (folder, *folder.rglob("*")) if file.is_file())
    for folder in folders if not dry_run else ():
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    yield Cleaned(f"checkpoints: {len(folders)}", size)


def _prefect(project: Path, keep: int, dry_run: bool) -> Iterator[Cleaned]:
    """Of Prefect's own database here: runs that ended, with their tasks, logs, events and artifacts. Its server may be at work."""
    database = settings.home(project) / "prefect" / "prefect.db"
    if not database.exists():
        return
    before = database.stat().st_size
    ended = "select count(*) from flow_run where state_type in ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')"
    with plainly(f"sqlite:///{database}"), closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        old = max(connection.execute(ended).fetchone()[0] - keep, 0)
        if old and not dry_run:
            connection.execute("pragma foreign_keys = on")  # tasks and states go with their run
            connection.execute("begin immediate")
            for statement in filter(str.strip, PREFECT.split(";")):
                connection.execute(statement, {"keep": keep} if ":keep" in statement else {})
            connection.execute("commit")
    if old and not dry_run:
        _give_back(database)
    yield Cleaned(f"Prefect: {old} runs", max(before - database.stat().st_size, 0))  # opening it may fold its log in, and make it larger


def _give_back(database: Path) -> None:
    """Give a database's empty pages back to the disk, where nobody else reads it just now; else the next rows fill them."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database, timeout=2, isolation_level=None)) as connection:
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")


def _shorten(path: Path) -> None:
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
    if len(lines) > LINES:
        with written_whole(path) as partial:
            partial.write_text("".join(lines[-LINES:]))
