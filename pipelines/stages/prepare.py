"""Stage prepare: trajectories or tables -> features and labels, split by blocks, with the recipe that makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hae.data.frames import Frames, concatenate
from hae.data.jacobian import SAME, featurise, positions_read
from hae.data.molecules import Recipe
from hae.data.patterns import find_files
from hae.data.readers import Form, load_table
from hae.data.rounds import round_weights, share
from hae.data.split import SIDES, split_rows
from hae.data.tables import complete, feature_columns, table_frames
from hae.data.trajectories import check_atoms, load_structure, read_trajectories
from hae.errors import BadInput
from hae.files import written_whole
from pipelines import params, paths
from pipelines.stages import run_stage

__all__ = ["Rows", "filled", "from_tables", "from_trajectories", "main", "prepare", "split"]


class Rows(NamedTuple):
    """Of tables: the frames, their recipe, the id of each row or None, and how many rows were left out for what they lack."""

    frames: Frames
    recipe: Recipe
    ids: np.ndarray | None
    left_out: int


def prepare() -> None:
    """Make data/prepared/frames.parquet and data/prepared/recipe.json as the section prepare of params.yaml says; of distances and
    torsions also data/prepared/positions.npy, (N, A, 3) in nm: the atoms they read, at the test rows, for the gradients of CVs."""
    everything = params.load()
    settings = everything.prepare
    files = find_files(settings.trajectories)
    seen: list[np.ndarray] = []
    if settings.features == "columns":
        frames, recipe, ids, left_out = from_tables(settings, files, everything.temperature)
    else:
        frames, recipe = from_trajectories(settings, files, seen)
        frames = replace(frames, weights=round_weights(frames, files, settings.rounds, everything.temperature))
        ids, left_out = None, 0
    frames = split(frames, settings.split, ids)
    frames, recipe = filled(frames, recipe)
    positions, lacking = _of_test(frames, recipe, seen)
    with written_whole(paths.RECIPE) as partial:
        partial.write_text(recipe.to_json() + "\n", encoding="utf-8")
        paths.POSITIONS.unlink(missing_ok=True)
        if positions is not None:
            with written_whole(paths.POSITIONS) as part, open(part, "wb") as file:
                np.save(file, positions)
        frames.write(paths.FRAMES)
    print("\n".join(f"prepare: {line}" for line in [*summary(frames, recipe, left_out), *lacking]))


def _of_test(frames: Frames, recipe: Recipe, seen: list[np.ndarray]) -> tuple[np.ndarray | None, list[str]]:
    """Positions of the test rows, None where features hold them or have none, and a line where they can't be had."""
    if not seen:
        return None, []
    test = frames.split == "test"
    positions = np.concatenate(seen)[test]
    try:
        same = np.allclose(featurise(recipe, positions)[0], frames.values[test], rtol=0, atol=SAME)
        why = "" if same else "distances between molecules that go by the nearest image of a periodic box"
    except BadInput as error:
        why = str(error)
    return (None, [f"gradients of the CVs by positions will not be measured: {why}"]) if why else (positions, [])


def from_trajectories(settings, files: dict[str, Path], seen: list[np.ndarray] | None = None) -> tuple[Frames, Recipe]:
    """Frames and recipe of molecules. settings: the section prepare. seen: takes the positions that distances and torsions are made of."""
    if settings.topology is None:
        raise BadInput(f"prepare.topology: null is not allowed with features: {settings.features}; allowed: a file with the atoms")
    structure = load_structure(settings.topology)
    check_atoms(files, structure)
    recipe = Recipe.for_molecule(
        structure,
        settings.features,
        atoms=settings.atoms,
        pairs=settings.pairs,
        torsions=settings.torsions,
        labels=settings.labels,
    )
    if seen is None or recipe.kind == "coordinates":
        return read_trajectories(recipe, files, structure), recipe
    return read_trajectories(recipe, files, structure, look=lambda piece: seen.append(positions_read(recipe, piece))), recipe


def from_tables(settings, files: dict[str, Path], temperature: float | None = None) -> Rows:
    """The rows of tables. settings: the section prepare; temperature: for a bias."""
    parts: list[Frames] = []
    ids: list[np.ndarray] = []
    columns, periods = settings.columns, settings.periods
    home: dict[str, Path] = {}
    left_out = 0
    form = Form(**settings.table.model_dump()) if settings.table else None
    for name, path in files.items():
        table = load_table(path, form)
        if not parts:  # the first file says the columns of all
            periods = {**table.attrs.get("periods", {}), **periods}
            columns = columns or feature_columns(table, *settings.labels, settings.group, settings.id, settings.weights, settings.bias)
        part = table_frames(
            table,
            str(path),
            columns=columns,
            labels=settings.labels,
            group=settings.group,
            id=settings.id,
            weights=settings.weights,
            bias=settings.bias,
            temperature=temperature,
            units=settings.units,
            periods=periods,
            missing="error" if settings.missing == "error" else "mask",
            name=name,
        )
        kept = complete(part, labels_only=settings.missing == "mean")
        part, left_out = part.select(kept), left_out + int(np.sum(~kept))
        if parts and part.features != parts[0].features:
            raise BadInput(f"{path}: other periods than in {next(iter(files.values()))}; allowed: the same in all files")
        for trajectory in set(part.trajectory) - {""}:
            if home.setdefault(trajectory, path) != path:
                raise BadInput(f"{path}: trajectory '{trajectory}' is in {home[trajectory]} too; allowed: different names")
        parts.append(part)
        if settings.id is not None:
            ids.append(table[settings.id].astype(str).to_numpy()[kept])
    frames = concatenate(parts)
    if not len(frames):
        raise BadInput(f"{next(iter(files.values()))}: every row lacks a feature or a label; allowed: prepare.columns without those that "
                       "are mostly missing, or missing: mean")
    if settings.bias is not None and frames.weights is not None:
        frames = replace(frames, weights=frames.weights / frames.weights.mean())
    recipe = Recipe.for_table(frames, {name: period for name, period in periods.items() if name in columns})
    order = np.random.default_rng(0).permutation(len(frames)) if settings.shuffle else np.arange(len(frames))
    return Rows(frames.select(order), recipe, np.concatenate(ids)[order] if ids else None, left_out)


def filled(frames: Frames, recipe: Recipe) -> tuple[Frames, Recipe]:
    """Frames whose missing features have the mean of the training rows, and the recipe that does the same to new data.

    Sides are given before that: a row keeps its own when the mean changes with new data.
    """
    if recipe.kind != "columns" or not np.isnan(frames.values).any():
        return frames, recipe
    train = frames.select("train").values
    never = np.isnan(train).all(axis=0)
    if never.any():
        raise BadInput(f"prepare.missing: {frames.features[int(np.argmax(never))]} has no value in any training row, so no mean; allowed: "
                       "prepare.columns without it, or drop")
    recipe = replace(recipe, fill=tuple(zip(frames.features, np.nanmean(train, axis=0).tolist(), strict=True)))
    return recipe.filled(frames), recipe


def split(frames: Frames, settings, ids: np.ndarray | None = None) -> Frames:
    """The frames with their sides. settings: prepare.split. Raises BadInput if a side is empty."""
    sides = split_rows(
        frames.trajectory,
        frames.frame,
        block_frames=settings.block_frames,
        gap_frames=settings.gap_frames,
        shares=settings.shares,
        salt=settings.salt,
        ids=ids,
        values=frames.values,
    )
    frames = replace(frames, split=sides)
    counts = frames.counts()
    empty = [side for side in SIDES if counts[side] == 0]
    if empty:
        raise BadInput(
            f"prepare.split: no frames for {' and '.join(empty)} ({_numbers_of_rows(counts)}); allowed: some on every side, "
            "by more data, smaller blocks, other shares or another salt"
        )
    return frames


def summary(frames: Frames, recipe: Recipe, left_out: int = 0) -> list[str]:
    """What was found, in a few lines."""
    trajectories = len(set(frames.trajectory) - {""})
    units = ", ".join(sorted({unit for unit in frames.units if unit})) or "no unit"
    lines = [
        f"{len(frames)} frames{f' of {trajectories} trajectories' if trajectories else ''}, "
        f"{frames.n_features} features ({recipe.kind}, {units}), labels: {', '.join(frames.labels.columns) or 'none'}",
        _numbers_of_rows(frames.counts()),
    ]
    if left_out:
        lines.append(f"left out: {left_out} rows that lack a feature or a label")
    if frames.weights is not None:
        lines.append(f"weights: their effective share is {share(frames.weights):.0%} of the frames")
    constant = frames.constant()
    if constant:
        lines.append(f"constant features, which are kept and carry no information: {', '.join(constant)}")
    return lines


def _numbers_of_rows(counts: dict[str, int]) -> str:
    return ", ".join(f"{side} {number}" for side, number in counts.items())


def main() -> None:
    run_stage(prepare)


if __name__ == "__main__":
    main()
