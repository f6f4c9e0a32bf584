"""hae ui: MLflow's page at this project's experiment, and Prefect's where it runs, until ended by Ctrl-C."""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from pipelines import processes, settings
from pipelines.flow import server
from pipelines.record.store import opened

__all__ = ["ui"]

HOST = "127.0.0.1"
# A server that is not left behind, however its parent ends.
MLFLOW = "from pipelines.processes import end_with_parent; end_with_parent(); from mlflow.cli import cli; cli()"
PREFECT = f"http://{HOST}:4200/api"  # where hae serve has it, unless it is told otherwise


def ui(project: Path, port: int, say: Callable[[str], None]) -> None:
    """Show the pages until ended. Of a server that MLFLOW_TRACKING_URI names only the address is said.

    Raises BadInput for a port that is taken, a store that can't be read, a page that does not come up.
    """
    store = opened(project)
    prefect = _prefect(project)
    say(f"Prefect  {prefect.removesuffix('/api')}" if prefect else "Prefect  does not run; hae serve starts it")
    if store.uri.startswith("http"):
        return say(f"MLflow   {store.uri.rstrip('/')}/{_view(store.experiment)}")
    os.environ["HAE_PARENT"] = processes.identity()
    command = [sys.executable, "-c", MLFLOW, "server", "--host", HOST, "--port", str(server.free(port)), "--workers", "1",
               "--no-serve-artifacts"]
    environment = {  # not on the command line: an address may hold a password
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifact_root(project),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of language models, which nobody runs here
    }
    page = f"http://{HOST}:{port}"
    log = settings.home(project) / "logs" / "mlflow.log"
    with suppress(KeyboardInterrupt), server.running(command, environment, log, f"{page}/health", "MLflow's page"):
        say(f"MLflow   {page}/{_view(store.experiment)}")
        say("Ctrl-C ends it.")
        while True:
            time.sleep(3600)
    say("Ended.")


def _view(experiment: str) -> str:
    """The runs of an experiment as MLflow shows trainings; its own first page is one for language models."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning"


def _prefect(project: Path) -> str:
    """Address of the Prefect server that knows this project's key, or that the environment names, where it answers; else ""."""
    url = os.environ.get("PREFECT_API_URL", PREFECT)
    shown = base64.b64encode(os.environ.get("PREFECT_API_AUTH_STRING", settings.key(project)).encode()).decode()
    with suppress(httpx.HTTPError):
        if httpx.get(f"{url}/admin/version", headers={"Authorization": f"Basic {shown}"}, timeout=5).status_code == 200:
            return url
    return ""
