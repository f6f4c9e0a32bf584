"""Locks between processes: one retraining or move of aliases in a checkout, one training on a machine's GPU. A wait says for whom."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hae.errors import BadInput
from pipelines import settings

__all__ = ["Busy", "checkout_lock", "gpu_holder", "gpu_lock", "holder", "tell"]

PATIENCE = 1.0  # seconds before a wait is worth a word, or is given up by who does not wait
EVERY = 60.0  # seconds between two words

Say = Callable[[str], None]


class Busy(BadInput):
    """Another process works in this checkout."""


def tell(line: str) -> None:
    """Say a line to the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def checkout_lock(project: Path, waiting: Say | None = None) -> Iterator[None]:
    """Hold the checkout: whoever trains, records or moves an alias there. A process may enter it again, in any thread.
    What was written to `.hae` meanwhile is its owner's alone afterwards.

    waiting: is told for whom one waits and how long; without it nobody waits.

    Raises:
        Busy: another process holds it, and `waiting` is None. Says which.
    """
    project = Path(project).resolve()
    with _held(settings.home(project) / "lock", f"{project}: another hae is at work here already", waiting):
        try:
            yield
        finally:
            settings.close(project)


@contextmanager
def gpu_lock(waiting: Say | None = tell) -> Iterator[None]:
    """Hold this machine's GPU among all checkouts of one person, until the block ends."""
    path = _of_gpu()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path.parent}: the lock of the GPU can't be made there ({error.strerror}); allowed: XDG_CACHE_HOME=DIR") from None
    with _held(path, "another hae trains on the GPU", waiting):
        yield


def _of_gpu() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")  # a person's own: nobody else can make its files first
    return cache / "hae" / f"gpu-{socket.gethostname()}.lock"


def holder(project: Path) -> str:
    """Who is at work in this checkout now: "process 12 since 2026-01-31 10:00:00: hae retrain"; "" if nobody is."""
    return _holder(settings.home(Path(project).resolve()) / "lock")


def gpu_holder() -> str:
    """Who trains on this machine's GPU now, in the same words; "" if nobody does."""
    return _holder(_of_gpu()) if _of_gpu().exists() else ""


def _holder(path: Path) -> str:
    lock = _lock(path)
    if not lock.is_locked:
        try:
            with lock.acquire(timeout=0):
                return ""  # a holder that was killed may have left its name
        except Timeout:
            pass
    return _name(path)


@contextmanager
def _held(path: Path, what: str, waiting: Say | None) -> Iterator[None]:
    lock = _lock(path)
    if lock.is_locked:  # by this process
        with lock:
            yield
        return
    _acquire(lock, path, what, waiting)
    name = path.with_name(f"{path.name}.holder")
    try:
        name.write_text(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {' '.join(_command())}\n")
        yield
    finally:
        with suppress(FileNotFoundError):
            name.unlink()
        lock.release()


def _lock(path: Path) -> FileLock:
    return FileLock(path, thread_local=False, is_singleton=True)


def _acquire(lock: FileLock, path: Path, what: str, waiting: Say | None) -> None:
    begun, patience = time.monotonic(), PATIENCE
    while True:
        try:
            lock.acquire(timeout=patience)
            return
        except Timeout:
            said = f"{what} ({_name(path) or 'it did not leave its name'})"
            if waiting is None:
                raise Busy(f"{said}; wait for it, or end it") from None
            waiting(f"{said}; waiting for it since {time.monotonic() - begun:.0f} s")
            patience = EVERY


def _name(path: Path) -> str:
    try:
        return path.with_name(f"{path.name}.holder").read_text().strip()
    except OSError:
        return ""


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:2]]
