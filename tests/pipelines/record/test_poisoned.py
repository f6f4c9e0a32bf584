"""A model that would run code: refused by all who load one, in a process of its own, before anything of it ran."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from pipelines.gate import promotion
from pipelines.record import packaging, recording, registry
from pipelines.record.store import opened

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

# Arguments: the project, a version that is today's candidate and the one to go back to, the champion, a file that poison makes.
CHILD = """
import json, pickle, re, sys
from pathlib import Path
from pipelines import settings
project, candidate, champion, marker = Path(sys.argv[1]), *sys.argv[2:5]
settings.prepare_environment(project)
from hae.errors import BadInput
from pipelines.gate import promotion
from pipelines.record import packaging, registry
from pipelines.record.lineage import StageFacts
from pipelines.record.store import opened
from pipelines.transform import transform

store = opened(project)
runs = f"open({marker!r}, 'w')"

class Pickled:
    def __reduce__(self):
        return exec, (runs,)

def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:]

POISONS = {
    "code of the network": ("code/*/network/weights.py", lambda content: content + f"\\n{runs}\\n".encode()),
    "code of its package": ("code/*/__init__.py", lambda content: content + f"\\n{runs}\\n".encode()),
    "code of the model": ("pyfunc.py", lambda content: content + f"\\n{runs}\\n".encode()),
    "another loader": ("MLmodel", lambda content: re.sub(rb"loader_module: \\S+", b"loader_module: evil", content)),
    "a pickle for weights": ("artifacts/weights.safetensors", lambda content: pickle.dumps(Pickled())),
    "a pickle for rows": ("artifacts/check.parquet", lambda content: pickle.dumps(Pickled())),
    "a byte of the weights": ("artifacts/weights.safetensors", flipped),
    "a byte of the description": ("artifacts/about.json", flipped),
}

def folder(version):
    return Path(store.client.get_model_version(store.name, version).source.removeprefix("file://"))

def outcome(act):
    try:
        done = act()
        return f"{done.action}: {done.reason}" if hasattr(done, "action") else f"done: {done}"
    except BadInput as error:
        return f"refused: {error}"

facts = {name: StageFacts(**its) for name, its in json.loads((project / "facts.json").read_text()).items()}
table = project / "data/raw/table.csv"
ACTS = {
    candidate: {"transform": lambda: transform(project, [table], project / "cvs.csv", version=candidate),
                "promote": lambda: promotion.promote_version(project, candidate),
                "rollback": lambda: promotion.rollback(project),
                "gate": lambda: promotion.promote(project, facts)},
    champion: {"transform of the champion": lambda: transform(project, [table], project / "cvs.csv"),
               "compare": lambda: promotion.promote(project, facts)},
}
told = {}
for version, acts in ACTS.items():
    for kind, (pattern, poison) in POISONS.items():
        path = next(folder(version).glob(pattern))
        good = path.read_bytes()
        path.write_bytes(poison(good))
        assert path.read_bytes() != good, kind
        for name, act in acts.items():
            told[f"{name}, {kind}"] = [outcome(act), Path(marker).exists(), registry.champion(store).version]
        path.write_bytes(good)

# It would have run: without the look at digests it does.
packaging.checked = lambda *_: None
for name in [name for name in sys.modules if name.startswith("hae_")]:  # code of that name was loaded, whole
    del sys.modules[name]
path = next(folder(candidate).glob("code/*/network/weights.py"))
path.write_bytes(POISONS["code of the network"][1](path.read_bytes()))
packaging.load(store, candidate)
print(json.dumps([told, Path(marker).exists()]))
"""


@pytest.fixture
def two(trained_folder, recorded, database, tmp_path, monkeypatch):
    """A project, today's candidate, and another version that is champion after it."""
    folder = tmp_path / "project"
    shutil.copytree(trained_folder, folder)
    (folder / ".hae").mkdir(exist_ok=True)
    shutil.copy(database, folder / ".hae")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = type(recorded)(folder)
    facts = project.facts()
    recording.record(folder, facts, "first")
    (folder / "facts.json").write_text(json.dumps({name: vars(its) for name, its in facts.items()}))
    store = opened(folder)
    candidate = promotion._today(store, folder, facts).row.version
    (champion,) = {row.version for row in registry.rows(store)} - {candidate}
    registry.crown(store, candidate)
    registry.crown(store, champion)
    return folder, candidate, champion


def test_nothing_of_a_changed_model_runs_in_transform_gate_promote_rollback_and_compare(two, tmp_path):
    folder, candidate, champion = two
    assert packaging.load(opened(folder), candidate).version == candidate  # it is whole before
    child = subprocess.run([sys.executable, "-c", CHILD, str(folder), candidate, champion, str(tmp_path / "marker")], cwd=folder,
                           env=os.environ, capture_output=True, text=True, timeout=900)
    assert child.returncode == 0, child.stderr
    told, would_have_run = json.loads(child.stdout.splitlines()[-1])
    assert would_have_run and len(told) == 6 * 8
    for name, (outcome, ran, now) in told.items():
        assert not ran and now == champion, f"{name}: {outcome}"
        assert "has changed since it was registered: nothing of it was run" in outcome, f"{name}: {outcome}"
        assert outcome.startswith(("refused: ", "failed: ")), f"{name}: {outcome}"
