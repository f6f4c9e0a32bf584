"""Retraining that is ended in the middle: no trainer outlives it, and the next one finishes."""

import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest
from ruamel.yaml import YAML
from waiting import wait_until

from pipelines.flow import retraining

SECONDS = 10  # that a trainer may outlive its flow


def trainers(folder) -> list[psutil.Process]:
    """Processes that train in a project."""
    found = []
    for process in psutil.process_iter():
        try:
            if "pipelines.stages.train" in " ".join(process.cmdline()) and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def project(run_project):
    """Its graph ends with evaluation: what comes after it starts as it does elsewhere."""
    return run_project("stability", "report")


def train_for(project, collective: int, boosted: int) -> None:
    """Set the epochs of both variants; 60 is what the project was trained for."""
    yaml = YAML()
    content = yaml.load((project / "params.yaml").read_text())
    content["train"]["collective"]["max_epochs"], content["train"]["boosted"]["max_epochs"] = collective, boosted
    yaml.dump(content, project / "params.yaml")


def start(project, out, python=("-m", "pipelines.cli")) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *python, "retrain"], cwd=project, stdin=subprocess.DEVNULL,
                            stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"PREFECT_HOME": str(project / ".hae" / "prefect")})


def at_work(project) -> bool:
    """Whether both trainers are past their first epoch."""
    begun = [(project / "results" / "variants" / name / "history.csv").exists() for name in ("boosted", "collective")]
    return all(begun) and len(trainers(project)) == 2


@pytest.mark.parametrize("how", [
    signal.SIGKILL,
    pytest.param(signal.SIGINT, marks=pytest.mark.acceptance),
    pytest.param(signal.SIGTERM, marks=pytest.mark.acceptance),
])
@pytest.mark.timeout(1800)
def test_no_trainer_outlives_the_flow_and_the_next_one_finishes(how, project):
    said = project.parent / "out"
    train_for(project, 20_000, 20_000)
    with open(said, "w") as out:
        flow = start(project, out)
        try:
            assert wait_until(lambda: at_work(project), 300), said.read_text()
            flow.send_signal(how)
            assert wait_until(lambda: not trainers(project), SECONDS)
            assert flow.wait(60) != 0
        finally:
            flow.kill()
        train_for(project, 60, 30)
        again = start(project, out)
        try:
            assert again.wait(1200) == 0, said.read_text()
        finally:
            again.kill()
    assert "champion: version" in said.read_text()
    assert not trainers(project)


def servers(folder) -> list[psutil.Process]:
    """Prefect's servers of a project."""
    found = []
    for process in psutil.process_iter():
        try:
            if "uvicorn" in " ".join(process.cmdline()) and process.environ().get("PREFECT_HOME") == str(folder / ".hae" / "prefect"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def look_at_the_door(server: psutil.Process, key: str) -> None:
    """The server that a retraining has for its time: only who has the key gets in, and no page of anybody."""
    ((host, port),) = [tuple(its.laddr) for its in server.net_connections() if its.status == psutil.CONN_LISTEN]
    assert host == "127.0.0.1"
    asked, evil = f"http://{host}:{port}/api/flow_runs/filter", {"Origin": "http://evil.example"}
    for wrong in (None, ("hae", "guessed")):
        assert httpx.post(asked, json={}, auth=wrong, headers=evil, timeout=60, trust_env=False).status_code == 401
    answer = httpx.post(asked, json={}, auth=tuple(key.split(":")), headers=evil, timeout=60, trust_env=False)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


@pytest.mark.timeout(600)
def test_a_retraining_whose_server_is_killed_ends_in_one_line(project):
    """Prefect would report each of its events to it for minutes, with a traceback for each."""
    said = project.parent / "out"
    train_for(project, 20_000, 20_000)
    with open(said, "w") as out:
        flow = start(project, out, ("-c", "from pipelines.cli import main; from pipelines.flow import server; server.GONE = 3; main()"))
        try:
            assert wait_until(lambda: at_work(project), 300), said.read_text()
            assert len(servers(project)) == 1
            look_at_the_door(servers(project)[0], (project / ".hae" / "prefect-auth").read_text().strip())
            servers(project)[0].kill()
            assert flow.wait(90) == 2
        finally:
            flow.kill()
    assert not trainers(project)
    assert said.read_text().splitlines()[-1].startswith("Prefect: its server is gone; what was finished is kept")
    assert "Traceback" not in said.read_text()
    assert retraining.notes(project)[0]["ending"].startswith("Prefect: its server is gone")
