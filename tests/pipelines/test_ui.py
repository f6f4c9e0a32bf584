"""hae ui: MLflow's page at the project's own experiment, open to this machine alone, and its end."""

import asyncio
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from waiting import wait_until

from hae.errors import BadInput
from pipelines import processes, settings, ui
from pipelines.flow import server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.acceptance
def test_the_page_shows_the_projects_own_runs_and_ends_with_the_command(recorded):
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "pipelines.cli", "--project", str(recorded.folder), "ui", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert wait_until(lambda: answers(f"{page}/health") or child.poll() is not None, 200) and child.poll() is None
            api = f"{page}/ajax-api/2.0/mlflow"
            for refused in (httpx.get(page, timeout=60), httpx.post(f"{api}/registered-models/alias", json={}, timeout=60),
                            httpx.get(page, timeout=60, auth=("hae", "another"))):
                assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic")
            auth = tuple(settings.key(recorded.folder).split(":"))
            assert "<title>MLflow</title>" in httpx.get(page, timeout=60, auth=auth).text
            found = httpx.post(f"{api}/experiments/search", json={"max_results": 9}, timeout=60, auth=auth).json()["experiments"]
            own = next(experiment["experiment_id"] for experiment in found if experiment["name"] == "small-table")
            runs = httpx.post(f"{api}/runs/search", json={"experiment_ids": [own]}, timeout=60, auth=auth).json()["runs"]
            assert len(runs) >= 3
            assert httpx.get(f"{page}/ajax-api/3.0/mlflow/ui-telemetry", timeout=60, auth=auth).json()["disable_ui_telemetry"] is True
            evil = httpx.post(f"{api}/experiments/search", json={"max_results": 9}, timeout=60, auth=auth, headers={"Host": "evil.example"})
            assert evil.status_code == 403
        finally:
            child.send_signal(signal.SIGINT)
            told = child.communicate(timeout=60)[0]
    assert auth[1] not in told and "prefect-auth" in told
    assert f"MLflow   {page}/#/experiments/{own}/runs?workflowType=machine_learning" in told and told.rstrip().endswith("Ended.")
    assert child.returncode == 0 and wait_until(lambda: not answers(f"{page}/health"))


def test_a_port_that_is_taken_is_named(bare):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(BadInput, match=f"--port: {holder.getsockname()[1]} is taken on this machine"):
            ui.ui(bare, holder.getsockname()[1], lambda line: None)


def test_of_a_server_elsewhere_the_address_is_said(bare, monkeypatch):
    said = []
    monkeypatch.setattr(ui, "opened", lambda project: type("Store", (), {"uri": "https://mlflow.example/", "experiment": "7"}))
    ui.ui(bare, 5000, said.append)
    assert said[-1] == "MLflow   https://mlflow.example/#/experiments/7/runs?workflowType=machine_learning"


def test_prefects_page_is_named_where_this_project_is_served(bare, monkeypatch):
    """By what `hae serve` left beside its server; nobody is asked who might be a stranger and learn the key."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert server.served(bare) == ""
    mark = settings.home(bare) / "prefect" / "served"
    mark.parent.mkdir()
    for who, url in ((processes.identity(), "http://127.0.0.1:4321/api"), ("1 0", "")):
        mark.write_text(f"{who}\nhttp://127.0.0.1:4321/api\n")
        assert server.served(bare) == url


@pytest.mark.parametrize(("scope", "sent"), [
    ({"type": "http", "path": "/", "headers": []}, [401, b"The key is in .hae/prefect-auth.\n"]),
    ({"type": "http", "path": "/", "headers": [(b"authorization", b"Basic aGFlOmE=")]}, ["in"]),  # hae:a
    ({"type": "http", "path": "/", "headers": [(b"authorization", b"Basic aGFlOmI=")]}, [401, b"The key is in .hae/prefect-auth.\n"]),
    ({"type": "http", "path": "/health", "headers": []}, ["in"]),
    ({"type": "http", "path": "/health/../api", "headers": []}, [401, b"The key is in .hae/prefect-auth.\n"]),
    ({"type": "websocket", "path": "/", "headers": []}, [1008]),
    ({"type": "lifespan"}, ["in"]),
])
def test_the_door_lets_in_who_has_the_key(scope, sent):
    seen = []

    async def app(*_):
        seen.append("in")

    async def send(message):
        seen.append(message.get("status") or message.get("body") or message.get("code"))

    asyncio.run(ui.Door(app, "hae:a")(scope, None, send))
    assert seen == sent
