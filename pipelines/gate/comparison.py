"""Champion and candidate side by side: the same test frames, that neither was trained on, in one metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.importance.assess import compare as paired_difference
from hae.importance.intervals import Sampling
from pipelines import paths
from pipelines.gate.gates import Champion
from pipelines.record.packaging import Loaded

__all__ = ["compare"]

ROWS = 16384  # at a time: bounds the memory of the levels


def compare(champion: Loaded, candidate: Loaded, project: Path) -> Champion:
    """The champion beside the candidate: FVE of both over the levels that both have, in the candidate's metric, with intervals.

    The frames are today's test frames that neither was trained on. They come from raw data by the candidate's recipe, which is
    today's; the champion is given them where its own recipe makes the same features, else the two are not comparable.
    """
    who = {"version": champion.version, "variant": champion.about["variant"]}
    why_not = _different_targets(champion.recipe, candidate.recipe)
    if why_not:
        return Champion(**who, not_comparable=why_not)
    frames = Frames.read(project / paths.FRAMES)
    split = candidate.about["split"]
    sides, why_not = _champions_sides(champion.about["split"], split, frames)
    if why_not:
        return Champion(**who, not_comparable=why_not)
    frames = frames.select(np.asarray(frames.split == "test") & np.asarray(sides == "test"))
    if not len(frames):
        return Champion(**who, not_comparable="no test block that neither was trained on")
    theirs, ours, v = _errors(champion, candidate, frames)
    sampling = Sampling.of(len(frames), frames.trajectory, frames.frame, frames.weights)
    blocks = len(set(frames.blocks(split["block_frames"]).tolist()))
    paired = paired_difference(ours, theirs, v, sampling, blocks)
    fve, candidate_fve = (tuple((1 - sampling.mean(errors) / sampling.mean(v)).tolist()) for errors in (theirs, ours))
    return Champion(**who, fve=fve, candidate_fve=candidate_fve, low=tuple(paired.low.tolist()), high=tuple(paired.high.tolist()))


def _errors(champion: Loaded, candidate: Loaded, frames: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared errors (n, N) of champion and candidate at every frame, and the squared distance (N,) from the candidate's mean."""
    columns = [frames.features.index(name) for name in champion.about["features"]]
    common = min(len(champion.about["cv"]), len(candidate.about["cv"]))
    mean, scale = np.array(candidate.about["mean"]), np.array(candidate.about["scale"])
    parts = []
    for start in range(0, len(frames), ROWS):  # levels are (n, N, D): a piece at a time
        s = frames.values[start : start + ROWS].astype(np.float64)
        theirs = np.empty((len(champion.about["cv"]), *s.shape))
        theirs[:, :, columns] = champion.program(s[:, columns])[1]
        all_levels = (*theirs[:common], *candidate.program(s)[1][:common], mean[None])
        parts.append([(((s - level) / scale) ** 2).mean(axis=1) for level in all_levels])
    errors = np.concatenate(parts, axis=1)
    return errors[:common], errors[common:-1], errors[-1]


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
            if candidate.get(part) != champion.get(part):
                return f"another target: other {part}"
        if not np.allclose(candidate.get("reference", ()), champion.get("reference", ()), atol=1e-5):
            return "another target: aligned to another reference"
    return ""


def _champions_sides(theirs: dict, ours: dict, frames: Frames) -> tuple[np.ndarray | None, str]:
    """The side of every frame in the champion's split: (N,), and why that can't be said, or ""."""
    if theirs == ours:
        return frames.split, ""
    if any(theirs[name] != ours[name] for name in ("group", "id")):
        return frames.split, "rows belong to other trajectories or ids than in its split"
    split = {name: value for name, value in theirs.items() if name not in ("group", "id")}
    return split_rows(frames.trajectory, frames.frame, ids=frames.ids, values=frames.values, **split), ""
