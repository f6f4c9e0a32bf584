"""hae doctor: a healthy project has nothing wrong; each kind of harm is found, with its mend, and the safe mends are done."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from commanding import hae

from pipelines import locks, processes, settings
from pipelines.record import registry
from pipelines.record.store import opened
from pipelines.upkeep import doctor as of_doctor
from pipelines.upkeep import machine
from pipelines.upkeep.doctor import doctor
from pipelines.upkeep.finding import Finding


@pytest.fixture
def project(recorded, tmp_path, monkeypatch) -> Path:
    """A recorded project to spoil. The files of its versions are copies too: others read the original's at this moment."""
    folder = Path(shutil.copytree(recorded.folder, tmp_path / "project"))
    with closing(sqlite3.connect(folder / ".hae" / "mlflow.db")) as database, database:
        for column in ("source", "storage_location"):
            database.execute(f"update model_versions set {column} = replace({column}, ?, ?)", (str(recorded.folder), str(folder)))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in machine.OFF:  # put back at the end of the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    settings.prepare_environment(folder)
    return folder


def wrong(project: Path, mend: bool = False) -> dict[str, str]:
    """What is wrong, by the name of the check."""
    return {finding.what: str(finding) for finding in doctor(project, mend) if finding.wrong}


def test_a_healthy_project_has_nothing_wrong(project):
    found = list(doctor(project))
    assert not [finding for finding in found if finding.wrong]
    assert {"python", "packages", "gpu", "disk", "modes", "clock", "telemetry", "locks", "mlflow"} <= {finding.what for finding in found}
    assert any("version" in finding.words and "is champion" in finding.words for finding in found if finding.what == "mlflow")


def test_what_is_open_to_others_is_closed(project):
    key = project / ".hae" / "prefect-auth"
    settings.key(project)
    key.chmod(0o644)
    assert f"chmod 600 {key}" in wrong(project)["modes"]
    assert not wrong(project, mend=True) and key.stat().st_mode & 0o777 == 0o600


def test_an_alias_that_somebody_deleted_is_back_after_mending(project):
    store = opened(project)
    champion = registry.champion(store).version
    registry.point(store, "champion", None)
    assert "the alias champion was gone" in wrong(project)["mlflow"]
    assert not wrong(project, mend=True)
    assert registry.aliases(store)["champion"] == champion


def test_a_run_that_nobody_runs_is_ended(project):
    store = opened(project)
    run = store.client.create_run(store.experiment)
    assert "1 runs say RUNNING" in wrong(project)["mlflow"]
    assert not wrong(project, mend=True)
    assert store.client.get_run(run.info.run_id).info.status == "FAILED"


def test_files_of_a_version_that_changed_are_found_and_not_mended(project):
    store = opened(project)
    row = registry.versions(store)[0]
    weights = Path(row.source.removeprefix("file://")) / "artifacts" / "weights.safetensors"
    assert weights.is_relative_to(project)
    weights.write_bytes(weights.read_bytes() + b"!")
    assert f"versions {row.version}: not the files" in wrong(project, mend=True)["mlflow"]


def test_garbage_for_a_database_is_said_with_its_mend(project):
    database = project / ".hae" / "mlflow.db"
    database.write_bytes(b"garbage" * 1000)
    assert "move it away and run hae retrain" in wrong(project)["mlflow"]


def test_what_a_killed_retraining_left_is_ended(project):
    nobody = subprocess.Popen(["true"])
    nobody.wait()
    environment = {"PREFECT_HOME": str(project / ".hae" / "prefect"), "HAE_PARENT": f"{nobody.pid} 0"}
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=os.environ | environment)
    held = project / ".dvc" / "tmp" / "rwlock"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(json.dumps({"write": {"/file": {"pid": nobody.pid, "cmd": "- dvc repro"}}}))
    (project / ".hae" / "lock.holder").write_text(f"process {nobody.pid} since yesterday: hae retrain\n")
    try:
        found = wrong(project)
        assert str(left.pid) in found["processes"] and "rwlock" in found["locks"] and "lock.holder" in found["locks"]
        assert not wrong(project, mend=True)
        assert left.wait(10) == -9 and not held.exists()
    finally:
        left.kill()
        left.wait()


def test_locks_of_the_living_are_not_wrong(project):
    with processes.only_one(project):
        assert "locks" not in wrong(project) and "mlflow" not in wrong(project)


def test_a_clock_that_was_set_back_is_found(project):
    path = project / ".hae" / "registry.json"
    ahead = time.time() + 3600
    os.utime(path, (ahead, ahead))
    assert "the clock stands" in wrong(project)["clock"]


def test_params_servers_and_telemetry(project, monkeypatch):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("targets: []", "targets: [NOBODY_SET_THIS]"))
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    found = wrong(project)
    assert "NOBODY_SET_THIS not set" in found["params"] and "DO_NOT_TRACK=true" in found["telemetry"]
    assert "does not answer" in found["servers"] and "secret" not in found["servers"]
    path.write_text(path.read_text().replace("n_seeds", "n_sedes", 1))
    assert "train.collective.n_sedes: no such key" in wrong(project)["params"]


def test_packages_that_are_missing_or_of_another_version(project, monkeypatch, tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# tested\nclick==0.0.1\nfilelock==0.0.1\n")
    monkeypatch.setattr(machine, "CONSTRAINTS", constraints)
    found = [finding for finding in doctor(project) if finding.what == "packages"]
    assert ["2 of other versions than were tested together: click" in finding.words for finding in found] == [True]
    assert not found[0].wrong and found[0].mend
    monkeypatch.setattr(machine.metadata, "requires", lambda name: ["click>=8", "no-such-package>=2", 'mdtraj>99; extra == "md"'])
    assert "no-such-package missing (needs >=2), mdtraj" in wrong(project)["packages"]


def test_dvc_lock_with_conflict_marks(project):
    from pipelines.flow import versioning

    versioning.read_graph(project)
    (project / "dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n")
    assert "git checkout --ours dvc.lock" in wrong(project)["dvc"]


def test_the_exit_code_says_whether_something_is_wrong(project):
    (project / ".hae" / "prefect-auth").write_text("hae:open\n")
    (project / ".hae" / "prefect-auth").chmod(0o666)
    told = hae("doctor", folder=project)
    assert told.returncode == 1 and "WRONG  modes" in told.stdout and "; mend: chmod 600" in told.stdout
    told = hae("doctor", "--mend", folder=project)
    assert told.returncode == 0 and "WRONG" not in told.stdout, told.stdout + told.stderr


def test_a_mend_that_has_to_wait_ends_nothing(tmp_path, monkeypatch):
    """What a killed retraining left is mended by whoever holds the checkout, and another retraining may hold it."""
    def busy():
        raise locks.Busy("another hae is at work here already")

    def gone():
        raise PermissionError(1, "Operation not permitted")

    left = [Finding("left of a killed retraining: 7", wrong=True, mend="--mend", safe=busy), Finding("open", wrong=True, safe=gone)]
    monkeypatch.setattr(of_doctor, "CHECKS", {"processes": lambda project: left, "dvc": lambda project: [Finding("all well")]})
    found = list(doctor(tmp_path, mend=True))
    assert [finding.wrong for finding in found] == [True, True, False]
    assert "--mend (not now: another hae is at work here already)" in str(found[0]) and "Operation not permitted" in str(found[1])
