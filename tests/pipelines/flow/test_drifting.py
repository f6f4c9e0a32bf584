"""Drift at a retraining: new rows that are like the champion's raise nothing, shifted ones are found, kept and told."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hae.data.frames import Frames, concatenate
from pipelines.flow import drifting, versioning
from pipelines.flow.drifting import Looked
from pipelines.gate import promotion
from pipelines.record import packaging, recording
from pipelines.record.lineage import StageFacts
from pipelines.record.store import opened
from pipelines.transform import transform


def facts(trained, digest: str) -> dict[str, StageFacts]:
    return {name: StageFacts(its.command, {"data/prepared/frames": digest}, its.params)
            for name, its in trained.facts("collective").items()}


@pytest.fixture
def project(trained, monkeypatch) -> Path:
    """A trained project whose champion's data are in DVC's cache, as after a real retraining."""
    monkeypatch.setattr(packaging, "check", lambda store, version: "")
    folder = trained.folder
    versioning.read_graph(folder)
    frames = folder / "data/prepared/frames"
    inside = [{"md5": _cache(folder, path.read_bytes()), "relpath": path.name} for path in sorted(frames.iterdir())]
    digest = _cache(folder, json.dumps(inside).encode(), ".dir")
    recording.record(folder, facts(trained, digest), "first")
    assert promotion.promote(folder, facts(trained, digest)).champion
    return folder


def _cache(folder: Path, content: bytes, ending: str = "") -> str:
    """Put a file where DVC has those of its cache; gives its name there."""
    digest = hashlib.md5(content).hexdigest() + ending
    cached = folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(content)
    return digest


def add(folder: Path, change) -> None:
    """New rows: those of the table once more, a little aside, so that none is the same."""
    frames = Frames.read(folder / "data/prepared/frames")
    rng = np.random.default_rng(5)
    moved = change(frames.values + 1e-4 * rng.normal(size=frames.values.shape))
    new = replace(frames, values=moved, trajectory=np.char.add("new ", frames.trajectory))
    concatenate([frames, new]).write(folder / "data/prepared/frames")


def test_without_new_rows_there_is_nothing_to_say(project):
    assert drifting.look(project, lambda line: None) == Looked() and not (project / ".hae/drift.jsonl").exists()


def test_rows_like_the_champions_raise_nothing_and_shifted_ones_are_told(project):
    told = project / "told.txt"
    text = (project / "params.yaml").read_text()
    command = [sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"]
    (project / "params.yaml").write_text(text.replace("command:", f"command: {json.dumps(command)} #", 1))
    shutil.copytree(project / "data/prepared/frames", project / "before")
    add(project, lambda values: values)
    said = []
    store = opened(project)
    (run,) = {version.run_id for version in store.client.search_model_versions("name = 'small-table'")}
    assert drifting.look(project, said.append, [run]) == Looked("against version 1: none in 1200 rows") and not told.exists(), said
    shutil.rmtree(project / "data/prepared/frames")
    (project / "before").rename(project / "data/prepared/frames")
    add(project, lambda values: values + np.array([0, 0, 0, 0, 3.0]))
    words = drifting.look(project, said.append).words
    assert "e: its distribution moved by" in words and "level 2: the reconstruction error is" in words
    figures = store.client.get_run(run).data.metrics
    assert figures["drift/distance/e"] < 0.1 and 0.9 < figures["drift/error_2"] < 1.1 and figures["drift/beyond"] < 0.05
    lines = [json.loads(line) for line in (project / ".hae/drift.jsonl").read_text().splitlines()]
    assert [bool(line["alarms"]) for line in lines] == [False, True] and lines[1]["distance"]["e"] > 0.5 > lines[1]["distance"]["a"]
    assert told.read_text().count("its distribution moved by") == 1


def test_scored_rows_that_drift_are_told_and_kept(project, trained, tmp_path):
    table, out = trained.table(), tmp_path / "cvs.parquet"
    rng, path = np.random.default_rng(3), tmp_path / "new.csv"
    near = table.assign(**{name: table[name] + 1e-4 * rng.normal(size=len(table)) for name in "abcde"})
    near.to_csv(path, index=False)
    assert transform(project, [path], out).drift == "against version 1: none in 1200 rows"
    near.assign(e=near.e + 3).to_csv(path, index=False)
    assert "e: its distribution moved by" in transform(project, [path], out).drift
    shutil.rmtree(project / ".dvc")  # the profile of the training data is kept
    assert "level 2: the reconstruction error is" in transform(project, [path], out).drift
    entries = drifting.history(project, 9)
    assert [(entry["of"], bool(entry["alarms"])) for entry in entries] == [("transform", True), ("transform", True), ("transform", False)]
    shutil.rmtree(project / ".hae/profiles")
    assert transform(project, [path], out).drift == ""  # and without both nothing can be said


def test_training_rows_larger_than_memory_are_left_alone(project, trained, tmp_path, monkeypatch):
    table, read = tmp_path / "new.csv", []
    trained.table().to_csv(table, index=False)
    monkeypatch.setenv("HAE_MEMORY_LIMIT", "20K")  # they take 24
    monkeypatch.setattr(drifting.Frames, "read", read.append)
    said = transform(project, [table], tmp_path / "cvs.csv").drift
    assert said == "not looked at: version 1: the rows that it was trained on are larger than HAE_MEMORY_LIMIT" and not read


def test_an_alarm_that_holds_leaves_the_decision_to_a_person(project, trained):
    trained.change("drift", holds=["distribution"])
    trained.change("promote", better=0.0, worse=0.9, pca=0.9, gain=0.9)
    shutil.copytree(project / "data/prepared/frames", project / "before")
    add(project, lambda values: values + np.array([0, 0, 0, 0, 3.0]))
    looked = drifting.look(project, lambda line: None)
    assert looked.holds.startswith("the data drifted from those of version 1: e: its distribution moved by")
    assert "reconstruction error" in looked.words and "reconstruction error" not in looked.holds
    shutil.rmtree(project / "data/prepared/frames")
    (project / "before").rename(project / "data/prepared/frames")
    trained.change("train", "collective", random_state=5, max_epochs=90)
    trained.train("collective")
    digest = opened(project).client.get_model_version("small-table", "1").tags["data_hash"]
    today = facts(trained, digest)
    recording.record(project, today, "second")
    outcome = promotion.promote(project, today, objection=looked.holds)
    assert outcome.action == "held" and outcome.champion == "1" and outcome.version == "2", outcome
    assert outcome.reason.startswith(looked.holds) and "awaits approval (hae promote 2" in outcome.reason
    assert promotion.is_decided(project, today)
    assert promotion.promote_version(project, "2").champion == "2"


def test_a_line_that_was_cut_short_hides_no_other(project):
    add(project, lambda values: values)
    drifting.look(project, lambda line: None)
    with open(project / ".hae/drift.jsonl", "a") as file:
        file.write('{"at": "2026-')
    drifting.look(project, lambda line: None)
    assert len(drifting.history(project, 9)) == 2
