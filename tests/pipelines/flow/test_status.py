"""hae status: the same as JSON and in lines; a reason that repeats is one line; refusals before the flow are in the history."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from commanding import hae

from pipelines.flow import retraining, schedules
from pipelines.flow.status import look, to_lines
from pipelines.record import registry
from pipelines.record.store import opened


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


def test_json_says_what_the_lines_say(project):
    retraining.note(project, datetime.now(UTC), ["prepare"], "held: no better")
    told = hae("status", "--json", folder=project)
    assert told.returncode == 0, told.stderr
    state = json.loads(told.stdout)
    assert state["champion"] is None and state["project"] == str(project) and state["at_work"] == ""
    assert state["stale"]["prepare"] == ["has not run yet"] and "report" in state["stale"]
    assert state["runs"][0]["ending"] == "held: no better" and state["registry"]["name"] == "small-table"
    assert hae("status", folder=project).stdout.splitlines() == list(to_lines(state))


def test_a_reason_that_repeats_is_one_line_with_its_number(project):
    state = {"project": "p", "registry": {"error": "away"}, "note": "", "verdicts": {}, "which": "Use PCA.", "stale": {}, "at_work": ""}
    day = datetime(2026, 1, 31, 3, tzinfo=UTC)
    endings = ["held: no better"] * 9 + ["promoted: better"] + ["held: no better"]
    state["runs"] = [{"started": (day - timedelta(days=n)).isoformat(), "seconds": 60.0, "stages": ["prepare"], "ending": ending}
                     for n, ending in enumerate(endings)]
    assert "choice     Use PCA." in to_lines(state)
    lines = [line for line in to_lines(state) if line.startswith("run ")]
    assert len(lines) == 3
    assert lines[0].endswith("held: no better  (9 times since 2026-01-23T03:00:00+00:00)")
    assert lines[1].endswith("promoted: better") and lines[2].endswith("held: no better")


def test_a_refusal_before_the_flow_is_in_the_history_and_in_the_log(new_project):
    folder = new_project()
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("n_seeds", "n_sedes", 1))
    told = subprocess.run([sys.executable, "-m", "pipelines.cli", "retrain"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    assert told.returncode == 2
    (folder / "params.yaml").write_text(text)
    entry = retraining.notes(folder)[0]
    assert entry["ending"] == told.stderr.strip() and entry["stages"] == []
    assert "n_sedes: no such key" in (folder / ".hae" / "logs" / "retrain.log").read_text()
    assert "n_sedes" in hae("status", folder=folder).stdout


def test_silence_is_told_once_nothing_succeeded_for_too_long(bare):
    text = (bare / "params.yaml").read_text()
    (bare / "params.yaml").write_text(text.replace("silence_hours: null", "silence_hours: 2.0"))
    now = datetime.now().astimezone()
    ago = lambda hours: now - timedelta(hours=hours)  # noqa: E731
    assert schedules.silence(bare, ago(1)) == ""  # it has not served for long enough to know
    assert schedules.silence(bare, ago(3)) == f"nothing has succeeded since {ago(3):%Y-%m-%d %H:%M}"
    retraining.note(bare, ago(2.5), [], "held: no better")
    retraining.note(bare, ago(0.5), [], "prepare: no frames")
    assert schedules.silence(bare, ago(9)) == f"nothing has succeeded since {ago(2.5):%Y-%m-%d %H:%M}"
    retraining.note(bare, ago(0.5), [], "nothing new")
    assert schedules.silence(bare, ago(9)) == ""


def test_a_retraining_that_finds_all_done_says_so_after_one_that_was_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(retraining.notify, "ended", lambda *words: None)
    started = datetime.now().astimezone()
    retraining.nothing_new(tmp_path)
    assert not retraining.notes(tmp_path)
    retraining.note(tmp_path, started, ["report"], "interrupted")
    for _ in range(2):  # once is enough
        retraining.nothing_new(tmp_path)
    assert [entry["ending"] for entry in retraining.notes(tmp_path)] == ["nothing new", "interrupted"]


def test_mlflow_is_asked_again_only_once_its_database_has_changed(bare, monkeypatch):
    store = opened(bare)
    look(bare)
    asked = []
    monkeypatch.setattr(registry, "status", lambda project, really=registry.status: asked.append(1) or really(project))
    before = look(bare)
    assert before == look(bare) and not asked and before["champion"] is None
    store.client.create_registered_model(store.name)
    version = str(store.client.create_model_version(store.name, str(bare), tags={"variant": "boosted"}).version)
    store.client.set_registered_model_alias(store.name, "champion", version)
    assert look(bare)["champion"]["version"] == version and len(asked) == 1
    (bare / ".hae" / "status.json").write_text("{torn")
    assert look(bare)["champion"]["version"] == version and len(asked) == 2
