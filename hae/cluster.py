"""Ray: tasks of a cluster that RAY_ADDRESS names, or of one on this machine that nobody else can reach and that ends with its owner.

https://docs.ray.io/en/latest/ray-core/configure.html and https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hae.errors import BadInput

__all__ = ["Cluster", "end_marked"]

STORE_BYTES = 100 * 1024**2  # of the object store: parts and results are small, and /dev/shm may be 64 MiB, which Ray then leaves
MARK = "HAE_CLUSTER"  # in the environment of all that a cluster of ours starts
AT_MOST = 1000  # tasks at once, a thread of this process each
TOLD = ("HAE_", "OMP_", "MKL_", "OPENBLAS_", "CUBLAS_")  # beginnings of what a task's environment takes over from here


class Cluster:
    """An `hae.engine.Engine` of Ray. width: tasks at once, one for each CPU of the cluster.

    A cluster of our own listens on 127.0.0.1 alone, asks for a token that is in `.hae` of the project (readable by its owner), starts no
    dashboard, tells nobody of its use, and leaves no process behind, however this one ends.

    Raises:
        BadInput: Ray is not installed, or the cluster can't be reached.

    Example: Nothing starts before ``with``; `hae.engine.map_parts` enters one where "ray" is the engine.
        >>> cluster = Cluster(cores=2)
        >>> cluster.width, cluster.watcher is None
        (2, True)
    """

    def __init__(self, cores: int):
        self.cores, self.address = cores, os.environ.get("RAY_ADDRESS") or "local"
        self.width = cores
        self.watcher: subprocess.Popen | None = None

    def __enter__(self) -> Cluster:
        own = self.address == "local"
        if own:
            _close_door()
        try:
            import ray
        except ImportError:
            raise BadInput("HAE_ENGINE: 'ray' needs Ray, which is not installed; allowed: pip install 'hae[ray]', or local") from None
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if own:
            self._watch()
            options |= {"num_cpus": self.cores, "include_dashboard": False, "object_store_memory": STORE_BYTES, "_temp_dir": self.folder}
        for last in (False, False, True):  # a raylet that is not up in 30 s ends the start, which a busy machine may take
            try:
                ray.init(self.address, **options)
                break
            except Exception as error:  # whatever a network has in store
                ray.shutdown()
                if last:
                    self.__exit__()
                    said = (str(error).strip() or type(error).__name__).splitlines()[0]
                    raise BadInput(f"RAY_ADDRESS: {self.address}: no cluster of Ray could be joined ({said})") from None
        self.width = max(1, min(int(ray.cluster_resources().get("CPU", 1)), AT_MOST))
        told = {name: value for name, value in os.environ.items() if name.startswith(TOLD)}
        self.task = ray.remote(_task).options(max_retries=0, runtime_env={"env_vars": told})  # who calls `run` tries again
        return self

    def __exit__(self, *error) -> None:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        if self.watcher is not None:
            os.environ.pop(MARK, None)
            self.watcher.communicate()

    def run(self, function: Callable, part: Any) -> Any:
        import ray

        try:
            # Packed here and opened by the task, once it can import what this process can.
            return ray.get(self.task.remote(ray.cloudpickle.dumps((function, part)), os.getcwd(), sys.path))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def stop(self) -> None:
        import ray

        ray.shutdown()

    def _watch(self) -> None:
        """Start what ends the cluster with us: it waits for the end of a pipe that we alone hold, in a session of its own, since what ends
        the process group of a stage must not end what cleans up behind it."""
        self.folder = tempfile.mkdtemp(prefix="hae-ray-")  # short: paths of its sockets may have 107 characters
        mark = secrets.token_hex(16)
        code = f"import sys; sys.stdin.read(); from hae.cluster import end_marked; end_marked({mark!r}, {self.folder!r})"
        home = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])}
        self.watcher = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment, start_new_session=True)
        os.environ[MARK] = mark


def end_marked(mark: str, folder: str) -> None:
    """End every process whose environment has this mark, and remove the folder. Twice nobody must be found: one may just be starting."""
    quiet = 0
    while quiet < 2:
        found = list(_marked(mark))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
    shutil.rmtree(folder, ignore_errors=True)


def _marked(mark: str) -> Iterator[int]:
    line = f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and line in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)
        except OSError:  # it has ended, or belongs to somebody else
            continue


def _close_door() -> None:
    """Settings of a cluster of our own, which Ray reads at import and hands to all that it starts."""
    os.environ.update({
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too, the one switch that binds all sockets to 127.0.0.1
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token()),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_server_port_wait_time_s": "180",  # a busy machine needs more than the 20 seconds that Ray waits
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task that asks for no GPU sees what this process sees
    })


def _token() -> Path:
    """The file with what a client of a cluster of ours must show, made once, its owner's alone (Ray would make one that all can read)."""
    folder = Path(os.environ.get("HAE_PROJECT") or ".").resolve() / ".hae"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "ray-token"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.chmod(0o600)
    return path


def _task(packed: bytes, folder: str, path: list[str]) -> Any:
    """In a worker: as it would be in the process that asked."""
    os.chdir(folder)
    sys.path[:] = path + [place for place in sys.path if place not in path]
    function, part = pickle.loads(packed)
    return function(part)
