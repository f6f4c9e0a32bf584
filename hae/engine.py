"""Work in parts, and where it is done: in processes of this machine, or by Ray. Nothing else in the code knows of an engine."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.process import parent_process
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from hae.errors import BadInput

__all__ = ["ENGINES", "TRIES", "Engine", "cores", "map_parts"]

Part = TypeVar("Part")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
TRIES = 3  # of a part
ALONE_SECONDS = 10.0  # of work left, up to which this process does it by itself: others take seconds to start and import


def map_parts(
    function: Callable[[Part], Result], parts: Mapping[str, Part], engine: str | None = None, progress: str | None = None
) -> dict[str, Result]:
    """``{name: function(part)}`` of all parts, in their order, worked on side by side.

    function: of a module, and idempotent, since a part whose process ended or that failed is tried again, `TRIES` times in all; BadInput is
    no matter for another try. Part and result travel between processes, so they are small: paths, not rows. Relative paths are those of
    the present folder, on every machine.
    engine: "local", processes of this machine, as many as `cores`; "ray", tasks of Ray: of the cluster that RAY_ADDRESS names, else of one
    on this machine that ends with the call. None: HAE_ENGINE, else "ray" where RAY_ADDRESS is set, else "local".
    progress: what the bar of parts is called; None for no bar.

    Raises:
        BadInput: of the first part, in their order, that could not be done, in a line with its name; an engine that is not there.

    Example: Three numbers, squared.
        >>> map_parts(abs, {"a": -1, "b": 2, "c": -3})
        {'a': 1, 'b': 2, 'c': 3}
    """
    engine = engine or os.environ.get("HAE_ENGINE") or ("ray" if os.environ.get("RAY_ADDRESS") else "local")
    if engine not in ENGINES:
        raise BadInput(f"HAE_ENGINE: {engine!r} is not an engine; allowed: {', '.join(ENGINES)}")
    with tqdm(total=len(parts), desc=progress, unit=" parts", delay=3, leave=False, disable=progress is None) as shown:
        work = _Work(function, parts, shown)
        if engine == "local":
            work.here()
        if work.waiting:
            with _engine(engine) as others:
                work.side_by_side(others)
    return work.results()


def cores() -> int:
    """HAE_THREADS, else the cores that this process may use. Raises BadInput for what is no number of 1 or more."""
    threads = os.environ.get("HAE_THREADS")
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not threads.isdigit() or int(threads) < 1:
        raise BadInput(f"HAE_THREADS: {threads!r} is not allowed; allowed: a number of 1 or more")
    return int(threads)


class Engine(Protocol):
    """What does a part elsewhere. ``width`` threads call `run`, which gives the result or raises what the function raised, or any
    Exception where the process that worked on it is gone.

    Example: The least that is one: it works in the thread that calls.
        >>> class Here:
        ...     width = 1
        ...     run = staticmethod(lambda function, part: function(part))
        ...     stop = staticmethod(lambda: None)
        >>> engine: Engine = Here()
        >>> engine.run(abs, -3)
        3
    """

    width: int

    def run(self, function: Callable, part: Any) -> Any: ...

    def stop(self) -> None:
        """End what is at work: the calls of `run` raise."""


class _Work:
    """The parts of one call, and what has become of them."""

    def __init__(self, function: Callable, parts: Mapping[str, Any], shown: tqdm):
        self.function, self.parts, self.shown = function, parts, shown
        self.waiting = deque(parts)
        self.done: dict[str, Any] = {}
        self.faults: dict[str, BaseException] = {}
        self.stopped = threading.Event()

    def here(self) -> None:
        """In this process: all of them where there is one core, else the first, and what is left where that is little work."""
        start, one_core = time.monotonic(), cores() == 1

        def left() -> float:
            return (time.monotonic() - start) / max(1, len(self.done)) * len(self.waiting)

        while self.waiting and not self.faults and (one_core or len(self.waiting) == 1 or left() < ALONE_SECONDS):
            self._take(lambda function, part: function(part))

    def side_by_side(self, engine: Engine) -> None:
        def work() -> None:
            while not self.faults and not self.stopped.is_set():
                try:
                    self._take(engine.run)
                except IndexError:  # none is waiting
                    return

        width = min(engine.width, len(self.waiting))
        with ThreadPoolExecutor(width, "hae-part") as threads:
            try:
                for worker in [threads.submit(work) for _ in range(width)]:
                    worker.result()
            except BaseException:  # Ctrl-C
                self.stopped.set()
                engine.stop()
                raise

    def results(self) -> dict[str, Any]:
        """Parts are begun in their order, so that the first fault is the same one whoever was faster."""
        for name in self.parts:
            if name in self.faults:
                raise self.faults[name]
        return {name: self.done[name] for name in self.parts}

    def _take(self, run: Callable[[Callable, Any], Any]) -> None:
        name = self.waiting.popleft()
        try:
            self.done[name] = self._tried(name, run)
        except Exception as fault:
            self.faults[name] = fault
        self.shown.update()

    def _tried(self, name: str, run: Callable[[Callable, Any], Any]) -> Any:
        for last in (False,) * (TRIES - 1) + (True,):
            try:
                return run(self.function, self.parts[name])
            except BadInput:
                raise
            except Exception as error:
                if last or self.stopped.is_set():
                    said = (str(error).strip() or "no message").splitlines()[0]
                    raise BadInput(f"{name}: {TRIES} tries failed, the last by {type(error).__name__}: {said}") from error
        raise AssertionError("the last try returns or raises")


def _engine(name: str) -> AbstractContextManager[Engine]:
    if name == "local":
        return _Processes()
    from hae.cluster import Cluster  # it needs a package that few have

    return Cluster(cores())


class _Processes:
    """Processes of this machine, one for each thread that asks, so that one that is killed takes no other's part with it.

    They are spawned: nothing is shared with a parent whose libraries have threads.
    """

    def __init__(self):
        self.width = cores()
        self._mine = threading.local()
        self._pools: list[ProcessPoolExecutor] = []

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *error) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def run(self, function: Callable, part: Any) -> Any:
        pool = getattr(self._mine, "pool", None)
        if pool is None:
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
            self._mine.pool = pool
            self._pools.append(pool)
        try:
            return pool.submit(function, part).result()
        except BrokenProcessPool:
            self._mine.pool = None
            raise ChildProcessError("its process ended early (killed, or out of memory)") from None

    def stop(self) -> None:
        for pool in self._pools:
            for process in list((pool._processes or {}).values()):
                process.kill()


def _begin() -> None:
    """In a new process, of which there is one for each core: take one thread, and end with the process that asked for it, which kill -9
    gives no time to say so."""
    os.environ["HAE_THREADS"] = "1"

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
