"""Prefect's server: one of our own for a time, or one that runs elsewhere; and the end of what needs it once it is gone."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from hae.errors import BadInput
from pipelines import processes, settings

__all__ = ["check_proxies", "free", "named", "needed", "own", "running", "served", "temporary"]

# A server that is not left behind, however its parent ends.
SERVER = "from pipelines.processes import end_with_parent; end_with_parent(); from prefect.cli import app; app()"
# As Prefect itself starts one for a flow that has none, which would import the whole server into the flow's own process.
BRIEF = ("from pipelines.processes import end_with_parent; end_with_parent(); import uvicorn; uvicorn.run("
         "'prefect.server.api.server:create_app', factory=True, host='127.0.0.1', port={port}, log_level='error', lifespan='on')")
BRIEFLY = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1",
           "PREFECT_API_BLOCKS_REGISTER_ON_START": "0"}
SERVED = "served"  # the file that says where the server is, and who started it
LOG = 5_000_000  # bytes of its log, after which the next server begins another
STARTING = 180  # seconds; a busy machine takes 35 and more
ANSWERS = 10  # seconds, that a server which is named may take to answer
GONE = 20  # seconds without a listener: a server that is only busy still takes the connection
LOST = "Prefect: its server is gone; what was finished is kept, a training goes on from its checkpoint; allowed: the same command again"


def free(port: int, option: str = "--port") -> int:
    """The port. Raises BadInput, which names the option, when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BadInput(f"{option}: {port} is taken on this machine; allowed: a free port") from None
    return port


def check_proxies() -> None:
    """Raise BadInput for a proxy of the environment that no client of Prefect's server can be made with, though it is never asked."""
    try:
        httpx.Client().close()
    except (ImportError, ValueError) as error:
        raise BadInput(f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: {error} Allowed: an address such as http://HOST:PORT, or none") from None


@contextmanager
def own(project: Path, port: int) -> Iterator[None]:
    """A Prefect server of our own, its pages included, for the time of the block."""
    url = os.environ["PREFECT_API_URL"]
    command = [sys.executable, "-c", SERVER, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    path = settings.home(project) / "prefect" / "server.log"
    with running(command, {"PREFECT_SERVER_UI_API_URL": url}, path, f"{url}/health", "the Prefect server"):
        mark = path.with_name(SERVED)
        mark.write_text(f"{processes.identity()}\n{url}\n")
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def temporary(project: Path, meanwhile: Callable[[], object]) -> None:
    """Start a Prefect server without pages and name it in the environment. meanwhile: is done while it starts.

    It ends with this process, after all else: Prefect sends its last lines when Python is about to end. Raises BadInput where it
    does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    os.environ.update({"PREFECT_API_URL": url, settings.TEMPORARY: url})
    path, command = settings.home(project) / "prefect" / "server.log", [sys.executable, "-c", BRIEF.format(port=port)]
    held = ExitStack()
    held.enter_context(running(command, BRIEFLY, path, f"{url}/health", "Prefect: its server", meanwhile))
    atexit.register(held.close)


def served(project: Path) -> str:
    """Address of the server that a living process has started for this project; "" where there is none."""
    with suppress(OSError, ValueError):
        who, url = (settings.home(project) / "prefect" / SERVED).read_text().splitlines()
        return url if processes.lives(who) else ""
    return ""


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path, health: str, name: str,
            meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """A server of our own for the time of the block, which begins once it answers at the address `health`; its lines go to a log.

    meanwhile: is done before anybody waits for it. Raises BadInput where it ends before, or does not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG:
        log.replace(log.with_suffix(".log.1"))
    with open(log, "a") as file:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                                 env=os.environ | environment)
    try:
        meanwhile()
        _wait_for(health, lambda: child.poll() is None, f"{name} did not start; see {log}")
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
def named(url: str) -> Iterator[None]:
    """The server that PREFECT_API_URL names."""
    deadline = time.monotonic() + ANSWERS
    _wait_for(f"{url}/health", lambda: time.monotonic() < deadline, f"PREFECT_API_URL: no Prefect server answers at {url}")
    yield


def _wait_for(url: str, hopeful, failure: str) -> None:
    deadline = time.monotonic() + STARTING
    with httpx.Client(timeout=5) as client:  # one for all: to make one reads all certificates of the machine
        while time.monotonic() < deadline and hopeful():
            with suppress(httpx.HTTPError):
                if client.get(url).status_code == 200:
                    return
            time.sleep(0.1)
    raise BadInput(failure)


@contextmanager
def needed(url: str, last: Callable[[str], object] = str) -> Iterator[None]:
    """End this process and its children in one line once nobody listens at the address any more, for the time of the block.

    Prefect itself would try for minutes to report each of its events. last: is told the line before the end.
    """
    over = threading.Event()
    client = httpx.Client(timeout=5, headers={"Connection": "close"})

    def watch() -> None:
        seen = time.monotonic()
        while not over.wait(2):
            if _listens(client, url):
                seen = time.monotonic()
            elif time.monotonic() - seen > GONE:
                break
        else:
            return
        processes.end_children()
        with suppress(OSError):
            last(LOST)
        print(LOST, file=sys.stderr, flush=True)
        os._exit(2)  # not by way of Prefect, which would wait for its server

    threading.Thread(target=watch, name="server", daemon=True).start()
    try:
        yield
    finally:
        if not _listens(client, url):
            over.wait(2 * GONE)
        over.set()


def _listens(client: httpx.Client, url: str) -> bool:
    """Whether anybody takes a connection there; a busy server does, though it may not answer."""
    try:
        client.get(f"{url}/health")
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        pass
    return True
