"""Old trainings leave MLflow: which ones may, and how they go, with their versions, models and files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipelines import settings
from pipelines.record import recovery, registry
from pipelines.record.runs import PLACE
from pipelines.record.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Old", "old", "remove", "size"]

CLEANED = "cleaned"  # tag of a rejected version whose files went: its mark stays


@dataclass(frozen=True)
class Old:
    """What may go. marks: rejected versions, of which only the files go. kept: the runs that stay."""

    runs: tuple[Run, ...]
    versions: tuple[ModelVersion, ...]
    marks: tuple[ModelVersion, ...]
    kept: tuple[Run, ...]


def old(store: Store, project: Path, keep: int, today: Collection[str] = ()) -> Old:
    """What nobody needs: of every stage the last `keep` trainings stay, of the way back the last `keep` champions.

    Champion, previous and candidate stay, and what is on disk now (`today`: keys of its stages). In a store that others use, only
    what this checkout wrote may go.
    """
    mine = _runs(store, project)
    versions = registry.versions(store)
    rows = {row.version: row for row in registry.rows(store)}
    stay = {row.version for row in rows.values() if row.aliases} | set(registry.way_back(store)[-keep:])
    number = {version.run_id: int(version.version) for version in versions}
    by_stage = defaultdict(list)
    for run in sorted(mine, key=lambda run: -number.get(run.info.run_id, 0)):  # newest first; clocks are set back, versions count on
        by_stage[run.data.tags.get("stage", "")].append(run)
    fresh = {run.info.run_id for runs in by_stage.values() for run in runs[:keep]}
    fresh |= {run.info.run_id for run in mine if run.data.tags.get("key") in today or run.info.status == "RUNNING"}
    own = {run.info.run_id for run in mine}
    fresh |= {version.run_id for version in versions if str(version.version) in stay}
    keys = {run.data.tags.get("key") for run in mine if run.info.run_id in fresh}  # a version that came back knows its run by its key alone
    going = [version for version in versions if str(version.version) not in stay and version.run_id not in fresh
             and (version.run_id in own or (not version.run_id and store.own_database and version.tags.get("key") not in keys))]
    marks = tuple(version for version in going if rows[str(version.version)].rejected and CLEANED not in version.tags)
    return Old(
        runs=tuple(run for run in mine if run.info.run_id not in fresh),
        versions=tuple(version for version in going if not rows[str(version.version)].rejected),
        marks=marks,
        kept=tuple(run for run in mine if run.info.run_id in fresh),
    )


def _runs(store: Store, project: Path) -> list[Run]:
    """All runs that this checkout wrote, newest first."""
    own = "" if store.own_database else f"tags.{PLACE} = '{settings.place(project)}'"
    found: list[Run] = []
    token = None
    while True:
        page = store.client.search_runs([store.experiment], own, max_results=1000, page_token=token, order_by=["start_time DESC"])
        found += page
        token = page.token
        if not token:
            return found


def remove(store: Store, what: Old) -> None:
    """Take it out: versions first, so that none is ever left without its run; then what is in the trash, where the database is our own.

    Safe to be killed and called again. Elsewhere `mlflow gc` of the server takes out what is in the trash.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    def files(place: str | None) -> None:
        if place:
            get_artifact_repository(place, tracking_uri=store.uri).delete_artifacts()

    for version in what.marks:
        files(version.source)
        store.client.set_model_version_tag(store.name, version.version, CLEANED, "its files are gone, its mark stays")
    for version in what.versions:
        store.client.delete_model_version(store.name, version.version)
        files(version.source)
    for run in what.runs:
        for model in store.client.search_logged_models([store.experiment], f"source_run_id = '{run.info.run_id}'"):
            store.client.delete_logged_model(model.model_id)
        store.client.delete_run(run.info.run_id)
    recovery.keep(store)
    if store.own_database:
        _empty_trash(store, files)


def _empty_trash(store: Store, files) -> None:
    """What `mlflow gc` does, for runs of ours and for models: rows and files of what was deleted."""
    from mlflow.entities import ViewType

    backend = store.client._tracking_client.store  # as mlflow gc: the public client can't
    for run in store.client.search_runs([store.experiment], run_view_type=ViewType.DELETED_ONLY, max_results=10000):
        if "key" in run.data.tags:
            files(run.info.artifact_uri)
            backend._hard_delete_run(run.info.run_id)
    for model in backend._get_deleted_logged_models():
        files(backend.get_logged_model(model, allow_deleted=True).artifact_location)
        backend._hard_delete_logged_model(model)


def size(what: Old) -> int:
    """Bytes of the files that would go, as far as they lie on this machine."""
    places = [*(version.source for version in (*what.versions, *what.marks)), *(run.info.artifact_uri for run in what.runs)]
    folders = {Path(unquote(urlsplit(place).path)) for place in places if place.startswith("file:")}
    return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file())
