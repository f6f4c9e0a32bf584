"""Walkers as processes in step with each other: between two hills each runs alone, then all hear of all hills.

One process a walker, since OpenMM's Reference platform has one source of random numbers a process. So a seed gives the same numbers
whatever the number of cores.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from hae.errors import BadInput
from hae.sampling.metadynamics import Grid
from hae.sampling.walker import Place, Walker

__all__ = ["GOES_ON", "Crew", "Hill"]

PATIENCE = 5.0  # seconds that walkers have to end by themselves, all together
GOES_ON = "what was written stays, the same command goes on from its last checkpoint"

Hill = tuple[int, np.ndarray, float]  # number of the grid, centre (n,), height in kJ/mol


class Crew:
    """make(number): a Walker with its Grid and the number of that grid (of its own, or of all), called in its process, so it is pickled.
    At most `cores` run at a time. It is a context: its processes end with it, and with the process that made it.

    Example: A crew of nobody; `hae.sampling.round.run` has one of as many walkers as it is asked for.
        >>> with Crew(numbers=[], cores=2, make=None) as crew:
        ...     crew.run(steps=250, save=True)  # number -> Place
        {}
    """

    def __init__(self, numbers: Sequence[int], cores: int, make: Callable[[int], tuple[Walker, Grid | None, int]]):
        context: Any = multiprocessing.get_context("forkserver")  # what all import is imported once
        context.set_forkserver_preload(["hae.sampling.walker"])
        self._cores, self._walkers = cores, {}
        for number in numbers:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, make, number), name=f"walker {number}", daemon=True)
            process.start()
            theirs.close()
            self._walkers[number] = process, ours

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_) -> None:
        for _, pipe in self._walkers.values():
            pipe.close()
        until = time.monotonic() + PATIENCE
        for process, _ in self._walkers.values():
            process.join(max(0.0, until - time.monotonic()))
            process.kill()

    def run(self, steps: int, save: bool) -> dict[int, Place]:
        """Run all that still stand; gives their places, by number. Who is torn apart leaves."""
        places = self._all(("run", steps, save))
        for number in [number for number, place in places.items() if place.fault]:
            self._walkers.pop(number)[1].close()
        return places

    def learn(self, hills: Sequence[Hill]) -> None:
        self._all(("learn", list(hills)))

    def checkpoint(self, folder: Path) -> None:
        """Write walker-<number>.chk of each that still stands."""
        self._all(("checkpoint", folder))

    def _all(self, message) -> dict[int, Any]:
        """Everyone's answers in the order of numbers, at most so many at work at a time as there are cores."""
        waiting, found = list(self._walkers), dict[int, Any]()
        busy: dict[Any, int] = {}
        while waiting or busy:
            while waiting and len(busy) < self._cores:
                number = waiting.pop(0)
                busy[self._walkers[number][1]] = number
                self._tell(number, message)
            for pipe in wait(list(busy)):
                found[number] = self._hear(number := busy.pop(pipe))
        return dict(sorted(found.items()))

    def _tell(self, number: int, message) -> None:
        try:
            self._walkers[number][1].send(message)
        except OSError:
            raise self._gone(number) from None

    def _hear(self, number: int):
        try:
            answer = self._walkers[number][1].recv()
        except (EOFError, OSError):
            raise self._gone(number) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _gone(self, number: int) -> BadInput:
        process = self._walkers[number][0]
        process.join(5)
        return BadInput(f"sample: walker {number}: its process was ended (exit code {process.exitcode}; out of memory?); {GOES_ON}")


def _work(pipe, make, number: int) -> None:
    """Answer messages until the parent is gone. An error is an answer, and the last one."""
    made = None
    with suppress(EOFError, OSError, KeyboardInterrupt):  # the parent is gone, or it ends
        while True:
            message = pipe.recv()
            try:
                made = made or make(number)
                answer: Place | Exception | None = _answer(message, *made)
            except Exception as error:
                answer = _in_a_line(number, error)
            pipe.send(answer)
            if isinstance(answer, Exception):
                return


def _in_a_line(number: int, error: Exception) -> Exception:
    """What OpenMM or the disk says, as BadInput; other errors as they are."""
    if isinstance(error, BadInput) or not (isinstance(error, OSError) or type(error).__module__.startswith("openmm")):
        return error
    return BadInput(f"sample: walker {number}: {' '.join(str(error).split())[:200]}; {GOES_ON}")


def _answer(message, walker: Walker, grid: Grid | None, grid_number: int) -> Place | None:
    kind, *rest = message
    if kind == "run":
        return walker.run(*rest)
    if kind == "checkpoint":
        walker.checkpoint(rest[0] / f"walker-{walker.number}.chk")
    if kind == "learn" and grid is not None:
        for number, centre, height in rest[0]:
            if number == grid_number:
                grid.put(centre, height)
    return None
