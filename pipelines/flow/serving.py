"""Retraining on a schedule and when the data change: a Prefect server, a deployment of the flow, a look at the data."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from hae.errors import BadInput
from pipelines import params, processes, settings
from pipelines.flow import versioning

__all__ = ["serve"]

# A server that is not left behind, however its parent ends.
SERVER = "from pipelines.processes import end_with_parent; end_with_parent(); from prefect.cli import app; app()"
STARTING = 180  # seconds; a busy machine takes 35 and more


def serve(project: Path, cron: str, watch: int | None, port: int, say=print) -> None:
    """Serve until ended by Ctrl-C or SIGTERM. cron: in local time. watch: seconds between two looks at the data.

    Raises BadInput for a cron text that is none, a port that is taken, a server that does not come up.
    """
    params.load(project / "params.yaml")
    versioning.read_graph(project)
    named = os.environ.get("PREFECT_API_URL")
    if not named:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{_free(port)}/api"  # Prefect reads it once, at its first import
    schedule = _schedule(cron)
    os.environ["HAE_PARENT"] = processes.identity()  # the runs started from here end with it
    with suppress(KeyboardInterrupt), _named(named) if named else _server(project, port):
        from prefect.runner import Runner
        from prefect.types.entrypoint import EntrypointType

        from pipelines.flow import flows

        deployment = flows.retrain.to_deployment(
            settings.place(project),
            schedule=schedule,
            parameters={"project": str(project), "served": True},
            description=f"Retraining of {project}",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        # One at a time by the runner itself: a limit kept by the server stays taken when a run is killed.
        runner = Runner(name="hae", pause_on_shutdown=False, limit=1)
        # Its own handler leaves work undone and warns.
        runner.handle_sigterm = lambda *_: signal.raise_signal(signal.SIGINT)  # type: ignore[method-assign]
        identifier = runner.add_deployment(deployment)  # type: ignore[arg-type]  # no coroutine outside a loop
        page = os.environ["PREFECT_API_URL"].removesuffix("/api")
        say(f"Serving {project}, at '{cron}'" + (f" and when its data change (looking every {watch} s)" if watch else ""))
        say(f"Page: {page}/deployments/deployment/{identifier}")
        if watch:
            threading.Thread(target=_watch, args=(project, identifier, watch), name="watch", daemon=True).start()
        asyncio.run(runner.start())
    say("Ended; the schedule stays and goes on with the next hae serve.")


def _schedule(cron: str):
    """The schedule, in local time."""
    from prefect.schedules import Cron
    from tzlocal import get_localzone_name

    try:
        return Cron(cron, timezone=get_localzone_name())
    except ValueError:
        raise BadInput(f"--cron: {cron!r} is not allowed; allowed: minute hour day month weekday, as '0 3 * * *'") from None


def _free(port: int) -> int:
    """The port. Raises BadInput when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BadInput(f"--port: {port} is taken on this machine; allowed: a free port") from None
    return port


@contextmanager
def _server(project: Path, port: int) -> Iterator[None]:
    """A Prefect server of our own, its pages included, for the time of the block."""
    url = os.environ["PREFECT_API_URL"]
    path = settings.home(project) / "prefect" / "server.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", SERVER, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"PREFECT_SERVER_UI_API_URL": url},
        )
    try:
        _wait_for(url, lambda: child.poll() is None, f"the Prefect server did not start; see {path}")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def _named(url: str) -> Iterator[None]:
    """The server that PREFECT_API_URL names."""
    deadline = time.monotonic() + 10
    _wait_for(url, lambda: time.monotonic() < deadline, f"PREFECT_API_URL: no Prefect server answers at {url}")
    yield


def _wait_for(url: str, hopeful, failure: str) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and hopeful():
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.3)
    raise BadInput(failure)


def _watch(project: Path, deployment, seconds: int) -> None:
    """Start one retraining for each new content of the data. What was seen last is kept in `.hae/watched`.

    Content counts once two looks found the same: a file may still be being copied.
    """
    from prefect.deployments import run_deployment

    kept = settings.home(project) / "watched"
    before = None
    while True:
        try:
            now = versioning.data_digest(project)
            if now == before and now != (kept.read_text() if kept.exists() else None):
                run_deployment(deployment, timeout=0, as_subflow=False, tags=["data"])
                kept.write_text(now)
            before = now
        except Exception as error:  # the next look may succeed: a file gone for a moment, a server busy
            logging.getLogger("prefect.hae").warning("Look at the data: %s", error)
        time.sleep(seconds)
