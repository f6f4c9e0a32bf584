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
from pipelines.gate import promotion
from pipelines.record import packaging, recording
from pipelines.record.lineage import StageFacts


@pytest.fixture
def project(trained, monkeypatch) -> Path:
    """A trained project whose champion's data are in DVC's cache, as after a real retraining."""
    monkeypatch.setattr(packaging, "check", lambda store, version: "")
    folder = trained.folder
    versioning.read_graph(folder)
    frames = folder / "data/prepared/frames"
    inside = []
    for path in sorted(frames.iterdir()):
        inside.append({"md5": _cache(folder, path.read_bytes()), "relpath": path.name})
    digest = _cache(folder, json.dumps(inside).encode(), ".dir")
    facts = {name: StageFacts(its.command, {"data/prepared/frames": digest}, its.params)
             for name, its in trained.facts("collective").items()}
    recording.record(folder, facts, "first")
    assert promotion.promote(folder, facts).champion
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
    assert drifting.look(project, lambda line: None) == "" and not (project / ".hae/drift.jsonl").exists()


def test_rows_like_the_champions_raise_nothing_and_shifted_ones_are_told(project):
    told = project / "told.txt"
    text = (project / "params.yaml").read_text()
    command = [sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"]
    (project / "params.yaml").write_text(text.replace("command:", f"command: {json.dumps(command)} #", 1))
    shutil.copytree(project / "data/prepared/frames", project / "before")
    add(project, lambda values: values)
    said = []
    assert drifting.look(project, said.append) == "against version 1: none in 1200 rows" and not told.exists(), said
    shutil.rmtree(project / "data/prepared/frames")
    (project / "before").rename(project / "data/prepared/frames")
    add(project, lambda values: values + np.array([0, 0, 0, 0, 3.0]))
    words = drifting.look(project, said.append)
    assert "e: its distribution moved by" in words and "level 2: the reconstruction error is" in words
    lines = [json.loads(line) for line in (project / ".hae/drift.jsonl").read_text().splitlines()]
    assert [bool(line["alarms"]) for line in lines] == [False, True] and lines[1]["distance"]["e"] > 0.5 > lines[1]["distance"]["a"]
    assert told.read_text().count("its distribution moved by") == 1
