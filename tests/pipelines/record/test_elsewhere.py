"""hae copy: what arrives in another registry is what left, once, with its receipt; and it can be champion there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hae.errors import BadInput
from pipelines.gate import promotion
from pipelines.record import packaging, registry
from pipelines.record.elsewhere import copy
from pipelines.record.store import elsewhere, opened


@pytest.fixture
def target(database, tmp_path) -> str:
    """An empty registry, as of a production that begins."""
    shutil.copy(database, tmp_path / "production.db")
    return f"sqlite:///{tmp_path / 'production.db'}"


def versions(uri: str, name: str = "small-table") -> list:
    return registry.versions(elsewhere(uri, name))


def test_a_version_arrives_with_its_files_and_its_receipt(recorded, target, tmp_path):
    source = opened(recorded.folder)
    old = registry.champion(source)
    done = copy(recorded.folder, "champion", target)
    assert done.made and done.version == "1" and "each file has the digest" in str(done)
    there = elsewhere(target, "small-table")
    (new,) = registry.versions(there)
    assert new.tags["files"] == source.client.get_model_version(source.name, old.version).tags["files"]
    assert new.tags["copied_from"] == f"small-table version {old.version} at {source.uri}" and not new.aliases
    rows = packaging.load(source, old.version).rows
    assert np.array_equal(packaging.load(there, "1").encode(rows), packaging.load(source, old.version).encode(rows))
    run, before = there.client.get_run(new.run_id), source.client.get_run(old.run_id)
    assert (run.data.params, run.data.metrics) == (before.data.params, before.data.metrics) and run.info.status == "FINISHED"
    receipts = [Path(store.client.download_artifacts(of, "receipt/receipt.json", str(tmp_path / of)))
                for store, of in ((source, old.run_id), (there, new.run_id)) if (tmp_path / of).mkdir() is None]
    assert receipts[0].read_bytes() == receipts[1].read_bytes() and json.loads(receipts[0].read_text())["key"] == old.key


def test_copied_twice_it_is_there_once_and_files_that_are_lost_are_brought_again(recorded, target):
    assert copy(recorded.folder, "champion", target).made
    assert not copy(recorded.folder, "champion", target).made and len(versions(target)) == 1
    assert copy(recorded.folder, "champion", target, "other").made and len(versions(target, "other")) == 1
    shutil.rmtree(versions(target)[0].source.removeprefix("file://"))
    assert copy(recorded.folder, "champion", target).version == "2"


def test_a_copy_that_is_ended_leaves_no_version_and_the_next_one_no_run(recorded, target, monkeypatch):
    def end(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packaging.importlib, "invalidate_caches", end)
        patch.setattr("pipelines.record.digests.digests", end)
        copy(recorded.folder, "champion", target)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mlflow.MlflowClient.finalize_logged_model", end)
        copy(recorded.folder, "champion", target)
    there = elsewhere(target, "small-table")
    assert not registry.versions(there) and len(there.client.search_runs([there.experiment])) == 1
    assert copy(recorded.folder, "champion", target).made
    assert [run.info.status for run in there.client.search_runs([there.experiment])] == ["FINISHED"]


def test_it_can_be_champion_there(recorded, target, trained_folder, tmp_path, monkeypatch):
    copy(recorded.folder, "champion", target)
    folder = tmp_path / "production"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(trained_folder / name, folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", target)
    monkeypatch.setattr(packaging, "check", lambda store, version: "")  # in a process of its own: tests/pipelines/record/test_packaging.py
    assert promotion.promote_version(folder, "1").champion == "1"
    assert registry.status(folder).champion.version == "1"


def test_what_can_not_be_copied_is_one_line(recorded, target, tmp_path):
    source = opened(recorded.folder)
    for which, uri, words in (
        ("99", target, r"no version 99; allowed: champion, candidate, previous or a number \(2, 1\)"),
        ("champion", source.uri, "is where it is; allowed: another registry, or another name"),
        ("champion", str(tmp_path / "file.db"), "is no address of a registry; allowed: sqlite:///FILE"),
        ("champion", "http://someone:secret@127.0.0.1:9", "the server does not answer"),
    ):
        with pytest.raises(BadInput, match=words) as refused:
            copy(recorded.folder, which, uri)
        assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


def test_files_that_arrive_changed_are_no_version(recorded, target, monkeypatch):
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    whole = LocalArtifactRepository.log_artifacts

    def spoil(self, local_dir, artifact_path=None):
        if (Path(local_dir) / "MLmodel").exists():
            (Path(local_dir) / "MLmodel").write_text("spoilt")
        return whole(self, local_dir, artifact_path)

    monkeypatch.setattr(LocalArtifactRepository, "log_artifacts", spoil)
    with pytest.raises(BadInput, match="MLmodel has changed since it was registered"):
        copy(recorded.folder, "champion", target)
    assert not versions(target)
