"""hae copy: a version with its receipt, from this registry into another; what arrives has the digests of what left."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hae.errors import BadInput
from pipelines.masking import masked
from pipelines.record import claim, digests, packaging, registry
from pipelines.record.runs import INHERITED, WEIGHTS
from pipelines.record.store import Store, elsewhere, opened, plainly

__all__ = ["Copied", "copy"]

COPIED = "copied_from"  # tag of a version and of its run: where it comes from
OF_VERSION = (*INHERITED, WEIGHTS, "n_cvs", "matching", digests.TAG)


@dataclass(frozen=True)
class Copied:
    """What became of a copy. version: its number in the other registry. made: whether it was not there before."""

    version: str
    name: str
    uri: str
    made: bool

    def __str__(self) -> str:
        return f"version {self.version} of {self.name} at {masked(self.uri)}: " + (
            "each file has the digest of its registration" if self.made else "it was there already, with the same digests")


def copy(project: Path, which: str, uri: str, name: str | None = None) -> Copied:
    """Copy a version, a number or an alias, with its run and receipt to the registry at another address of MLflow. It has no alias there.

    name: of the model there; default: its own. Copied twice, it is there once; a copy that was ended leaves no version.

    Raises:
        BadInput: no such version, one that was taken back, files that are not those that were registered, a registry that can't be
            reached, or the registry that it is in.
    """
    source = opened(project)
    with plainly(source.uri):
        row = registry.named(source, which)
        if row.rejected:
            raise BadInput(f"{source.name} version {row.version} was taken back: {row.rejected}; allowed: one that was not")
        version = source.client.get_model_version(source.name, row.version)
    with tempfile.TemporaryDirectory() as temporary:
        with plainly(source.uri):
            files, receipt = packaging.fetch(source, row.version, Path(temporary) / "model"), _receipt(source, row, Path(temporary))
        target = elsewhere(uri, name or source.name)
        if (target.uri, target.name) == (source.uri, source.name):
            raise BadInput(f"--to: {masked(uri)} is where it is; allowed: another registry, or another name")
        tags = {tag: version.tags[tag] for tag in OF_VERSION if tag in version.tags}
        tags[COPIED] = masked(f"{source.name} version {row.version} at {source.uri}")
        with plainly(target.uri):
            there = _there(target, tags)
            if there is not None:
                return Copied(there, target.name, target.uri, made=False)
            return Copied(_write(source, target, row, tags, files, receipt), target.name, target.uri, made=True)


def _receipt(source: Store, row: registry.VersionRow, folder: Path) -> Path:
    try:
        return Path(source.client.download_artifacts(row.run_id, "receipt", str(folder)))
    except Exception as error:  # of any store: gone, or no run
        raise BadInput(f"{source.name} version {row.version}: its receipt can't be read ({type(error).__name__}); allowed: a version whose "
                       "run is there") from None


def _there(target: Store, tags: dict[str, str]) -> str | None:
    """The number of the same training there, whole; one whose files are not counts as none."""
    same = (version for version in registry.versions(target)
            if all(version.tags.get(tag) == tags.get(tag) for tag in ("key", WEIGHTS, digests.TAG)))
    return next((str(version.version) for version in same if packaging.intact(target, version)), None)


def _write(source: Store, target: Store, row: registry.VersionRow, tags: dict[str, str], files: Path, receipt: Path) -> str:
    """Run, files, and once they are there as they left, the version: its number."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client, old = target.client, source.client.get_run(row.run_id)
    for left in client.search_runs([target.experiment], f"tags.key = '{row.key}' and attributes.status = 'RUNNING'"):
        if left.data.tags.get(COPIED) == tags[COPIED]:  # of a copy that was ended
            client.delete_run(left.info.run_id)
    kept = {tag: value for tag, value in old.data.tags.items() if not tag.startswith("mlflow.log-model")} | {COPIED: tags[COPIED]}
    run = client.create_run(target.experiment, start_time=old.info.start_time, run_name=old.info.run_name, tags=kept)
    run_id = run.info.run_id
    for key, value in old.data.params.items():
        client.log_param(run_id, key, value)
    for key, number in old.data.metrics.items():
        client.log_metric(run_id, key, number)
    client.log_artifacts(run_id, str(receipt), "receipt")
    model = client.create_logged_model(target.experiment, row.variant, run_id, {"variant": row.variant}, dict(old.data.params))
    repository = get_artifact_repository(model.artifact_location, tracking_uri=target.uri)
    repository.log_artifacts(str(files))
    with tempfile.TemporaryDirectory() as temporary:
        arrived = Path(repository.download_artifacts("", dst_path=temporary))
        digests.cleaned_and_checked(arrived, tags, f"{target.name}, as it arrived")
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id, "FINISHED", end_time=old.info.end_time)
    if not client.search_registered_models(f"name = '{target.name}'"):
        claim.made(target, target.name)
    made = client.create_model_version(target.name, model.artifact_location, run_id, tags, model_id=model.model_id)
    return str(made.version)
