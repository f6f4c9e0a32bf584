"""Servers that others run: MLflow's over HTTP and Prefect's, both on a real PostgreSQL."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from servers import Server, free_port

from pipelines.gate import promotion
from pipelines.record import recording, registry

pytestmark = [pytest.mark.needs_postgres, pytest.mark.acceptance, pytest.mark.timeout(420)]


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
