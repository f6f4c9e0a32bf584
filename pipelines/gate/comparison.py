"""Champion and candidate side by side: the same test frames, that neither was trained on, in one metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hae.data.frames import Frames, read_pieces
from hae.data.rows import Growing, Shelf
from hae.data.sides import Beside, scratch_of
from hae.data.split import split_rows
from hae.importance.assess import Figures
from hae.importance.assess import compare as paired_difference
from hae.importance.intervals import Sampling
from hae.importance.series import made
from hae.memory import memory_limit
from hae.training.stored import rows_bytes
from pipelines import paths, settings
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
    split = candidate.about["split"]
    why_not = _different_rows(champion, candidate)
    if why_not:
        return Champion(**who, not_comparable=why_not)
    large = rows_bytes(project / paths.FRAMES) > memory_limit()
    with scratch_of(settings.home(project) / "rows" / "gate", large) as shelf:
        both = _BothSides(champion, candidate, shelf)
        for piece in read_pieces(project / paths.FRAMES, ROWS):  # levels are (n, N, D): a piece at a time
            both.add(piece.select(np.asarray((piece.split == "test") & (_champions_sides(champion.about, split, piece) == "test"))))
        if not both.beside.count:
            return Champion(**who, not_comparable="no test block that neither was trained on")
        theirs, ours, v, sampling = both.compared()
        paired = paired_difference(ours, theirs, v, sampling, sampling.blocks(split["block_frames"]))
        fve, candidate_fve = (tuple((1 - sampling.mean(errors) / sampling.mean(v)).tolist()) for errors in (theirs, ours))
    return Champion(**who, fve=fve, candidate_fve=candidate_fve, low=tuple(paired.low.tolist()), high=tuple(paired.high.tolist()))


class _BothSides:
    """Squared errors of champion and candidate at the rows that come, and where these come from: all that is kept of them."""

    def __init__(self, champion: Loaded, candidate: Loaded, shelf: Shelf):
        self.champion, self.candidate = champion, candidate
        self.common = min(len(champion.about["cv"]), len(candidate.about["cv"]))
        self.beside, self._errors = Beside(shelf), Growing(shelf)

    def add(self, frames: Frames) -> None:
        if not len(frames):
            return
        mean, scale = np.array(self.candidate.about["mean"]), np.array(self.candidate.about["scale"])
        s = frames.values.astype(np.float64)
        columns = [frames.features.index(name) for name in self.champion.about["features"]]
        theirs = np.empty((len(self.champion.about["cv"]), *s.shape))
        theirs[:, :, columns] = self.champion.program(s[:, columns])[1]
        all_levels = (*theirs[: self.common], *self.candidate.program(s)[1][: self.common], mean[None])
        self._errors.add(np.stack([(((s - level) / scale) ** 2).mean(axis=1) for level in all_levels], axis=1))
        self.beside.add(frames.trajectory, frames.frame, frames.weights)

    def compared(self) -> tuple[Figures, Figures, Figures, Sampling]:
        """(n, N) of champion and candidate, the squared distance (N,) from the candidate's mean, and the sampling of the rows."""
        sampling, n = Sampling.of(*self.beside.sampling_of()), self.common
        errors = sampling.of_rows(self._errors.rows())
        parts = (slice(0, n), slice(n, 2 * n), 2 * n)
        theirs, ours, v = (made(lambda x, part=part: x[part], errors) for part in parts)
        return theirs, ours, v, sampling


def _different_targets(champion: dict, candidate: dict) -> str:
    """Why two recipes don't make the same features, or "". The order of columns, and labels, make no difference."""
    ours, theirs = (dict(zip(recipe["names"], recipe["units"], strict=True)) for recipe in (candidate, champion))
    if candidate["kind"] != champion["kind"]:
        return f"its target is {champion['kind']}, the candidate's {candidate['kind']}"
    if ours != theirs:
        changed = sorted(set(ours.items()) ^ set(theirs.items()))
        return f"another target: {len(changed)} features differ, such as {changed[0][0]}"
    periods = [dict(recipe.get("periods", ())) for recipe in (candidate, champion)]
    turned = [name for name in periods[0] if not np.isclose(periods[0][name], periods[1].get(name, np.nan), rtol=1e-6, atol=0)]
    if turned:
        return f"another target: {turned[0]} has another period"
    if candidate["kind"] != "columns":
        for part in ("atoms", "pairs", "torsions"):
            if candidate.get(part) != champion.get(part):
                return f"another target: other {part}"
        if not np.allclose(candidate.get("reference", ()), champion.get("reference", ()), atol=1e-5):
            return "another target: aligned to another reference"
    return ""


def _different_rows(champion: Loaded, candidate: Loaded) -> str:
    """Why the sides of rows in another split can't be told, or ""."""
    theirs, ours = champion.about["split"], candidate.about["split"]
    if any(theirs[name] != ours[name] for name in ("group", "id")):
        return "rows belong to other trajectories or ids than in its split"
    by_values = candidate.recipe["kind"] == "columns" and not ours["group"] and not ours["id"]
    same = theirs == ours and champion.about["features"] == candidate.about["features"]
    if by_values and candidate.recipe.get("fill") and not same:  # the side is of the values as they were, and holes are filled now
        return "rows with missing values have no group and no id, so their side in its split can't be told"
    return ""


def _champions_sides(champion: dict, ours: dict, frames: Frames) -> np.ndarray | None:
    """The side of every frame in the champion's split: (N,). What is known by its values is so in the order of its columns."""
    theirs, features = champion["split"], champion["features"]
    if theirs == ours and list(frames.features) == features:
        return frames.split
    split = {name: value for name, value in theirs.items() if name not in ("group", "id")}
    values = frames.values[:, [frames.features.index(name) for name in features]]
    return split_rows(frames.trajectory, frames.frame, ids=frames.ids, values=values, **split)
