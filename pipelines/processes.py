"""Child processes that end with the flow, and the lock that lets one retraining work in a checkout."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pipelines import locks, settings
from pipelines.warm import AVAILABLE, Forked, Warm

__all__ = ["OVER", "children", "end_children", "end_orphans", "end_with_parent", "files_held", "hae", "identity", "lives", "only_one",
           "orphans", "run", "warm_up"]

OVER = "it took longer than it may and was ended, after"

DVC = (sys.executable, "-m", "dvc")  # how a command begins that `warm_up` makes cheap

Child = subprocess.Popen | Forked
_running: set[Child] = set()
_open = threading.Event()  # set inside `children`
_warm: list[Warm] = []  # one at most


def identity(pid: int | None = None) -> str:
    """A living process (default: this one) as "pid start"; "" where none lives. A pid alone may later belong to another process.

    The start is counted from the machine's own start, not read from a clock: somebody may set a clock, and no process ends by that.
    """
    born = _born(pid or os.getpid())
    return f"{pid or os.getpid()} {born}" if born else ""


def lives(identity: str) -> bool:
    """Whether the process of this identity lives."""
    pid, _, born = identity.partition(" ")
    return pid.isdecimal() and bool(born) and _born(int(pid)) == born


def _born(pid: int) -> str:
    """When a living process started, in ticks since the boot of this name; "" where none lives."""
    if not Path("/proc/self/stat").exists():  # not Linux
        with suppress(psutil.Error):
            return "" if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE else str(psutil.Process(pid).create_time())
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, ticks = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return "" if state in "ZX" else f"{ticks}@{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process group once the process that HAE_PARENT names is gone: kill -9 of a flow tells nobody else."""
    parent = os.environ.get("HAE_PARENT")
    if not parent:
        return

    def watch() -> None:
        while lives(parent):
            time.sleep(seconds)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def hae(project: Path, *arguments: str) -> list[str]:
    """The command hae for `run`, which ends with the process that runs it, also one that is ended by kill -9."""
    code = "from pipelines.processes import end_with_parent; end_with_parent(); from pipelines.cli import main; main()"
    return [sys.executable, "-c", code, "--project", str(project), *arguments]


def orphans(project: Path) -> list[psutil.Process]:
    """What a killed retraining of this project left running."""
    ours, left = settings.home(project) / "prefect", []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            ours_too = environment.get("PREFECT_HOME") == str(ours) and "HAE_PARENT" in environment
            if ours_too and not lives(environment["HAE_PARENT"]):
                left.append(process)
    return left


def end_orphans(project: Path, seconds: float = 10.0) -> None:
    """End what a killed retraining of this project left behind, and the locks on files that it held in DVC.

    Prefect's server and DVC know nothing of its end; DVC would also take the lock of a process that nobody has waited for
    (as happens in a container without an init) for that of a living one.
    """
    left = orphans(project)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + seconds
    while any(_born(process.pid) for process in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    _free_files(project / ".dvc" / "tmp" / "rwlock")


def _free_files(locks: Path) -> None:
    """Remove DVC's locks on files where none of its holders lives."""
    if not files_held(locks):
        locks.unlink(missing_ok=True)


def files_held(locks: Path, seconds: float = 1.0) -> bool:
    """Whether a living process holds DVC's locks on files; nobody does where the list of them was cut short by a kill."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            held = json.loads(locks.read_text())
            holders = [held.get("write", {}).values(), *held.get("read", {}).values()]
            return any(_holds(holder["pid"], holder["cmd"]) for group in holders for holder in group)
        except FileNotFoundError:
            return False
        except (ValueError, LookupError, TypeError, AttributeError):  # half-written, perhaps by a DVC that writes it just now
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)


def _holds(pid: int, command: str) -> bool:
    """Whether the process that DVC noted still lives: the same number with other words is another process."""
    if not _born(pid):
        return False
    with suppress(psutil.NoSuchProcess):
        return " ".join(psutil.Process(pid).cmdline()).rstrip().endswith(command.partition(" ")[2])
    return False


@contextmanager
def children() -> Iterator[None]:
    """Children that `run` starts inside the block end with it, however the block is left; outside of it nothing starts."""
    _open.set()
    try:
        yield
    finally:
        end_children()


def end_children() -> None:
    """End what `run` started, and start nothing more."""
    _open.clear()
    for child in list(_running):
        _stop(child)
    while _warm:
        _warm.pop().close()


def warm_up(folder: Path) -> None:
    """Have what DVC and stages import imported once, for all that `run` starts inside `children`. HAE_WARM=0: each starts from nothing."""
    if AVAILABLE and _open.is_set() and not _warm and os.environ.get("HAE_WARM") != "0":
        threads = {"OMP_NUM_THREADS": os.environ.get("HAE_THREADS", "1")}  # as pipelines.stages says it
        _warm.append(Warm(folder, threads | os.environ | {"HAE_PARENT": identity()}))


def run(command: Sequence[str], folder: Path, say: Callable[[str], None], seconds: float | None = None) -> int:
    """Run a command in a process group of its own, hand its output to `say` line by line, and give its exit code.

    Outside of `children`, or once that has ended, nothing starts: -SIGTERM, as of one that was ended at once.
    seconds: after which it is ended with its group, whether it works, hangs or is stopped; a last line that begins with `OVER` says so.
    Of a progress bar, which overwrites its line, one state every few seconds and the last are handed on.
    """
    if not _open.is_set():
        return -signal.SIGTERM
    out, write = os.pipe()
    try:
        child = _started(command, folder, write)
    finally:
        os.close(write)
    _running.add(child)
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    late = threading.Event()

    def end() -> None:
        late.set()
        _stop(child)

    timer = threading.Timer(seconds or 0, end)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        for line in _lines(out):
            say(line)
        code = child.wait()
        if seconds is not None and late.is_set():
            say(f"{OVER} {seconds / 3600:g} h (limits.stage_hours)")
        return code
    finally:
        timer.cancel()
        _stop(child)
        _running.discard(child)
        os.close(out)


def _started(command: Sequence[str], folder: Path, write: int) -> Child:
    """A child whose output goes to this file descriptor: a fork of the warm process where it can be one."""
    if _warm and tuple(command[:3]) == DVC:
        with suppress(OSError):
            return _warm[0].fork(command[2:], folder, write)
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=write, stderr=write, start_new_session=True,
                            env=os.environ | {"HAE_PARENT": identity()})


def _follow(child: Child) -> None:
    """However the child ends, its group ends with it: a trainer may outlive the DVC that started it."""
    child.wait()
    _stop(child)


def _stop(child: Child) -> None:
    """End what is left of a child's process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _lines(stream: int, seconds: float = 5.0) -> Iterator[str]:
    """Lines in their final state; of the states that a carriage return overwrites, one every few seconds."""
    pending, shown = b"", time.monotonic()
    while chunk := os.read(stream, 65536):
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
