"""Stage prepare: trajectories or tables -> features and labels, split by blocks, with the recipe that makes them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hae.data.frames import Frames, concatenate, constant
from hae.data.making import make_parts
from hae.data.molecules import Recipe
from hae.data.parts import Manifest, Part, publish
from hae.data.patterns import find_files
from hae.data.readers import Form
from hae.data.split import SIDES
from hae.data.table_parts import Tables, write_tables
from hae.data.trajectories import check_atoms, load_structure, read_trajectories, with_positions
from hae.errors import BadInput
from hae.files import folder_made, written_whole
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["Rows", "from_tables", "from_trajectories", "main", "prepare"]


class Rows(NamedTuple):
    """Of tables: the frames, their recipe, and how many rows were left out for what they lack."""

    frames: Frames
    recipe: Recipe
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
    """Parts of bounded size, read in pieces."""
    for left in paths.FRAMES.parent.glob(f".{paths.FRAMES.name}.*"):  # by a prepare that was killed: as large as the data
        shutil.rmtree(left)
    tables = tables_of(section, files, temperature)
    with folder_made(paths.RECIPE.parent), written_whole(paths.RECIPE) as partial:
        manifest, recipe, series = write_tables(tables, paths.FRAMES, _rule(section.split), shuffle=section.shuffle, check=check_sides)
        partial.write_text(recipe.to_json() + "\n", encoding="utf-8")
    return summary(manifest, recipe, series, tables.left_out)


def tables_of(section, files: dict[str, Path], temperature: float | None = None) -> Tables:
    """The tables that are to be read. section: prepare; temperature: for a bias."""
    names = ("columns", "labels", "group", "id", "weights", "bias", "units", "periods", "missing")
    return Tables(files, **{name: getattr(section, name) for name in names}, temperature=temperature,
                  form=Form(**section.table.model_dump()) if section.table else None)


def _trajectories(section, files: dict[str, Path], temperature: float | None) -> list[str]:
    """A part a trajectory, so that none need fit in memory, and an unchanged one is not read again."""
    recipe, _ = _of_molecule(section, files)
    desk = settings.home() / "parts"
    weigh = None if section.rounds == "equal" or temperature is None else (section.rounds, temperature)
    parts, about, new = make_parts(recipe, files, section.topology, _rule(section.split), folder=paths.FRAMES, known=_known(), desk=desk,
                                   weigh=weigh, progress="prepare")
    for line in dict.fromkeys(line for part in parts for line in part.told):
        warnings.warn(line, stacklevel=1)
    manifest = Manifest(parts, **about, split=_rule(section.split))
    check_sides(manifest.sides)
    with written_whole(paths.RECIPE) as partial:
        partial.write_text(recipe.to_json() + "\n", encoding="utf-8")
        publish(paths.FRAMES, manifest, new)
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
    """The rows of tables, all of them in memory. section: prepare; temperature: for a bias."""
    tables = tables_of(section, files, temperature)
    frames = concatenate(list(tables.pieces()))
    if section.bias is not None and frames.weights is not None:
        frames = replace(frames, weights=frames.weights / frames.weights.mean())
    order = np.random.default_rng(0).permutation(len(frames)) if section.shuffle else np.arange(len(frames))
    return Rows(frames.select(order), tables.recipe(frames), tables.left_out)


def _rule(section) -> dict:
    """Of the sides, from the section prepare.split: arguments of `hae.data.split.split_rows`."""
    return {"block_frames": section.block_frames, "gap_frames": section.gap_frames, "shares": list(section.shares), "salt": section.salt}


def check_sides(counts: Mapping[str, int]) -> None:
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


def _numbers_of_rows(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{side} {number}" for side, number in counts.items())


def main() -> None:
    run_stage(prepare)


if __name__ == "__main__":
    main()
