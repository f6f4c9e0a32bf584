"""The record in MLflow: what the stages left on disk is copied to runs and versions, once, however often it is called."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hae.errors import BadInput
from pipelines import paths
from pipelines.record import backup, contents, recovery, registry
from pipelines.record.curves import History
from pipelines.record.lineage import StageFacts
from pipelines.record.runs import RunWriter, continues, find, is_trained, is_whole, left_running, runs_of
from pipelines.record.store import Store, check, opened, plainly

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["Records", "complete", "initialise", "live", "record"]


@dataclass(frozen=True)
class Records:
    """runs: stage -> run id. versions: variant -> version. added: whether anything was written."""

    runs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    added: bool = False


def initialise(project: Path) -> None:
    """Make the database, the experiment and the folder if need be: once, before anything runs side by side."""
    opened(project)


@contextmanager
def live(project: Path, stage: str, facts: StageFacts, retraining: str, every: float = 5.0) -> Iterator[None]:
    """Copy a training's history to its run every few seconds while the block runs.

    The record never stops a training: what fails here is tried again later, by `record` at the latest.
    """
    copier = _Copier(project, stage, facts, retraining)
    done = threading.Event()
    thread = threading.Thread(target=copier.work, args=(done, every), name=f"record {stage}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=2)


def record(project: Path, facts: Mapping[str, StageFacts], retraining: str) -> Records:
    """Write what is missing: a run for each variant and one for the baselines, and a version for each variant.

    facts: stage ("train@collective", ..., "baseline") -> what DVC knows of it. A run is found by the key of its stage, so
    repeating changes nothing. A version is made last, of files that are in the store already.

    Raises:
        BadInput: nothing trained yet, or the store is away, damaged or full.
    """
    store, code = opened(project), None
    runs, versions, added = {}, {}, False
    with plainly(store.uri):
        check(store)
        recovery.recover(store, last=False)
        for stage, its in facts.items():
            weights = contents.weights(project, stage)
            if not weights:
                raise BadInput(f"models/{contents.folder(stage)}: nothing trained there; allowed: record after training (hae retrain)")
            run, content = find(store, its, weights), contents.everything(project, stage)
            if not is_whole(store, run, stage, content):
                code = code or contents.code(project)
                run = RunWriter(store, project, stage, its, retraining, code).write(run, weights, content)
                added = True
            runs[stage] = run.info.run_id
            if stage != "baseline":
                versions[contents.folder(stage)] = str(registry.version_of_run(store, run).version)
        _close(store, project)
    return Records(runs, versions, added)


def _close(store: Store, project: Path) -> None:
    """After all is recorded: end what a killed training left as running, bring back champions, and keep what the store knows beside it."""
    for run in left_running(store, project):
        store.client.set_terminated(run.info.run_id, "FAILED")
    recovery.recover(store)
    recovery.keep(store)
    if store.own_database:
        backup.copy_database(store.own_database, store.home)


def complete(project: Path, facts: Mapping[str, StageFacts]) -> bool:
    """Whether the records of these stages, of the files as they are on disk, are whole, and no dead run is left: a few queries."""
    store = opened(project)
    with plainly(store.uri):
        return not left_running(store, project) and all(
            is_whole(store, find(store, its, contents.weights(project, stage)), stage, contents.everything(project, stage))
            for stage, its in facts.items()
        )


class _Copier:
    """Copies a history to its run while the training writes it; belongs to one thread."""

    def __init__(self, project: Path, stage: str, facts: StageFacts, retraining: str):
        self.began = time.time()
        self.run: Run | None = None
        self.writer: RunWriter | None = None  # there before the run
        self.project, self.arguments = project, (project, stage, facts, retraining)
        self.stage, self.facts, self.path = stage, facts, project / paths.results(contents.folder(stage)) / "history.csv"
        self.left = self.seen()  # by an earlier training

    def seen(self) -> tuple[int, int] | None:
        """What tells one state of the file from another, whatever the clock is set to."""
        with suppress(FileNotFoundError):
            about = self.path.stat()
            return about.st_mtime_ns, about.st_size
        return None

    def work(self, done: threading.Event, every: float) -> None:
        last = False
        while not last:
            last = done.wait(every)
            with suppress(Exception):
                self.copy()
        if self.run is not None and not contents.weights(self.project, self.stage):  # it ended without a model
            assert self.writer is not None  # it made the run
            with suppress(Exception):
                self.writer.store.client.set_terminated(self.run.info.run_id, "FAILED")

    def copy(self) -> None:
        if self.seen() in (None, self.left):
            return
        if self.writer is None:
            store = opened(self.project)
            if any(is_trained(run) for run in runs_of(store, self.facts)):
                return  # trained again to the same key: `record` will say whether it is the same model
            self.writer = RunWriter(store, *self.arguments, contents.code(self.project))
        client, history = self.writer.store.client, History.read(self.path)
        if self.run is None:
            self.run = find(self.writer.store, self.facts, weights="")
            if self.run is not None:
                client.update_run(self.run.info.run_id, status="RUNNING")
        if self.run is not None and not continues(self.run, history):
            client.delete_run(self.run.info.run_id)
            self.run = None
        self.run = self.writer.begin(self.run, self.began)
        self.run = self.writer.copy(self.run, history)
