"""Child processes that end with the flow, and the lock that lets one retraining work in a checkout."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pipelines import locks, settings

__all__ = ["children", "end_orphans", "end_with_parent", "identity", "only_one", "run"]

_running: set[subprocess.Popen] = set()
_stopping = threading.Event()


def identity() -> str:
    """This process as "pid start-time"; a pid alone could by and by belong to another process."""
    return f"{os.getpid()} {psutil.Process().create_time()}"


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process group once the process that HAE_PARENT names is gone: kill -9 of a flow tells nobody else."""
    parent = os.environ.get("HAE_PARENT")
    if not parent:
        return
    pid, started = parent.split()

    def watch() -> None:
        while _is(int(pid), float(started)):
            time.sleep(seconds)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_orphans(project: Path, seconds: float = 10.0) -> None:
    """End what a killed retraining of this project left behind, and the locks on files that it held in DVC.

    Prefect's server and DVC know nothing of its end; DVC would also take the lock of a process that nobody has waited for
    (as happens in a container without an init) for that of a living one.
    """
    ours, left = settings.home(project) / "prefect", []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if environment.get("PREFECT_HOME") == str(ours) and "HAE_PARENT" in environment:
                pid, started = environment["HAE_PARENT"].split()
                if not _is(int(pid), float(started)):
                    process.kill()
                    left.append(process.pid)
    deadline = time.monotonic() + seconds
    while any(map(_remains, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    locks = project / ".dvc" / "tmp" / "rwlock"
    with suppress(FileNotFoundError):
        pids = re.findall(r'"pid": (\d+)', locks.read_text())
        if pids and not any(_remains(int(pid)) for pid in pids):
            locks.unlink()


def _remains(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return _lives(psutil.Process(pid))
    return False


def _is(pid: int, started: float) -> bool:
    """Whether the process with this pid and start time lives."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and _lives(process)
    except psutil.NoSuchProcess:
        return False


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextmanager
def children() -> Iterator[None]:
    """Children that `run` starts inside the block end with it, however the block is left."""
    _stopping.clear()
    try:
        yield
    finally:
        _stopping.set()
        for child in list(_running):
            _stop(child)


def run(command: Sequence[str], folder: Path, say: Callable[[str], None]) -> int:
    """Run a command in a process group of its own, hand its output to `say` line by line, and give its exit code.

    Of a progress bar, which overwrites its line, one state every few seconds and the last are handed on.
    """
    if _stopping.is_set():
        return -signal.SIGTERM
    child = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, env=os.environ | {"HAE_PARENT": identity()},
    )
    _running.add(child)
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    try:
        for line in _lines(child.stdout):
            say(line)
        return child.wait()
    finally:
        _stop(child)
        _running.discard(child)


def _follow(child: subprocess.Popen) -> None:
    """However the child ends, its group ends with it: a trainer may outlive the DVC that started it."""
    child.wait()
    _stop(child)


def _stop(child: subprocess.Popen) -> None:
    """End what is left of a child's process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _lines(stream, seconds: float = 5.0) -> Iterator[str]:
    """Lines in their final state; of the states that a carriage return overwrites, one every few seconds."""
    pending, shown = b"", time.monotonic()
    while chunk := os.read(stream.fileno(), 65536):
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield from _text(line)
        *states, last = pending.split(b"\r")
        pending = last or (states[-1] + b"\r" if states else b"")
        if states and time.monotonic() - shown > seconds:
            shown = time.monotonic()
            yield from _text(states[-1])
    yield from _text(pending)


def _text(line: bytes) -> Iterator[str]:
    states = [state for state in line.decode(errors="replace").split("\r") if state.strip()]
    yield from (state.rstrip() for state in states[-1:])


@contextmanager
def only_one(project: Path, wait: bool = False) -> Iterator[None]:
    """Hold the checkout's lock, and end what a killed holder left. Raises Busy, which says who holds it, unless `wait`."""
    with locks.checkout_lock(project, locks.tell if wait else None):
        end_orphans(project)
        yield
