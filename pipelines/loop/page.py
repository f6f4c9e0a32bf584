"""results/loop.html: what the loop has found, round by round, in one page that stands alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hae.data.frames import Frames
from hae.errors import BadInput
from hae.export.cv import cv
from hae.figures import plots
from hae.files import written_whole
from hae.sampling import plumed_files
from hae.sampling.round import ROOM
from pipelines import params, paths
from pipelines.loop import drawings, energy
from pipelines.loop.encoded import encoded
from pipelines.loop.sampling import rounds
from pipelines.loop.turns import turns, words
from pipelines.page.inline import inline
from pipelines.record import packaging
from pipelines.record.store import opened, plainly

__all__ = ["PAGE", "write"]

PAGE = paths.RESULTS / "loop.html"
TEMPLATE = Path(__file__).with_name("loop.html")


def write(project: Path) -> Path:
    """Write the page of what the turns so far have found; gives its path. Raises BadInput before the first turn."""
    told = turns(project)
    if not told:
        raise BadInput(f"{project}: no turn of the loop yet; allowed: hae explore first")
    store, content = opened(project), params.load(project / "params.yaml")
    assert content.sample is not None  # no turn without it
    with plainly(store.uri):
        champions = {version: packaging.load(store, version) for version in dict.fromkeys(turn.champion for turn in told)}
    seen = dict(zip(champions, encoded(project, *(loaded.encode for loaded in champions.values())), strict=True))
    frames = seen[told[-1].champion]
    cvs, rounds_of = frames.values, np.array([name.partition("/")[0] for name in frames.trajectory])
    with plots.style():
        figures: dict[str, Markup | str | list[Markup]] = {
            "found": _drawn("found", "cells of the CVs' plane against nanoseconds", lambda axis: drawings.found(told, axis)),
            "plane": _drawn("plane", "frames in the plane of the CVs by rounds",
                            lambda axis: drawings.plane(cvs, rounds_of, axis), 5.6) if cvs.shape[1] > 1 else "",
        }
        matched = _matched({version: of.values for version, of in seen.items()})
        if matched:
            figures["changes"] = _drawn("changes", "likeness of matched CVs", lambda axis: drawings.changes(matched, axis),
                                        height=1 + 0.5 * len(matched))
        figures["energies"] = _energies(project, frames, champions[told[-1].champion])
    template = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True).from_string(
        TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(name=content.record.model_name, turns=told, held=words(told), figures=figures, sample=content.sample,
                           settle=energy.SETTLE, rule=content.prepare.rounds, **_plumed(project))
    with written_whole(project / PAGE) as partial:
        partial.write_text(text, encoding="utf-8")
    return project / PAGE


def _drawn(name: str, words: str, draw: Callable, width: float = 4.8, height: float = 3.4) -> Markup:
    made, axis = plots.figure(width, height)
    draw(axis)
    return inline(plots.svg(made), name, words)


def _matched(seen: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """"old to new" -> |r| of each CV and the one in its place; versions are matched to the champion before them as they are recorded."""
    versions = list(seen)
    found = {}
    for old, new in pairwise(versions):
        n = min(seen[old].shape[1], seen[new].shape[1])
        found[f"{old} to {new}"] = [abs(float(np.corrcoef(seen[old][:, k], seen[new][:, k])[0, 1])) for k in range(n)]
    return found


def _energies(project: Path, frames: Frames, champion: packaging.Loaded) -> list[Markup]:
    """Along the first two CVs of the champion and along each label; none before a biased round."""
    try:
        table = energy.rows(project)
    except BadInput:
        return []
    values = energy.seen(table, frames)
    along = {f"CV{k + 1}": (values[:, k], period) for k, period in enumerate(cv(champion, cvs=min(2, frames.n_features)).periods)}
    along |= {f"{name}, rad": (table[name].to_numpy(), 2 * np.pi) for name in frames.labels.columns if name in table}
    profiles = {name: energy.along(table, *of) for name, of in along.items()}
    return [_drawn(f"energy-{i}", f"free energy along {name}", partial(drawings.energy, found, plots.plain(name)))
            for i, (name, found) in enumerate(profiles.items())]


def _plumed(project: Path) -> dict[str, str]:
    """plumed: the line that goes on with the bias of the last round of hills ("" where there is none); hills: its file; version: of the CVs
    that it is a bias of."""
    found = [folder / "HILLS" for folder in rounds(project) if (folder / "HILLS").exists()]
    if not found:
        return {"plumed": "", "hills": "", "version": ""}
    table, told = plumed_files.read(found[-1]), json.loads((found[-1].parent / "round.json").read_text())
    names = [name for name in table if name.startswith("cv")]
    widths = [float(table[f"sigma_{name}"][0]) for name in names]
    grid = f"GRID_MIN={_ends(told['ranges'], widths, 'low', -1)} GRID_MAX={_ends(told['ranges'], widths, 'high', 1)}"
    of, dynamics = told["sampling"], told["dynamics"]  # as it was then: params.yaml may say something else by now
    line = (f"METAD ARG={','.join(names)} SIGMA={','.join(f'{width:.4g}' for width in widths)} HEIGHT={of['height']:g} "
            f"BIASFACTOR={of['factor']:g} TEMP={dynamics['temperature']:g} PACE={round(of['pace_ps'] / dynamics['step_ps'])} {grid} "
            "FILE=HILLS RESTART=YES")
    return {"plumed": line, "hills": str(found[-1].relative_to(project)), "version": str(told["about"].get("version", ""))}


def _ends(ranges: list[dict], widths: Sequence[float], which: str, sign: int) -> str:
    """Where a grid ends along each CV: behind the walls, or at pi of an angle."""
    angle = "-pi" if sign < 0 else "pi"
    return ",".join(angle if of[which] is None else f"{of[which] + sign * ROOM * width:.4g}" for of, width in zip(ranges, widths))
