"""The door to MLflow: opened once, initialised under a lock, and its failures said in one line."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from hae.errors import BadInput
from pipelines import params, settings
from pipelines.masking import masked
from pipelines.record import backup

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Passing", "Store", "check", "elsewhere", "opened", "plainly"]

AGAIN = "move it away and run hae retrain: its last copy, champions and rejections come back, today's models are recorded anew from disk"

# A server that is away must not hold a retraining up for minutes; MLflow's own defaults are 7 retries of 120 s.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Store:
    """MLflow for one project. name: of the experiment and of the registered model. home: the project's folder .hae."""

    client: MlflowClient
    uri: str
    name: str
    experiment: str
    home: Path

    @property
    def own_database(self) -> Path | None:
        """The sqlite file that belongs to this checkout alone, or None."""
        database = _sqlite_file(self.uri)
        return database if database is not None and database.parent == self.home else None


class Passing(BadInput):
    """A fault that may pass: files away for a moment, a process killed or out of time. Nothing was measured, so nothing is decided."""


def opened(project: Path) -> Store:
    """Open the store of a project, made if it is not there yet, of its last copy where there is one.

    Raises BadInput in one line: what is no database, a server that does not answer, a disk that is full.
    """
    name = params.load(project / "params.yaml").record.model_name
    uri = settings.tracking_uri(project)
    for key, value in PATIENCE.items():
        os.environ.setdefault(key, value)
    with plainly(uri):
        database = _sqlite_file(uri)
        client = _client(uri, settings.home(project))
        experiment = client.get_experiment_by_name(name)
        if experiment is None or (database and not database.exists()):
            experiment = _first_use(client, project, name, own=not os.environ.get("MLFLOW_TRACKING_URI"))
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
    return Store(client, uri, name, experiment.experiment_id, settings.home(project))


def elsewhere(uri: str, name: str) -> Store:
    """Open the store at an address of MLflow that is no project's. A sqlite file has its artifacts beside it.

    Raises BadInput in one line: an address of no store, a server that does not answer.
    """
    if not uri.startswith(("sqlite:///", "postgresql", "mysql", "http://", "https://", "databricks")):
        raise BadInput(f"--to: {masked(uri)} is no address of a registry; allowed: sqlite:///FILE, http(s)://HOST, postgresql://...")
    for key, value in PATIENCE.items():
        os.environ.setdefault(key, value)
    database = _sqlite_file(uri)
    if database is not None:
        database = database.resolve()
        uri = f"sqlite:///{database}"
    with plainly(uri):
        home = database.parent if database is not None else Path()
        client = _client(uri, Path())
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            client.create_experiment(name, artifact_location=(home / "artifacts").as_uri() if database is not None else None)
            experiment = client.get_experiment_by_name(name)
        assert experiment is not None  # just made
    return Store(client, uri, name, experiment.experiment_id, home)


@contextmanager
def plainly(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database or the disk raise inside the block into one line of BadInput."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # MLflow wraps errors of databases, servers and disks in many types
        if not _is_outside(error):
            raise
        raise BadInput(masked(_line(uri, error))) from error


def _client(uri: str, home: Path) -> MlflowClient:
    """A client; the sqlite file behind it is set up by one process at a time (two at once break it for good)."""
    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a traceback of each error, which it raises too
    database = _sqlite_file(uri)
    if database is None:
        return mlflow.MlflowClient(uri, registry_uri=uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        if database.parent == home and not database.exists():  # before the client, which would make an empty one
            backup.take_copy_back(database, home)
        client = mlflow.MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    return client


def _first_use(client: MlflowClient, project: Path, name: str, own: bool):
    """Make the experiment. The project's own store keeps artifacts under .hae/, by an absolute address; others know their place."""
    with FileLock(settings.home(project) / "mlflow.lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            place = settings.artifact_root(project) if own else None
            client.create_experiment(name, artifact_location=place, tags={"mlflow.experimentKind": "custom_model_development"})
            experiment = client.get_experiment_by_name(name)
    return experiment


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def check(store: Store) -> None:
    """MLflow answers happily from a damaged database, so ask sqlite itself. It reads the whole file: once a retraining is enough."""
    database = _sqlite_file(store.uri)
    if database is None:
        return
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            answer = connection.execute("pragma quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:  # busy, or not ours to read
        if "locked" in str(error):
            return
        answer = str(error)
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        reason = " ".join(str(answer).replace("*", "").split())
        raise BadInput(f"{database}: the MLflow database is damaged ({reason}); {AGAIN}")


def _is_outside(error: BaseException) -> bool:
    package = type(error).__module__.split(".")[0]
    return isinstance(error, OSError | sqlite3.Error) or package in ("mlflow", "sqlalchemy", "requests", "urllib3")


def _line(uri: str, error: BaseException) -> str:
    chain: BaseException | None = error
    text = ""
    while chain is not None:
        text += f" {chain}"
        chain = chain.__cause__ or chain.__context__
    again = "models and results are kept; hae retrain writes the records without training"
    if any(word in text for word in ("No space left", "disk is full", "Disk quota", "File too large", "disk I/O error")):
        return f"MLflow at {uri}: the disk is full; {again} once there is room"
    if any(word in text for word in ("Max retries", "Connection", "timed out", "Failed to resolve", "RemoteDisconnected")):
        return f"MLflow at {uri}: the server does not answer; {again} once it is back"
    if any(word in text for word in ("malformed", "not a database", "no such table")):
        return f"MLflow at {uri}: the database is damaged; {AGAIN}"
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"MLflow at {uri}: {first.strip()[:300]}"
