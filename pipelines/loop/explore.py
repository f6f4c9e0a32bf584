"""hae explore: sample, retrain, sample, ... until rounds bring nothing new. All it knows lies in data/rounds and `.hae/loop.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hae.data.rounds import share
from hae.errors import BadInput
from hae.export.cv import cv
from hae.files import written_whole
from pipelines import params, paths, processes, settings
from pipelines.loop import energy
from pipelines.loop.encoded import encoded
from pipelines.loop.sampling import Options, rounds, sample
from pipelines.loop.turns import QUIET, Turn, ended, keep, turns, words
from pipelines.record import loops, packaging, registry
from pipelines.record.store import opened, plainly

__all__ = ["explore"]

CELL = 0.25  # spreads of a CV: side of the cells in which the CVs' plane is counted


def explore(project: Path, most: int, options: Options | None, say: Callable[[str], None],
            progress: Callable[[float, str], None] = lambda done, words: None) -> Iterator[Turn]:
    """Take turns until there are `most` rounds more than at the start, or the rule held in two in a row. A loop that was ended goes on.

    A first round without CVs is not biased. A champion that the gate held back is not biased along: the one before it is.

    Raises:
        BadInput: as `sample`; a retraining that failed, with its own line; no champion after a first round.
    """
    patterns = params.load(project / "params.yaml").prepare.trajectories
    if not any(pattern.startswith(f"{paths.ROUNDS}/") for pattern in patterns):
        raise BadInput(f"params.yaml: prepare.trajectories: {', '.join(patterns)}: they hold no rounds to train on; "
                       f"allowed with hae explore: {paths.ROUNDS}/*/walker-*.dcd among them, and {paths.ROUNDS} among the deps "
                       "of prepare in dvc.yaml (hae init --system writes both)")
    last = _planned(project, most)
    while True:
        told = turns(project)
        done = rounds(project)
        if done and done[-1].name not in {turn.round for turn in told}:
            _retrain(project, say)
            yield _turn(project, done[-1])
            if (of_rule := words(turns(project))):
                say(f"  {of_rule}")
            continue
        if len(done) >= last:
            break
        if ended(told):
            say(f"all held in {QUIET} rounds in a row: the loop ends")
            break
        folder, round_ = sample(project, (options or {}) | ({} if done else {"method": "none"}), say=progress)
        say(f"round {folder.name}: {round_['nanoseconds']:.2f} ns, {len(round_['faults'])} walkers torn apart"
            + (f", along version {round_['about']['version']}" if "version" in round_["about"] else ", unbiased"))
    (settings.home(project) / "loop-plan").unlink(missing_ok=True)


def _planned(project: Path, most: int) -> int:
    """Number of rounds at which to stop: that of the loop which was ended, else so many more than there are."""
    path = settings.home(project) / "loop-plan"
    if not path.exists():
        with written_whole(path) as partial:
            partial.write_text(str(len(rounds(project)) + most))
    return int(path.read_text())


def _retrain(project: Path, say: Callable[[str], None]) -> None:
    say(f"retraining on {len(rounds(project))} rounds")
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line.startswith(("To do:", "champion:", "promoted", "held", "first", "kept")):
            say(f"  {line}")

    with processes.children():
        code = processes.run(processes.hae(project, "retrain"), project, hear)
    if code == 3:
        raise BadInput("explore: no champion yet, so there are no CVs to bias along; allowed: a longer first round (--ns), or hae promote")
    if code not in (0, 1):
        raise BadInput(f"explore: the retraining ended with {code}: {lines[-1] if lines else 'it said nothing'}")


def _turn(project: Path, folder: Path) -> Turn:
    told = json.loads((folder / "round.json").read_text())
    store = opened(project)
    with plainly(store.uri):
        row = registry.champion(store)
        if row is None:
            raise BadInput(f"{store.name}: no champion; allowed: hae promote VERSION")
        loaded = packaging.load(store, row.version)
    (frames,) = encoded(project, lambda values: loaded.encode(values)[:, :2])
    cvs = frames.values
    cells = np.floor(cvs / np.array(loaded.about["cv_std"])[:2] / CELL).astype(int)
    mine = np.array([name.startswith(f"{folder.name}/") for name in frames.trajectory])
    before = {tuple(cell) for cell in cells[~mine]}
    after = {tuple(cell) for cell in cells}
    with plainly(store.uri):
        learned, verdicts = loops.learned(store), loops.verdicts(store)
    periods = cv(loaded, cvs=cvs.shape[1]).periods
    turn = Turn(folder.name, str(told["about"].get("version", "")), sum(_ns(path) for path in rounds(project)), len(after),
                len(after - before), len(told["faults"]), row.version, 1.0 if frames.weights is None else share(frames.weights),
                [value for name, value in sorted(learned.items()) if name.startswith("fve_")], verdicts,
                energy.within(project, frames, periods, folder.name))
    numbers = {"nanoseconds": turn.nanoseconds, "cells": turn.cells, "new_cells": turn.new, "torn": turn.torn,
               "effective_share": turn.share} | ({} if turn.within is None else {"energy_within": turn.within})
    with plainly(store.uri):
        loops.note(store, project, turn.round, numbers | learned)
    keep(project, turn)
    return turn


def _ns(folder: Path) -> float:
    return float(json.loads((folder / "round.json").read_text())["nanoseconds"])
