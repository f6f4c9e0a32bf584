"""hae serve: the installed set starts a server that plans runs, and each new content of the data starts one retraining."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx
import pytest

from hae.errors import BadInput
from hae.files import add_line
from pipelines.flow import schedules, server, versioning

PROXY = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}  # a proxy that knows nothing of this machine


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
            server.free(port)


@pytest.mark.parametrize("cron", ["daily", "0 3 * *", "61 * * * *"])
def test_a_text_that_is_no_schedule_is_said_in_one_line(cron):
    with pytest.raises(BadInput, match="allowed: minute hour day month weekday"):
        schedules._schedule(cron)


@pytest.mark.parametrize(("zone", "name"), [
    ("UTC-3", "Etc/GMT-3"), ("UTC+11", "Etc/GMT+11"), ("UTC", "UTC"), ("Europe/Berlin", "Europe/Berlin"), ("Asia/Kolkata", "Asia/Kolkata"),
    (":Europe/Berlin", "Europe/Berlin"), ("<+03>-3", "Etc/GMT-3"), ("EST5", "Etc/GMT+5"),
])
def test_local_time_is_that_of_this_machine(zone, name, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        schedule = schedules._schedule("0 3 * * *")
        assert schedule.timezone == schedules.zone() == name
        assert datetime.now(ZoneInfo(name)).utcoffset().total_seconds() == time.localtime().tm_gmtoff
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", [
    "CET-1CEST,M3.5.0,M10.5.0/3", "UTC+5:30", "Europe/Berlni", "Berlin", "UTC/Foo", "UTC+15", "UTC-24", "UTC+0530", "../etc/passwd",
])
def test_a_zone_without_a_name_is_one_line(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with pytest.raises(BadInput, match=r"^TZ: .* names no time zone; allowed: a name such as Europe/Berlin"):
            schedules._schedule("0 3 * * *")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def serve(run_project):
    """Starts hae serve in a project whose prepare refuses its blocks, so that runs are short; it is ended with the test."""
    project, port, started = run_project(), free_port(), []
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("block_frames: 20", "block_frames: 2000"))

    def start(*options: str):
        child = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port), *options], cwd=project,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | PROXY)
        started.append(child)
        return child

    yield project, f"http://127.0.0.1:{port}/api", start
    for child in started:
        child.kill()
        child.wait()


def poll(url: str, body: dict, wanted, key, seconds: float = 200) -> list[dict]:
    """Flow runs that a server knows, once there are such as wanted. key: the file of what the server wants to be shown."""
    deadline = time.monotonic() + seconds
    runs = []
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            shown = tuple(key.read_text().strip().split(":")) if key.exists() else None
            runs = httpx.post(f"{url}/flow_runs/filter", json=body, timeout=20, auth=shown).raise_for_status().json()
        if wanted(runs):
            return runs
        time.sleep(1)
    return runs


def look_at_the_door(project, url: str, deployment: str) -> None:
    """Nobody gets in without the key, no page of another origin is answered, and nobody chooses the folder."""
    key = project / ".hae" / "prefect-auth"
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    evil, start = {"Origin": "http://evil.example"}, f"{url}/deployments/{deployment}/create_flow_run"
    for wrong in (None, ("hae", "guessed"), ("hae", "")):
        for headers in ({}, evil):
            assert httpx.post(start, json={}, auth=wrong, headers=headers, timeout=60).status_code == 401
            assert httpx.post(f"{url}/flow_runs/filter", json={}, auth=wrong, headers=headers, timeout=60).status_code == 401
    right = tuple(key.read_text().strip().split(":"))
    answer = httpx.post(f"{url}/flow_runs/filter", json={}, auth=right, headers=evil, timeout=60)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    asked = evil | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert "access-control-allow-origin" not in httpx.options(start, headers=asked, timeout=60).headers
    own = httpx.get(f"{url}/health", headers={"Origin": url.removesuffix("/api")}, timeout=60)
    assert own.headers["access-control-allow-origin"] == url.removesuffix("/api")
    known = httpx.get(f"{url}/deployments/{deployment}", auth=right, timeout=60).json()
    assert set(known["parameter_openapi_schema"]["properties"]) == {"promotes", "served"}
    assert key.read_text().strip().partition(":")[2] not in (project / ".hae" / "prefect" / "server.log").read_text()


def failed(number: int):
    """Whether so many runs are known, and all of them have failed."""
    return lambda runs: len(runs) == number and all(run["state_type"] == "FAILED" for run in runs)


PLANNED, BY_DATA = ({"flow_runs": {"tags": {"all_": [tag]}}} for tag in ("auto-scheduled", "data"))
OPTIONS = ("--cron", "0 3 * * *", "--watch", "1")


@pytest.mark.timeout(600)
def test_runs_are_planned_and_new_data_start_one(serve):
    """The data as they are were seen by an earlier `hae serve`."""
    project, url, start = serve
    key, watched, metrics = project / ".hae" / "prefect-auth", project / ".hae" / "watched", free_port()
    watched.write_text(versioning.data_digest(project))
    child = start(*OPTIONS, "--metrics", str(metrics))
    planned = poll(url, PLANNED, lambda runs: runs, key)
    assert planned and planned[0]["state_type"] == "SCHEDULED"
    look_at_the_door(project, url, planned[0]["deployment_id"])
    time.sleep(3)
    assert not poll(url, BY_DATA, lambda runs: True, key)  # the same content starts nothing again

    with open(project / "data" / "raw" / "table.csv", "a") as file:
        file.write("0,0,0,0,0,run0\n")
    runs = poll(url, BY_DATA, failed(1), key)
    assert len(runs) == 1 and runs[0]["state"]["message"].startswith("prepare: ")
    assert watched.read_text() == versioning.data_digest(project)

    scraped = httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=20).text
    assert 'hae_last_decision{decision="failed"} 1.0' in scraped and 'hae_retrainings{decision="failed"} 1.0' in scraped

    child.send_signal(signal.SIGTERM)
    text, _ = child.communicate(timeout=60)
    assert child.returncode == 0, text
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  prepare: ", text, re.MULTILINE)) == 1, text  # once, with its time
    assert f"Metrics: http://127.0.0.1:{metrics}/metrics" in text
    assert "Page: http://127.0.0.1:" in text and f"The page asks for a password: the line in {key}" in text
    assert f"at '0 3 * * *' ({schedules.zone()})" in text
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/health", timeout=5)


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_the_first_look_starts_a_run_and_a_restart_none(serve):
    project, url, start = serve
    key = project / ".hae" / "prefect-auth"
    child = start(*OPTIONS)
    assert len(poll(url, BY_DATA, failed(1), key)) == 1
    with open(project / "data" / "raw" / "table.csv", "a") as file:
        file.write("0,0,0,0,0,run0\n")
    assert len(poll(url, BY_DATA, failed(2), key)) == 2
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0

    again = start(*OPTIONS)
    assert poll(url, PLANNED, lambda runs: runs, key)
    time.sleep(5)
    assert len(poll(url, BY_DATA, failed(2), key)) == 2  # the same content starts nothing again
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0


def test_an_alarm_that_another_look_follows_starts_a_run_too(bare, monkeypatch):
    """A loop over files calls hae transform every few seconds, and the last of them may be as always."""
    import prefect.deployments

    started, moments = [], iter([["a", "alarm b", "c"], ["d"], ["alarm e"], []])
    monkeypatch.setattr(prefect.deployments, "run_deployment", lambda *_, tags, **__: started.append(tags))

    def scored(seconds: float) -> None:
        for words in next(moments, None) or _over():
            kind, _, name = words.rpartition(" ")
            add_line(bare / ".hae" / "drift.jsonl", {"at": name, "of": "transform", "alarms": {"error": ["x"]} if kind else {}})

    monkeypatch.setattr(schedules.time, "sleep", scored)
    (bare / ".hae").mkdir(exist_ok=True)
    add_line(bare / ".hae" / "drift.jsonl", {"at": "0", "of": "transform", "alarms": {}})
    with pytest.raises(StopIteration):
        schedules._drifting(bare, "it")
    assert started == [["drift"]] * 2 and (bare / ".hae" / "drifted").read_text() == "e"


def _over():
    raise StopIteration
