"""The retraining as a flow: every stage in its place, its own words in its task, the record after it, and nothing twice."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from ruamel.yaml import YAML
from waiting import wait_until

from hae.errors import BadInput
from pipelines import locks, processes
from pipelines.flow import cleaning, here, retraining, server, versioning
from pipelines.gate import promotion
from pipelines.record import recording

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]  # a busy machine takes its time
PYTHON = f'"{sys.executable}" -c'
# A stage that people add to dvc.yaml: after evaluation, beside the report.
ADDED = {"cmd": f"{PYTHON} \"print('counted 2 CVs'); open('results/count.txt', 'w').write('2')\"",
         "deps": ["results/variants/boosted/metrics.json"], "outs": ["results/count.txt"]}


def retrain(folder: Path, **options):
    """The state that the flow ends in."""
    from pipelines.flow import flows

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
        patch.setenv("HAE_PROJECT", str(folder))
        return flows.retrain(return_state=True, **options)


def task_runs(state) -> dict:
    """Name -> task run, as the server knows them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        here = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return {run.name: run for run in client.read_task_runs(flow_run_filter=here)}


def logs(task_run, wanted: str) -> str:
    """The log of a task run, once it has the wanted text; they arrive in batches."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterTaskRunId

    text, patience = "", 60
    with get_client(sync_client=True) as client:
        while wanted not in text and patience:
            text = "\n".join(log.message for log in client.read_logs(LogFilter(task_run_id=LogFilterTaskRunId(any_=[task_run.id]))))
            patience -= 1
            time.sleep(0.5)
    return text


@pytest.fixture(scope="module")
def retrained(new_project):
    """A project with one stage more than the repository's graph, retrained once, and the state of the flow."""
    folder = new_project(count=ADDED)
    return folder, retrain(folder)


@pytest.fixture
def project(retrained, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(retrained[0], tmp_path / "project"))


def test_it_ends_with_a_champion(retrained):
    folder, state = retrained
    assert state.is_completed(), state.message
    outcome = state.result()
    assert outcome.action == "promoted" and outcome.champion == outcome.version
    assert set(outcome.versions) == {"collective", "boosted"}
    rows = retraining.table(folder, outcome)
    assert [row["variant"] for row in rows] == ["collective", "boosted", "PCA", "plain autoencoder"]
    assert [row["alias"] for row in rows].count("champion") == 1
    assert 0 < float(rows[0]["FVE_1"]) < float(rows[0]["FVE_2"]) < 1


def test_its_artifact_says_the_verdicts_before_the_decision(retrained):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    folder, state = retrained
    here = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        text = next(artifact.data for artifact in client.read_artifacts(artifact_filter=here) if artifact.key == "links")
    verdicts, _ = retraining.verdicts(folder)
    assert set(verdicts) == {"collective", "boosted"}
    for variant, words in verdicts.items():
        assert 0 < text.index(f"**{variant}**: {words}") < text.index("**promoted**")


def test_every_stage_is_a_task_in_its_place(retrained):
    runs = task_runs(retrained[1])
    graph = versioning.read_graph(retrained[0])
    assert set(runs) == set(graph.stages) | {"record", "promote"}
    for name, stage in graph.stages.items():
        for need in stage.needs:
            assert runs[need].end_time <= runs[name].start_time, (need, name)
    assert max(runs[name].end_time for name in graph.stages) <= runs["record"].start_time
    assert runs["record"].end_time <= runs["promote"].start_time


def test_a_task_shows_what_its_stage_said(retrained):
    text = logs(task_runs(retrained[1])["count"], "counted 2 CVs")
    assert "counted 2 CVs" in text
    assert "lock file" not in text


def test_a_second_retraining_runs_nothing_and_adds_nothing(retrained):
    folder, _ = retrained
    assert retraining.look(folder).complete
    state = retrain(folder)
    assert state.is_completed() and not task_runs(state)
    its = retraining.facts(folder, versioning.read_graph(folder))
    assert not recording.record(folder, its, "again").added
    assert promotion.promote(folder, its).action == "nothing new"


def test_the_last_retrainings_are_remembered(retrained):
    newest, *_, first = retraining.notes(retrained[0], last=100)
    assert first["stages"][0] == "prepare" and first["ending"].startswith("promoted")
    assert newest["seconds"] >= 0


def test_a_full_disk_is_one_line(project, monkeypatch):
    """Wherever it is met: here where the retraining looks at the data."""
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/file")

    monkeypatch.setattr(retraining, "look", full)
    state = retrain(project)
    assert state.is_failed()
    assert state.message == "/disk/file: the disk is full; what was finished is kept; allowed: the same command again once there is room"
    assert retraining.notes(project)[0]["ending"] == state.message


def test_a_prefect_that_does_not_start_is_one_line(project, monkeypatch):
    from pipelines.flow import flows

    def breaks(*_, **options):
        raise RuntimeError("the server did not start\nin 20 s")

    monkeypatch.setattr(flows, "retrain", breaks)
    with mock.patch.dict(os.environ, PREFECT_API_URL="http://127.0.0.1:9/api"), pytest.raises(BadInput) as said:
        here.retrain(project, True, stale=False)
    assert str(said.value) == ("Prefect: its server does not start or no longer answers (RuntimeError: the server did not start); "
                               "what was finished is kept; allowed: hae retrain again")


def test_a_server_that_ends_at_once_is_one_line(project, monkeypatch):
    monkeypatch.setattr(server, "BRIEF", "print('port {port} is taken')")
    with mock.patch.dict(os.environ), pytest.raises(BadInput, match=r"Prefect: its server did not start; see .*server\.log"):
        here.retrain(project, True, stale=False)
    assert "is taken" in (project / ".hae" / "prefect" / "server.log").read_text()


def test_a_line_that_was_cut_short_is_left_out(project):
    path = project / ".hae" / "retrainings.jsonl"
    whole = retraining.notes(project)
    path.write_text(path.read_text() + '{"started": "2026-01-31T03:0')
    assert retraining.notes(project) == whole
    retraining.note(project, datetime.now(UTC), ["prepare"], "held: http://me:secret@host is away")
    assert [note["ending"] for note in retraining.notes(project)[:2]] == ["held: http://***@host is away", whole[0]["ending"]]


def test_after_a_time_without_a_server_one_run_makes_up_for_all():
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
    from prefect.states import Scheduled

    from pipelines.flow import flows

    hours = [datetime.now(UTC) - timedelta(hours=hour) for hour in (3, 2, 1, -1)]
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(flows.retrain), "after a time without a server")
        for hour in hours:
            client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=hour), tags=["auto-scheduled"])
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        runs = sorted(client.read_flow_runs(flow_run_filter=mine), key=lambda run: run.expected_start_time)
        assert len(runs) == 4
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flows, "flow_run", SimpleNamespace(id=str(runs[0].id)))
            flows._catch_up()
        states = [client.read_flow_run(run.id).state.type.value for run in runs]
    assert states == ["SCHEDULED", "CANCELLED", "CANCELLED", "SCHEDULED"]  # the one that starts, what was missed, the next


def test_a_failed_stage_ends_the_flow_with_the_stages_own_line(project):
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("block_frames: 20", "block_frames: 2000"))
    before = (project / "results" / "table.csv").read_text()
    state = retrain(project)
    assert state.is_failed()
    assert state.message.startswith("prepare: ") and "\n" not in state.message
    assert "Traceback" not in state.message and "ERROR" not in state.message
    assert set(task_runs(state)) == {"prepare"}
    assert (project / "results" / "table.csv").read_text() == before


def test_stages_do_not_need_the_record_and_the_record_no_stages(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("dpi: 150", "dpi: 90"))
    state = retrain(project)
    assert state.is_failed() and state.message.startswith("record: ") and "http://127.0.0.1:9" in state.message
    assert not versioning.read_graph(project).stale
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (project / ".hae" / "mlflow.db").unlink()
    state = retrain(project)
    assert state.is_completed() and set(task_runs(state)) == {"record", "promote"}
    assert retraining.look(project).complete


def test_stages_on_the_gpu_take_turns(project, monkeypatch):
    """Two stages of one wave that ask for the GPU never have it together. A third one fails, to end the flow there."""
    monkeypatch.setenv("HAE_DEVICE", "cuda")
    times = f"{PYTHON} \"import time; a = time.time(); time.sleep(1); open('NAME', 'w').write(f'{{a}} {{time.time()}}')\""
    stages = {name: {"cmd": times.replace("NAME", f"{name}.txt"), "outs": [f"{name}.txt"], "meta": {"gpu": True}}
              for name in ("one", "two")}
    stages["last"] = {"cmd": "exit 3", "deps": ["one.txt", "two.txt"], "outs": ["never.txt"]}
    yaml = YAML()
    graph = yaml.load((project / "dvc.yaml").read_text())
    graph["stages"].update(stages)
    yaml.dump(graph, project / "dvc.yaml")
    state = retrain(project)
    assert state.message.startswith("last: ")
    first, second = sorted(tuple(map(float, (project / f"{name}.txt").read_text().split())) for name in ("one", "two"))
    assert first[1] <= second[0]


def test_one_retraining_a_checkout(project):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, pathlib; from pipelines import processes\n"
         "with processes.only_one(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()", str(project)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert f"process {holder.pid} " in locks.holder(project)
    state = retrain(project)
    assert state.is_failed() and f"process {holder.pid} " in state.message
    with pytest.raises(BadInput, match="at work here already"), processes.only_one(project):
        pass
    holder.kill()
    holder.wait()
    assert locks.holder(project) == ""
    with processes.only_one(project):
        assert f"process {os.getpid()} " in locks.holder(project)


def test_a_stage_that_hangs_is_ended_and_tried_once_more(project, monkeypatch):
    """It stops itself, twice: the flow goes on to its end, with the reason, and nothing of it lives."""
    tries, clocks = project / "tries", []

    class Clock(threading.Timer):
        """Its time is over once the stage has stopped itself, however slow the machine."""

        def run(self):
            clocks.append(self.interval)
            if wait_until(lambda: self.finished.is_set() or (tries.exists() and len(tries.read_text()) == len(clocks)), 300):
                super().run()

    monkeypatch.setattr(processes, "threading", SimpleNamespace(**vars(threading) | {"Timer": Clock}))
    hang = f"{PYTHON} \"import os, signal; open('tries', 'a').write('x'); os.kill(0, signal.SIGSTOP)\""
    yaml = YAML()
    graph = yaml.load((project / "dvc.yaml").read_text())
    graph["stages"]["hang"] = {"cmd": hang, "outs": ["never.txt"]}
    yaml.dump(graph, project / "dvc.yaml")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("stage_hours: 24", "stage_hours: 0.0001"))
    state = retrain(project)
    assert state.is_failed() and state.message.startswith("hang: it took longer than it may"), state.message
    assert tries.read_text() == "xx" and clocks == pytest.approx([0.36, 0.36]) and not processes.orphans(project)
    with processes.only_one(project):  # no lock is left
        pass


def test_prefects_own_records_go_with_their_logs(new_project):
    """hae clean: real runs of a real server, whose database is copied to where a project has it."""
    from prefect import flow, task
    from prefect.settings import get_current_settings

    @task
    def work():
        print("worked")

    @flow(log_prints=True)
    def night():
        work()

    for _ in range(4):
        night()
    url = str(get_current_settings().server.database.connection_url.get_secret_value())
    folder = new_project()
    target = folder / ".hae" / "prefect" / "prefect.db"
    target.parent.mkdir(parents=True)
    with closing(sqlite3.connect(url.partition(":///")[2])) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)

    def count(table: str) -> int:
        with closing(sqlite3.connect(target)) as connection:
            return connection.execute(f"select count(*) from {table}").fetchone()[0]

    ended = "flow_run where state_type in ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')"  # other tests have runs on this server, too
    runs, old = count("flow_run"), count(ended) - 1
    assert old >= 3 and count("task_run") >= 4
    assert f"{old} runs" in str(*cleaning._prefect(folder, 1, True)) and count("flow_run") == runs
    assert f"{old} runs" in str(*cleaning._prefect(folder, 1, False))
    assert (count("flow_run"), count(ended)) == (runs - old, 1)
    assert count("task_run where flow_run_id not in (select id from flow_run)") == 0
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma foreign_key_check").fetchall() == []
        assert connection.execute("select count(*) from log where flow_run_id not in (select id from flow_run)").fetchone() == (0,)


@pytest.mark.parametrize("left", ["", "0000", "not a run"])
def test_a_mark_that_was_cut_short_is_written_anew(tmp_path, left):
    from pipelines.flow import flows

    mark = tmp_path / ".hae" / "prefect" / "run"
    mark.parent.mkdir(parents=True)
    mark.write_text(left)
    flows._tidy(tmp_path, SimpleNamespace(read_flow_run=None))
    assert mark.read_text() not in ("", left)
