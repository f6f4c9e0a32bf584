"""Stage prepare: trajectories or tables -> features and labels, split by blocks, with the recipe that makes them."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hae.data.frames import Frames, concatenate, constant
from hae.data.making import make_parts
from hae.data.molecules import Recipe
from hae.data.parts import Manifest, Part, publish
from hae.data.patterns import find_files
from hae.data.readers import Form, load_table
from hae.data.split import SIDES, split_rows
from hae.data.tables import complete, feature_columns, table_frames
from hae.data.trajectories import check_atoms, load_structure, read_trajectories, with_positions
from hae.errors import BadInput
from hae.files import written_whole
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["Rows", "filled", "from_tables", "from_trajectories", "main", "prepare", "split"]


class Rows(NamedTuple):
    """Of tables: the frames, their recipe, the id of each row or None, and how many rows were left out for what they lack."""

    frames: Frames
    recipe: Recipe
    ids: np.ndarray | None
    left_out: int


def prepare() -> None:
    """Make data/prepared/frames and data/prepared/recipe.json as the section prepare of params.yaml says; of distances and
    torsions also the positions of the atoms they read, at the test rows, for the gradients of CVs."""
    everything = params.load()
    section = everything.prepare
    files = find_files(section.trajectories)
    made = _tables if section.features == "columns" else _trajectories
    lines = made(section, files, everything.temperature)
    print("\n".join(f"prepare: {line}" for line in lines))


def _tables(section, files: dict[str, Path], temperature: float | None) -> list[str]:
    rows = from_tables(section, files, temperature)
    frames, recipe = filled(split(rows.frames, section.split, rows.ids), rows.recipe)
    with written_whole(paths.RECIPE) as partial:
        partial.write_text(recipe.to_json() + "\n", encoding="utf-8")
        manifest = frames.write(paths.FRAMES, _rule(section.split))
    return summary(manifest, recipe, len(set(frames.trajectory) - {""}), rows.left_out)


def _trajectories(section, files: dict[str, Path], temperature: float | None) -> list[str]:
    """A part a trajectory, so that none need fit in memory, and an unchanged one is not read again."""
    recipe, _ = _of_molecule(section, files)
    desk = settings.home() / "parts"
    made = make_parts(recipe, files, section.topology, _rule(section.split), folder=paths.FRAMES, known=_known(), desk=desk,
                      weigh=None if section.rounds == "equal" or temperature is None else (section.rounds, temperature), progress="prepare")
    for line in dict.fromkeys(line for part in made.parts for line in part.told):
        warnings.warn(line, stacklevel=1)
    manifest = Manifest(made.parts, **made.about, split=_rule(section.split))
    check_sides(manifest.sides)
    with written_whole(paths.RECIPE) as partial:
        partial.write_text(recipe.to_json() + "\n", encoding="utf-8")
        publish(paths.FRAMES, manifest, made.new)
    shutil.rmtree(desk, ignore_errors=True)
    lacking = dict.fromkeys(part.lacking for part in manifest.parts if part.lacking)
    return [*summary(manifest, recipe, len(files)), *(f"gradients of the CVs by positions will not be measured: {why}" for why in lacking)]


def _known() -> dict[str, Part]:
    """The parts of the data set as it is, by their trajectories."""
    try:
        return {part.name: part for part in Manifest.read(paths.FRAMES).parts if part.name}
    except BadInput:  # none yet, or one that is beyond reading
        return {}


def from_trajectories(section, files: dict[str, Path]) -> tuple[Frames, Recipe]:
    """Frames and recipe of molecules. section: prepare."""
    recipe, structure = _of_molecule(section, files)
    return read_trajectories(recipe, files, structure), recipe


def _of_molecule(section, files: dict[str, Path]):
    """The recipe and the structure of the topology, which every file has to be of."""
    if section.topology is None:
        raise BadInput(f"prepare.topology: null is not allowed with features: {section.features}; allowed: a file with the atoms")
    structure = load_structure(section.topology)
    check_atoms(files, structure)
    if section.features == "coordinates":
        structure = with_positions(structure, files)
    recipe = Recipe.for_molecule(
        structure,
        section.features,
        atoms=section.atoms,
        pairs=section.pairs,
        torsions=section.torsions,
        labels=section.labels,
    )
    return recipe, structure


def from_tables(section, files: dict[str, Path], temperature: float | None = None) -> Rows:
    """The rows of tables. section: prepare; temperature: for a bias."""
    parts: list[Frames] = []
    ids: list[np.ndarray] = []
    columns, periods = section.columns, section.periods
    home: dict[str, Path] = {}
    left_out = 0
    form = Form(**section.table.model_dump()) if section.table else None
    for name, path in files.items():
        table = load_table(path, form)
        if not parts:  # the first file says the columns of all
            periods = {**table.attrs.get("periods", {}), **periods}
            columns = columns or feature_columns(table, *section.labels, section.group, section.id, section.weights, section.bias)
        part = table_frames(
            table,
            str(path),
            columns=columns,
            labels=section.labels,
            group=section.group,
            id=section.id,
            weights=section.weights,
            bias=section.bias,
            temperature=temperature,
            units=section.units,
            periods=periods,
            missing="error" if section.missing == "error" else "mask",
            name=name,
        )
        kept = complete(part, labels_only=section.missing == "mean")
        part, left_out = part.select(kept), left_out + int(np.sum(~kept))
        if parts and part.features != parts[0].features:
            raise BadInput(f"{path}: other periods than in {next(iter(files.values()))}; allowed: the same in all files")
        for trajectory in set(part.trajectory) - {""}:
            if home.setdefault(trajectory, path) != path:
                raise BadInput(f"{path}: trajectory '{trajectory}' is in {home[trajectory]} too; allowed: different names")
        parts.append(part)
        if section.id is not None:
            ids.append(table[section.id].astype(str).to_numpy()[kept])
    frames = concatenate(parts)
    if not len(frames):
        raise BadInput(f"{next(iter(files.values()))}: every row lacks a feature or a label; allowed: prepare.columns without those that "
                       "are mostly missing, or missing: mean")
    if section.bias is not None and frames.weights is not None:
        frames = replace(frames, weights=frames.weights / frames.weights.mean())
    recipe = Recipe.for_table(frames, {name: period for name, period in periods.items() if name in columns})
    order = np.random.default_rng(0).permutation(len(frames)) if section.shuffle else np.arange(len(frames))
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


def split(frames: Frames, section, ids: np.ndarray | None = None) -> Frames:
    """The frames with their sides. section: prepare.split. Raises BadInput if a side is empty."""
    sides = split_rows(frames.trajectory, frames.frame, **_rule(section), ids=ids, values=frames.values)
    frames = replace(frames, split=sides)
    check_sides(frames.counts())
    return frames


def _rule(section) -> dict:
    """Of the sides, from the section prepare.split: arguments of `hae.data.split.split_rows`."""
    return {"block_frames": section.block_frames, "gap_frames": section.gap_frames, "shares": list(section.shares), "salt": section.salt}


def check_sides(counts: dict[str, int]) -> None:
    """Raises BadInput if a side is empty."""
    empty = [side for side in SIDES if counts[side] == 0]
    if empty:
        raise BadInput(
            f"prepare.split: no frames for {' and '.join(empty)} ({_numbers_of_rows(counts)}); allowed: some on every side, "
            "by more data, smaller blocks, other shares or another salt"
        )


def summary(manifest: Manifest, recipe: Recipe, trajectories: int, left_out: int = 0) -> list[str]:
    """What was found, in a few lines."""
    units = ", ".join(sorted({unit for unit in manifest.units if unit})) or "no unit"
    lines = [
        f"{manifest.rows} frames{f' of {trajectories} trajectories' if trajectories else ''}, "
        f"{len(manifest.features)} features ({recipe.kind}, {units}), labels: {', '.join(manifest.labels) or 'none'}",
        _numbers_of_rows(manifest.sides),
    ]
    if left_out:
        lines.append(f"left out: {left_out} rows that lack a feature or a label")
    if manifest.share is not None:
        lines.append(f"weights: their effective share is {manifest.share:.0%} of the frames")
    same = constant(paths.FRAMES)
    if same:
        lines.append(f"constant features, which are kept and carry no information: {', '.join(same)}")
    return lines


def _numbers_of_rows(counts: dict[str, int]) -> str:
    return ", ".join(f"{side} {number}" for side, number in counts.items())


def main() -> None:
    run_stage(prepare)


if __name__ == "__main__":
    main()
