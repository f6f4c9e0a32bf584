"""What `hae serve --explore` does at each time of its schedule: one turn of the loop, a round of sampling and a retraining."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines import processes
from pipelines.masking import masked

__all__ = ["turn"]


def turn(project: Path, say: Callable[[str], None]) -> tuple[int, str]:
    """`hae explore --rounds 1` as a child that ends with this process: its exit code, and its last line, masked. A turn that was ended
    before goes on."""
    lines = [""]

    def hear(line: str) -> None:
        lines.append(masked(line))
        say(lines[-1])

    with processes.children():
        code = processes.run(processes.hae(project, "explore", "--rounds", "1"), project, hear)
    return code, lines[-1]
