"""hae serve: the installed set starts a server that plans runs, and each new content of the data starts one retraining."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import pytest

from hae.errors import BadInput
from pipelines.flow import serving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_taken_port_is_said_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port: {port} is taken"):
            serving._free(port)


@pytest.mark.parametrize("cron", ["daily", "0 3 * *", "61 * * * *"])
def test_a_text_that_is_no_schedule_is_said_in_one_line(cron):
    with pytest.raises(BadInput, match="allowed: minute hour day month weekday"):
        serving._schedule(cron)


@pytest.fixture
def serve(new_project):
    """Starts hae serve in a project; at the end it must end cleanly and leave nothing."""
    project, port, started = new_project(), free_port(), []

    def start(*options: str):
        child = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port), *options], cwd=project,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")})
        started.append(child)
        return child

    yield project, f"http://127.0.0.1:{port}/api", start
    for child in started:
        child.kill()
        child.wait()


def poll(url: str, body: dict, wanted, seconds: float = 200) -> list[dict]:
    """Flow runs that a server knows, once there are such as wanted."""
    deadline = time.monotonic() + seconds
    runs = []
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            runs = httpx.post(f"{url}/flow_runs/filter", json=body, timeout=20).raise_for_status().json()
        if wanted(runs):
            return runs
        time.sleep(1)
    return runs


@pytest.mark.timeout(600)
def test_runs_are_planned_and_new_data_start_one(serve):
    project, url, start = serve
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("block_frames: 20", "block_frames: 2000"))
    child = start("--cron", "0 3 * * *", "--watch", "1")  # prepare refuses such blocks, so that runs are short
    planned = poll(url, {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}, lambda runs: runs)
    assert planned and planned[0]["state_type"] == "SCHEDULED"

    by_data = {"flow_runs": {"tags": {"all_": ["data"]}}}
    ended = lambda number: lambda runs: len(runs) == number and all(run["state_type"] == "FAILED" for run in runs)  # noqa: E731
    first = poll(url, by_data, ended(1))
    assert len(first) == 1 and first[0]["state"]["message"].startswith("prepare: ")
    with open(project / "data" / "raw" / "table.csv", "a") as file:
        file.write("0,0,0,0,0,run0\n")
    assert len(poll(url, by_data, ended(2))) == 2

    child.send_signal(signal.SIGTERM)
    text, _ = child.communicate(timeout=60)
    assert child.returncode == 0, text
    assert "Page: http://127.0.0.1:" in text
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/health", timeout=5)

    again = start("--cron", "0 3 * * *", "--watch", "1")
    assert poll(url, {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}, lambda runs: runs)
    time.sleep(5)
    assert len(poll(url, by_data, ended(2))) == 2  # the same content starts nothing again
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0
