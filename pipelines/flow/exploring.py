"""The loop as a flow: what `hae serve --explore` runs at each time of the schedule is one turn, a round of sampling and a retraining."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipelines import output, processes, settings

__all__ = ["explore", "turn"]


@flow(name="explore", flow_run_name=lambda: f"{datetime.now():%Y-%m-%d %H:%M:%S}")
def explore(served: bool = True) -> State:
    """Take one turn in the project that this process was started for (HAE_PROJECT). served: it ends with the server."""
    if served:
        processes.end_with_parent()
    output.guard_output()
    code, last = turn(settings.project(os.environ["HAE_PROJECT"]), lambda line: print(line, flush=True))
    return Completed(message=last) if code == 0 else Failed(message=last)


def turn(project: Path, say: Callable[[str], None]) -> tuple[int, str]:
    """`hae explore --rounds 1` as a child that ends with this process: its exit code, and its last line, masked. A turn that was ended
    before goes on."""
    lines = [""]

    def hear(line: str) -> None:
        lines.append(settings.masked(line))
        say(lines[-1])

    with processes.children():
        code = processes.run(processes.hae(project, "explore", "--rounds", "1"), project, hear)
    return code, lines[-1]
