"""The record: whole, once, live while training runs, and one clear line where it can't be written."""

import json
import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from waiting import wait_until

from hae.errors import BadInput
from pipelines.record import recording, registry
from pipelines.record.store import opened


def runs_of(project) -> dict:
    store = opened(project.folder)
    return {run.data.tags["stage"]: run for run in store.client.search_runs([store.experiment])}


def artifacts_of(project, run) -> set[str]:
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def everything_in(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        return {table: connection.execute(f'select count(*) from "{table}"').fetchone()[0] for table in tables}


def test_a_run_for_each_variant_and_the_baselines_holds_all_there_is(recorded):
    runs = runs_of(recorded)
    assert set(runs) == {"train@collective", "train@boosted", "baseline"}
    assert {run.data.tags["retraining"] for run in runs.values()} == {"first"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    run, folder = runs["train@boosted"], recorded.folder / "results/variants/boosted"
    assert run.data.params["hidden"] == "[12]" and run.data.params["n_cvs"] == "2"
    final = json.loads((folder / "metrics.json").read_text())
    assert {name: run.data.metrics.get(name, run.data.tags.get(name)) for name in final} == final  # words are tags
    assert "CV1" in run.data.tags["mlflow.note.content"]  # the verdicts in a sentence
    assert run.inputs.dataset_inputs[0].dataset.digest == recorded.facts()["train@boosted"].dependencies["data/prepared/frames"]
    held = artifacts_of(recorded, run)
    assert {"results/levels.csv", "report/table.csv", "report/fve.svg", "receipt/receipt.json", "receipt/params.yaml"} <= held


def test_the_curves_hold_every_epoch_of_every_level(recorded):
    store, run = opened(recorded.folder), runs_of(recorded)["train@collective"]
    history = pd.read_csv(recorded.folder / "results/variants/collective/history.csv")
    for name in ("train_error_1", "train_error_2", "validation_error_1", "validation_error_2", "learning_rate"):
        for member, rows in history.groupby("member"):
            curve = store.client.get_metric_history(run.info.run_id, f"member_{member}/{name}")
            assert [(point.step, point.value) for point in curve] == list(zip(rows["epoch"], rows[name]))
    of_model = [point.value for point in store.client.get_metric_history(run.info.run_id, "validation_error_2")]
    assert any(of_model == rows["validation_error_2"].to_list() for _, rows in history.groupby("member"))


def test_a_version_says_what_made_it(recorded):
    store = opened(recorded.folder)
    version = next(version for version in registry.versions(store) if version.tags["variant"] == "boosted")
    facts = recorded.facts()["train@boosted"]
    assert version.tags["data_hash"] == facts.dependencies["data/prepared/frames"]
    assert version.tags["params_hash"] == facts.params_hash and version.tags["key"] == facts.key and version.tags["git_commit"]


def test_recording_twice_is_recording_once(recorded):
    assert recording.complete(recorded.folder, recorded.facts())
    before = everything_in(recorded.folder / ".hae/mlflow.db")
    records = recording.record(recorded.folder, recorded.facts(), "second")
    assert not records.added and everything_in(recorded.folder / ".hae/mlflow.db") == before


def test_an_evaluation_that_changed_is_recorded_again_without_a_new_run_or_version(trained):
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "first")
    metrics = trained.folder / "results/variants/collective/metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"fve_1": 0.25}))
    assert not recording.complete(trained.folder, facts)
    records = recording.record(trained.folder, facts, "second")
    runs = runs_of(trained)
    assert records.added and records.versions == {"collective": "1"} and len(runs) == 2
    assert runs["train@collective"].data.metrics["fve_1"] == 0.25 and runs["train@collective"].data.tags["retraining"] == "first"
    assert recording.complete(trained.folder, facts)


def test_a_deleted_database_is_written_anew_without_training(trained):
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "first")
    before, weights = runs_of(trained), (trained.folder / "models/collective/weights.safetensors").stat().st_mtime_ns
    (trained.folder / ".hae/mlflow.db").unlink()
    # MLflow keeps a database open for the life of a process, so the next call is another process, as it is for people.
    script = "import sys, pickle; from pathlib import Path; from pipelines.record import recording\n" \
             "print(recording.record(Path.cwd(), pickle.load(sys.stdin.buffer), 'second').versions)"
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(facts), cwd=trained.folder, capture_output=True)
    assert done.stdout.decode().strip() == "{'collective': '1'}", done.stderr.decode()
    with closing(sqlite3.connect(trained.folder / ".hae/mlflow.db")) as connection:
        found = dict(connection.execute("select key, count(*) from metrics group by key"))
    assert (trained.folder / "models/collective/weights.safetensors").stat().st_mtime_ns == weights
    assert set(found) == {name for run in before.values() for name in run.data.metrics}


def grow(history: Path, lines: list[str]) -> None:
    with open(history, "a") as file:
        file.writelines(line + "\n" for line in lines)


def test_curves_grow_while_training_runs_and_end_whole(trained):
    recording.initialise(trained.folder)
    facts, store = trained.facts("collective"), opened(trained.folder)
    history, models = trained.folder / "results/variants/collective/history.csv", trained.folder / "models/collective"
    lines = history.read_text().splitlines()
    history.write_text("\n".join(lines[:9]) + "\n")  # left by an earlier training
    shutil.move(models, trained.folder / "kept")

    def grown(more: list[str]) -> None:
        """By a machine whose clock was set back."""
        grow(history, more)
        os.utime(history, (1e9, 1e9))

    def epochs() -> int:
        runs = store.client.search_runs([store.experiment])
        return len(store.client.get_metric_history(runs[0].info.run_id, "member_0/train_error_1")) if runs else 0

    with recording.live(trained.folder, "train@collective", facts["train@collective"], "first", every=0.2):
        time.sleep(0.5)
        assert epochs() == 0
        history.unlink()
        grown(lines[:5])
        assert wait_until(lambda: epochs() == 2)
        grown(lines[5:11])
        assert wait_until(lambda: epochs() == 5)
        assert runs_of(trained)["train@collective"].info.status == "RUNNING"
        grown(lines[11:])
        shutil.move(trained.folder / "kept", models)
    recording.record(trained.folder, facts, "first")
    runs = store.client.search_runs([store.experiment])
    assert len(runs) == 2 and epochs() == 60 and runs_of(trained)["train@collective"].info.status == "FINISHED"


def test_a_training_that_was_killed_is_continued_or_replaced(trained):
    recording.initialise(trained.folder)
    facts, store = trained.facts("collective"), opened(trained.folder)
    history, models = trained.folder / "results/variants/collective/history.csv", trained.folder / "models/collective"
    lines = history.read_text().splitlines()
    shutil.move(models, trained.folder / "kept")

    def train_live(rows: list[str]):
        history.unlink()
        with recording.live(trained.folder, "train@collective", facts["train@collective"], "first", every=0.2):
            grow(history, [lines[0], *rows])
            time.sleep(0.3)
        assert wait_until(lambda: runs_of(trained).get("train@collective") is not None)
        assert wait_until(lambda: runs_of(trained)["train@collective"].info.status == "FAILED")
        return runs_of(trained)["train@collective"].info.run_id

    first = train_live(lines[1:9])
    assert train_live([line.replace(",", ", ", 0) for line in lines[1:15]]) == first  # the same numbers, and more
    another = train_live([*lines[3:5], *lines[1:3]])  # other numbers: another seed of the machine, say
    assert another != first and len(store.client.search_runs([store.experiment])) == 1
    history.write_text("\n".join(lines) + "\n")
    shutil.move(trained.folder / "kept", models)
    assert recording.record(trained.folder, facts, "first").runs["train@collective"] not in (first, another)
    assert len(store.client.search_runs([store.experiment])) == 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_training_goes_on_and_ends_with_the_server_away(trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    facts = trained.facts()
    with recording.live(trained.folder, "train@boosted", facts["train@boosted"], "first", every=0.1):
        (trained.folder / "results/variants/boosted/history.csv").touch()
        time.sleep(0.5)
    with pytest.raises(BadInput) as error:
        recording.record(trained.folder, facts, "first")
    assert "the server does not answer" in one_line(error)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert recording.record(trained.folder, facts, "first").added


def test_a_damaged_database_is_one_line_and_stays_as_it_is(trained):
    recording.record(trained.folder, trained.facts("collective"), "first")
    database = trained.folder / ".hae/mlflow.db"
    content = bytearray(database.read_bytes())
    content[20 * 4096 : 40 * 4096] = b"\xff" * (20 * 4096)
    database.write_bytes(content)
    with pytest.raises(BadInput) as error:
        recording.record(trained.folder, trained.facts(), "second")
    assert "mlflow.db: the MLflow database is damaged" in one_line(error) and "hae retrain" in str(error.value)
    assert database.read_bytes() == bytes(content)


def test_what_is_no_database_is_one_line(trained):
    (trained.folder / ".hae/mlflow.db").write_bytes(b"not a database at all, but long enough to be one" * 100)
    with pytest.raises(BadInput) as error:
        registry.status(trained.folder)
    assert "damaged" in one_line(error)


def test_a_full_disk_is_one_line_and_nothing_is_half_registered(trained):
    recording.initialise(trained.folder)
    facts = trained.facts("collective")
    script = (
        "import pickle, resource, signal, sys; from pathlib import Path\n"
        "from hae.errors import BadInput; from pipelines.record import recording\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"  # no file may grow beyond this: as if the disk were full
        "try: recording.record(Path.cwd(), pickle.load(sys.stdin.buffer), 'first')\n"
        "except BadInput as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(facts), cwd=trained.folder, capture_output=True)
    said = done.stdout.decode().strip()
    assert "the disk is full" in said and "\n" not in said, said + done.stderr.decode()
    assert registry.versions(opened(trained.folder)) == []
    assert recording.record(trained.folder, facts, "second").versions == {"collective": "1"}


def test_nothing_trained_is_said(trained):
    shutil.rmtree(trained.folder / "models/boosted")
    with pytest.raises(BadInput, match="models/boosted: nothing trained there"):
        recording.record(trained.folder, trained.facts(), "first")


def test_another_key_is_another_run_and_another_version(trained):
    facts = trained.facts("collective")
    assert recording.record(trained.folder, facts, "first").versions == {"collective": "1"}
    changed = {stage: replace(its, dependencies={**its.dependencies, "hae/network": "changed"}) for stage, its in facts.items()}
    assert recording.record(trained.folder, changed, "second").versions == {"collective": "2"}
    assert len(opened(trained.folder).client.search_runs([opened(trained.folder).experiment])) == 4
