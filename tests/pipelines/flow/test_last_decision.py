"""The last decision, kept: a look that finds nothing changed asks no registry, and one that finds anything changed does."""

import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from hae.version import __version__
from pipelines.flow import last_decision
from pipelines.gate import promotion

SEEN = """
import sys, pickle
from pathlib import Path
from pipelines.flow import last_decision
outcome = last_decision.seen(Path(sys.argv[1]), pickle.load(sys.stdin.buffer))
print(outcome.action, [name for name in ("mlflow", "torch", "pandas") if name in sys.modules])
"""


@pytest.fixture
def decided(recorded, tmp_path, monkeypatch):
    """A copy of a project that was recorded and decided, with the decision kept; and the facts of its stages."""
    folder = shutil.copytree(recorded.folder, tmp_path / "project")
    monkeypatch.chdir(folder)
    facts = type(recorded)(folder).facts()
    last_decision.keep(folder, facts)
    return folder, facts


def test_what_is_kept_is_what_the_registry_says(decided):
    folder, facts = decided
    assert last_decision.seen(folder, facts) == promotion.standing(folder, facts)[0]
    assert last_decision.seen(folder, facts).action == "nothing new"


def test_a_look_at_it_loads_neither_mlflow_nor_torch(decided):
    folder, facts = decided
    told = subprocess.run([sys.executable, "-c", SEEN, str(folder)], input=pickle.dumps(facts), capture_output=True, check=True)
    assert told.stdout.decode() == "nothing new []\n"


def move_alias(folder):
    with closing(sqlite3.connect(folder / ".hae/mlflow.db")) as database:
        database.execute("delete from registered_model_aliases")
        database.commit()


def alter(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGES = {
    "the registry": move_alias,
    "the database is gone": lambda folder: (folder / ".hae/mlflow.db").unlink(),
    "what is kept beside it": lambda folder: (folder / ".hae/registry.json").unlink(),
    "a rule": lambda folder: alter(folder / "params.yaml", "promote:", "promote: # by other rules"),
    "results": lambda folder: alter(folder / "results/variants/boosted/metrics.json", "{", "{ "),
    "weights": lambda folder: next((folder / "models/collective").iterdir()).write_bytes(b"others"),
    "the data": lambda folder: alter(folder / "data/prepared/frames/manifest.json", "{", "{ "),
    "this program": lambda folder: alter(folder / ".hae/last-decision.json", f'"{__version__}"', '"0.0.1"'),
    "a registered file": lambda folder: alter(folder / ".hae/last-decision.json", '"code/', '"another/'),
    "a file cut short": lambda folder: os.truncate(folder / ".hae/last-decision.json", 9),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_the_registry_is_asked_again(decided, what):
    folder, facts = decided
    assert last_decision.seen(folder, facts) is not None
    CHANGES[what](folder)
    assert last_decision.seen(folder, facts) is None


def test_another_stage_or_another_registry_is_asked(decided, monkeypatch):
    folder, facts = decided
    assert last_decision.seen(folder, {"baseline": facts["baseline"]}) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert last_decision.seen(folder, facts) is None
    last_decision.keep(folder, facts)  # asks nobody
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert json.loads((folder / ".hae/last-decision.json").read_text()) and last_decision.seen(folder, facts) is not None
