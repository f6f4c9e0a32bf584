"""Every write of a retraining to its records, counted; the one that is asked for raises an error, or kills the process."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import pytest

__all__ = ["CHILDREN", "Died", "act", "act_and_be_killed", "writes"]

# One process imports all of it and is forked for every child that is killed.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["mlflow", "hae.estimator", "pipelines.gate.promotion"])

READS = ("get_", "search_", "list_", "download_", "load_", "tracking_uri")


class Died(Exception):
    """What the write that is asked for raises."""


@contextmanager
def writes(fatal: int | None = None, kill: bool = False) -> Iterator[list[str]]:
    """The names of the writes in the block, in order: all that MlflowClient has but its reads, uploads, and the files beside the store.

    fatal: the number (from 1) of the one before which the process dies, or, without `kill`, Died is raised.
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    from pipelines.record import backup

    seen: list[str] = []

    def counted(function):
        @wraps(function)
        def write(*arguments, **named):
            seen.append(function.__name__)
            if len(seen) == fatal and kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if len(seen) == fatal:
                raise Died(f"write {fatal}, {function.__name__}")
            return function(*arguments, **named)

        return write

    with pytest.MonkeyPatch.context() as patch:
        for name in dir(MlflowClient):
            if not name.startswith(("_", *READS)):
                patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        for place, name in ((LocalArtifactRepository, "log_artifacts"), (backup, "keep"), (backup, "copy_database")):
            patch.setattr(place, name, counted(getattr(place, name)))
        yield seen


def act(folder: Path, facts: dict, what: str) -> None:
    """What `hae retrain` does after training, or `hae rollback`. Models are taken as they load here, without a process of their own."""
    from pipelines.gate import promotion
    from pipelines.record import contents, packaging, recording
    from pipelines.record.lineage import Code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "code", lambda project: Code("c0ffee", "a patch", ("new.py",)))  # of any checkout: as many writes
        patch.setattr(packaging, "check", lambda store, version: packaging.load(store, version) and "")
        if what == "rollback":
            promotion.rollback(folder)
        else:
            recording.record(folder, facts, what)
            promotion.promote(folder, facts)


def act_and_be_killed(folder: Path, facts: dict, what: str, fatal: int) -> None:
    """For a process of its own."""
    os.chdir(folder)
    with writes(fatal, kill=True):
        act(folder, facts, what)
