"""hae ui: MLflow's page at this project's experiment, behind a door, and Prefect's where it runs, until ended by Ctrl-C."""

from __future__ import annotations

import base64
import hmac
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipelines import processes, settings
from pipelines.flow import server
from pipelines.masking import masked
from pipelines.record.store import opened

__all__ = ["Door", "page", "ui"]

HOST = "127.0.0.1"
# A server that is not left behind, however its parent ends.
MLFLOW = "import sys; from pipelines import processes, ui; processes.end_with_parent(); ui.page(sys.argv[1], int(sys.argv[2]))"


def ui(project: Path, port: int, say: Callable[[str], None]) -> None:
    """Show the pages until ended. Of a server that MLFLOW_TRACKING_URI names only the address is said.

    Raises BadInput for a port that is taken, a store that can't be read, a page that does not come up.
    """
    store = opened(project)
    prefect = _prefect(project)
    say(f"Prefect  {masked(prefect).removesuffix('/api')}" if prefect else "Prefect  does not run; hae serve starts it")
    if store.uri.startswith("http"):
        return say(f"MLflow   {store.uri.rstrip('/')}/{_view(store.experiment)}")
    os.environ["HAE_PARENT"] = processes.identity()
    command = [sys.executable, "-c", MLFLOW, str(project), str(server.free(port))]
    environment = {  # not on the command line: an address may hold a password
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of language models, which nobody runs here
    }
    address = f"http://{HOST}:{port}"
    log = settings.home(project) / "logs" / "mlflow.log"
    with suppress(KeyboardInterrupt), server.running(command, environment, log, f"{address}/health", "MLflow's page"):
        say(f"MLflow   {address}/{_view(store.experiment)}")
        say(f"The page asks for a user and a password: the two sides of the colon in {settings.home(project) / 'prefect-auth'}")
        say("Ctrl-C ends it.")
        while True:
            time.sleep(3600)
    say("Ended.")


def _view(experiment: str) -> str:
    """The runs of an experiment as MLflow shows trainings; its own first page is one for language models."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning"


def _prefect(project: Path) -> str:
    """Address of the Prefect server that the environment names, or that `hae serve` has started for this project; "" where neither is.

    Nobody is asked: who listens at a port may be somebody else, who would learn the key.
    """
    return os.environ.get("PREFECT_API_URL", "") or server.served(project)


def page(project: str, port: int) -> None:
    """MLflow's server in this process, for whoever has the key of the project."""
    import uvicorn
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ["MLFLOW_TRACKING_URI"]
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = settings.artifact_root(Path(project))
    from mlflow.server.fastapi_app import app  # it reads them

    uvicorn.run(Door(app, settings.key(Path(project))), host=HOST, port=port, log_level="warning")


class Door:
    """An ASGI application behind a user and a password ("user:password"), which browsers ask for; /health is open."""

    def __init__(self, app, key: str):
        self.app, self.wanted = app, b"Basic " + base64.b64encode(key.encode())

    async def __call__(self, scope, receive, send) -> None:
        shown = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "lifespan" or scope.get("path") == "/health" or hmac.compare_digest(shown, self.wanted):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"www-authenticate", b'Basic realm="hae"'), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"The key is in .hae/prefect-auth.\n"})
        else:  # a websocket
            await send({"type": "websocket.close", "code": 1008})
