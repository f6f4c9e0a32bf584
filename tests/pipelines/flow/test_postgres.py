"""Servers that others run: MLflow's over HTTP and Prefect's, both on a real PostgreSQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pipelines.gate import promotion
from pipelines.record import recording, registry

pytestmark = [pytest.mark.needs_postgres, pytest.mark.acceptance, pytest.mark.timeout(420)]
OWNER = "postgres"  # PostgreSQL refuses to run as root


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def as_owner(*command) -> list[str]:
    return [*(["setpriv", "--reuid", OWNER, "--regid", OWNER, "--clear-groups"] if os.getuid() == 0 else []), *map(str, command)]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """An empty cluster on loopback: a function from the name of a new database to host, port and owner as part of a URL."""
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None) or Path(shutil.which("initdb")).parent
    folder = Path("/tmp") / f"hae-postgres-{os.getpid()}"  # its owner must be able to walk there
    folder.mkdir()
    if os.getuid() == 0:
        shutil.chown(folder, OWNER, OWNER)
    port = free_port()
    data = folder / "data"
    initdb = as_owner(binaries / "initdb", "-D", data, "-U", "hae", "--auth=trust", "--no-sync")
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run(as_owner(*control, "-o", options, "start"), check=True, capture_output=True, cwd=folder)

    def database(name: str) -> str:
        subprocess.run([binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "hae", name], check=True)
        return f"hae@127.0.0.1:{port}/{name}"

    yield database
    subprocess.run(as_owner(*control, "-m", "immediate", "stop"), capture_output=True, cwd=folder)
    shutil.rmtree(folder)


class Server:
    """A child process that answers at an address, ended with all it started."""

    def __init__(self, command: list[str], address: str, log: Path, **environment: str):
        self.log = open(log, "wb")  # noqa: SIM115
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, start_new_session=True)
        for _ in range(240):
            try:
                if httpx.get(address, timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                assert self.process.poll() is None, log.read_text()
                time.sleep(0.5)
        pytest.fail(f"no answer from {address}: {log.read_text()[-2000:]}")

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def mlflow_server(postgres, tmp_path):
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"postgresql://{postgres('mlflow')}", "--artifacts-destination", (tmp_path / "artifacts").as_uri(),
    ]  # fmt: skip
    server = Server(command, f"http://127.0.0.1:{port}/health", tmp_path / "mlflow.log", DO_NOT_TRACK="true")
    yield f"http://127.0.0.1:{port}"
    server.end()


def test_a_tracking_server_on_postgres_holds_the_record_and_the_champion(trained, mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    facts = trained.facts()
    first = recording.record(trained.folder, facts, "first")
    assert first.added and len(first.runs) == 3 and set(first.versions) == {"collective", "boosted"}
    outcome = promotion.promote(trained.folder, facts)
    assert outcome.action == "promoted"
    assert registry.status(trained.folder).champion.version == outcome.champion
    assert not recording.record(trained.folder, facts, "second").added
    assert promotion.promote(trained.folder, facts).champion == outcome.champion
    assert not (trained.folder / "mlruns").exists()


@pytest.mark.acceptance  # a whole retraining; test_serving runs one against a server of its own
def test_a_prefect_server_on_postgres_runs_a_retraining(new_project, postgres, tmp_path):
    folder = new_project()
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    server = Server(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        f"{api}/health",
        tmp_path / "prefect.log",
        PREFECT_API_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://{postgres('prefect')}",
        PREFECT_HOME=str(tmp_path / "prefect"),
        PREFECT_API_URL=api,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="true",
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "--project", str(folder), "retrain"],
            env={**os.environ, "PREFECT_API_URL": api, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        runs = httpx.post(f"{api}/flow_runs/filter", json={}, timeout=30).json()
        assert [run["state"]["type"] for run in runs] == ["COMPLETED"], json.dumps(runs)[:2000]
    finally:
        server.end()
