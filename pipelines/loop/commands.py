"""The commands of the loop: hae sample, hae explore, hae energy. What they need is imported when they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.terminal import project_here, say

if TYPE_CHECKING:
    from pipelines.project.inspection import Choices

__all__ = ["COMMANDS", "begin"]

UNKNOWN = "free energies from one to another are not known; more windows (--walkers) are needed"


@click.command()
@click.option("--ns", type=click.FloatRange(0, min_open=True), metavar="NS", help="Length of each walker.")
@click.option("--walkers", type=click.IntRange(1), metavar="N", help="Number of walkers.")
@click.option("--method", type=click.Choice(["metadynamics", "opes", "umbrella", "none"]), help="Kind of bias.")
@click.option("--cvs", type=click.IntRange(1, 2), metavar="K", help="Bias the first K CVs.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the random numbers.")
@click.option("--version", help="Version of the model; default: the champion.")
def sample(ns: float | None, version: str | None, **options) -> None:
    """Run a round of simulation, biased along the champion's CVs. Defaults: the section sample of params.yaml."""
    project = project_here()
    from pipelines.loop import sampling
    from pipelines.loop.progress import Progress

    with Progress("sample") as progress:
        folder, told = sampling.sample(project, options | {"nanoseconds": ns}, version, progress)
    say(f"{folder}: {told['nanoseconds']:.2f} ns, {len(told['faults'])} walkers torn apart")
    if told.get("groups", 1) > 1:
        say(f"its windows fall into {told['groups']} groups that do not reach into each other: {UNKNOWN}")


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Further rounds, at most.")
@click.option("--ns", type=click.FloatRange(0, min_open=True), metavar="NS", help="Length of each walker in a round.")
@click.option("--walkers", type=click.IntRange(1), metavar="N", help="Number of walkers.")
def explore(rounds: int, ns: float | None, walkers: int | None) -> None:
    """Sample and retrain in turn, until rounds bring nothing new. An interrupted loop continues."""
    project = project_here()
    from pipelines.loop import explore as loop
    from pipelines.loop import page
    from pipelines.loop.progress import Progress

    with Progress("sample") as progress:
        for turn in loop.explore(project, rounds, {"nanoseconds": ns, "walkers": walkers}, say, progress):
            say(f"after round {turn.round}: {turn.nanoseconds:.1f} ns in all, {turn.new} new cells of {turn.cells} in the plane of CV1 "
                 f"and CV2, champion version {turn.champion}")
            say(f"page: {page.write(project)}")


@click.command()
@click.option("--between", nargs=2, required=True, metavar="A B", help="Regions, as conditions on labels and CVs: 'phi > 0' 'phi < 0'.")
def energy(between: tuple[str, str]) -> None:
    """Compute F(A) - F(B), the free energy difference of two regions, from all biased rounds, with its 90 % interval."""
    project = project_here()
    from pipelines.loop import energy as energies

    found = energies.between(project, *between)
    of, rounds = found.difference, "round" if found.rounds == 1 else "rounds"
    say(f"F({between[0]}) - F({between[1]}) = {of.value:.2f} kJ/mol [{of.low:.2f}, {of.high:.2f}] from {found.rounds} {rounds}, "
         f"{found.nanoseconds:.1f} ns, {found.frames[0]} and {found.frames[1]} frames; effective share of frames {of.share:.2f}")
    crossings, crossed, walkers = found.crossings
    along = f"; CVs are those of version {found.version}" if found.version else ""
    say(f"{crossings} crossings between the two, by {crossed} of {walkers} walkers{along}")
    if found.apart:
        say(f"the windows of {', '.join(found.apart)} fall into groups that do not reach into each other: {UNKNOWN}")


def begin(folder: Path, system: str, ns: float | None, choices: Choices) -> None:
    """hae init --system."""
    from pipelines import params
    from pipelines.loop import starting
    from pipelines.loop.progress import Progress

    said = {"nanoseconds": ns, "temperature": choices.temperature}
    section = params.Sample().model_copy(update={name: value for name, value in said.items() if value is not None})
    with Progress("sample") as progress:
        starting.start(folder, system, choices.topology, replace(choices, topology=None), section, say, progress)


COMMANDS = (sample, explore, energy)
