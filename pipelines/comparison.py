"""Champion and candidate side by side: the same test frames, that neither was trained on, in one metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hae.frames import Frames, split_rows
from pipelines import params
from pipelines.contents import FRAMES
from pipelines.packaging import Loaded
from pipelines.stages import prepare

__all__ = ["compare"]

ROWS = 16384  # at a time: bounds the memory of the levels


def compare(champion: Loaded, candidate: Loaded, project: Path) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """FVE of champion and of candidate on today's test frames that neither was trained on, in the candidate's metric, over
    the levels that both have; or why there are none. Frames are made from raw data by the candidate's recipe, which is today's;
    where the champion's makes the same features of them, it is given these."""
    why_not = _different_targets(champion.recipe, candidate.recipe)
    if why_not:
        return (), (), why_not
    frames = Frames.read(project / FRAMES)
    sides, why_not = _champions_sides(champion.about["split"], candidate.about["split"], frames, project)
    if why_not:
        return (), (), why_not
    frames = frames.select((frames.split == "test") & (sides == "test"))
    if not len(frames):
        return (), (), "no test block that neither was trained on"
    columns = [list(frames.features).index(name) for name in champion.about["features"]]
    common = min(len(champion.about["cv"]), len(candidate.about["cv"]))
    errors, weights = [], frames.weights if frames.weights is not None else np.ones(len(frames))
    mean, scale = np.array(candidate.about["mean"]), np.array(candidate.about["scale"])
    for start in range(0, len(frames), ROWS):  # levels are (n, N, D): a piece at a time
        s = frames.values[start : start + ROWS].astype(np.float64)
        theirs = np.empty((len(champion.about["cv"]), *s.shape))
        theirs[:, :, columns] = champion.program(s[:, columns])[1]
        for_each = (mean[None], *theirs[:common], *candidate.program(s)[1][:common])
        errors.append([(((s - q) / scale) ** 2).sum(axis=1) for q in for_each])
    total = np.concatenate(errors, axis=1) @ weights
    fve = 1 - total[1:] / total[0]
    return tuple(fve[:common].tolist()), tuple(fve[common:].tolist()), ""


def _different_targets(champion: dict, candidate: dict) -> str:
    """Why two recipes don't make the same features, or "". The order of columns, and labels, make no difference."""
    ours, theirs = (dict(zip(recipe["names"], recipe["units"], strict=True)) for recipe in (candidate, champion))
    if candidate["kind"] != champion["kind"]:
        return f"its target is {champion['kind']}, the candidate's {candidate['kind']}"
    if ours != theirs:
        changed = sorted(set(ours.items()) ^ set(theirs.items()))
        return f"another target: {len(changed)} features differ, such as {changed[0][0]}"
    if candidate["kind"] != "columns":
        for part in ("atoms", "pairs", "torsions"):
            if candidate[part] != champion[part]:
                return f"another target: other {part}"
        if not np.allclose(candidate["reference"], champion["reference"], atol=1e-5):
            return "another target: aligned to another reference"
    return ""


def _champions_sides(theirs: dict, ours: dict, frames, project: Path) -> tuple[np.ndarray, str]:
    """The side of every frame in the champion's split: (N,), and why that can't be said, or ""."""
    if theirs == ours:
        return frames.split, ""
    if any(theirs[name] != ours[name] for name in ("group", "id")):
        return frames.split, "rows belong to other trajectories or ids than in its split"
    ids = None
    if ours["id"] is not None:
        settings = params.load(project / "params.yaml").prepare
        ids = prepare.from_tables(settings, prepare.find_files([str(project / pattern) for pattern in settings.trajectories]))[2]
    split = {name: value for name, value in theirs.items() if name not in ("group", "id")}
    return split_rows(frames.trajectory, frames.frame, ids=ids, values=frames.values, **split), ""
