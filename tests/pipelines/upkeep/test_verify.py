"""hae verify: a fresh version is true in all, what changed since is named, and trained again it is the same to the last bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hae.errors import BadInput
from pipelines.flow import versioning
from pipelines.gate import promotion
from pipelines.record import packaging, recording, registry
from pipelines.record.store import opened
from pipelines.upkeep.verify import verify


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(run_project):
    """A project under git, known to DVC, recorded with a line of code uncommitted, its first version champion."""
    folder = run_project()
    git(folder, "init", "-q")
    git(folder, "add", "params.yaml", "dvc.yaml")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "dvc.yaml").write_text((folder / "dvc.yaml").read_text() + "# a line more\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
        patch.setattr(packaging, "check", lambda store, version: "")
        facts = {"train@collective": versioning.stage_facts(folder, "train@collective")}
        recording.record(folder, facts, "first")
        registry.crown(opened(folder), "1")
        assert promotion.registry.champion(opened(folder)).version == "1"
    return folder


def verdicts(folder: Path, *arguments, **options) -> dict[str, list[str]]:
    """What -> its verdicts and words."""
    found: dict[str, list[str]] = {}
    for checked in verify(folder, *arguments, **options):
        found.setdefault(checked.what, []).append(f"{checked.verdict}: {checked.words}")
    return found


def test_a_fresh_version_is_true_in_all(made):
    found = verdicts(made)
    differs = [words for lines in found.values() for words in lines if words.startswith("differs")]
    assert not differs, found
    for what in ("model", "key", "params", "weights", "seeds", "code", "patch", "inputs", "settings", "packages"):
        assert all(words.startswith("true") for words in found[what]), (what, found[what])
    assert found["untracked"][0].startswith("can't be told")


@pytest.mark.timeout(600)
def test_trained_again_in_a_clean_clone_it_is_the_same_to_the_last_bit(made):
    found = verdicts(made, "1", rebuild=True)
    assert found["weights"][-1] == "true: the same to the last bit"
    assert "in a clean clone of commit" in found["rebuilt"][0] and "and its patch" in found["rebuilt"][0]


def test_what_changed_since_is_named(made, monkeypatch):
    path = made / "params.yaml"
    text = path.read_text()
    monkeypatch.setattr("pipelines.upkeep.verify.lineage.packages", lambda: {"numpy": "0.0.1"})
    try:
        path.write_text(text.replace("max_epochs: 60", "max_epochs: 61", 1))
        found = verdicts(made)
    finally:
        path.write_text(text)
    assert "max_epochs: 60 -> 61" in found["settings"][0] and found["settings"][0].startswith("differs")
    assert "-> 0.0.1" in found["packages"][0] and found["packages"][0].startswith("differs")


def test_a_receipt_that_was_changed_is_found(made):
    store = opened(made)
    run = registry.champion(store).run_id
    folder = Path(store.client.get_run(run).info.artifact_uri.removeprefix("file://")) / "receipt"
    kept = (folder / "receipt.json").read_text()
    said = json.loads(kept)
    try:
        (folder / "receipt.json").write_text(json.dumps(said | {"params": {"train.collective": {"n_cvs": 3}}, "random_state": 7}))
        found = verdicts(made)
        assert found["key"][0].startswith("differs") and found["params"][0].startswith("differs")
        assert found["seeds"][0] == "differs: random_state 7, in its params None"
        (folder / "receipt.json").unlink()
        with pytest.raises(BadInput, match="its receipt can't be read"):
            verdicts(made)
    finally:
        (folder / "receipt.json").write_text(kept)


def test_data_that_are_nowhere_can_not_be_trained_on(made):
    digest = versioning.stage_facts(made, "train@collective").dependencies["data/prepared/frames"]
    cached = made / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    away = cached.with_name("away")
    cached.rename(away)
    try:
        assert "neither in git nor in DVC's cache: data/prepared/frames" in verdicts(made, rebuild=True)["rebuilt"][-1]
    finally:
        away.rename(cached)


def test_no_such_version_is_one_line(made):
    with pytest.raises(BadInput, match=r"no version 9; allowed: champion, candidate, previous or a number \(1\)"):
        verdicts(made, "9")
