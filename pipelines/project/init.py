"""hae init: looks at data, says what it found, and writes a project for them: params.yaml, dvc.yaml, and the data in data/raw."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from hae.data.patterns import expanded, without_ending
from hae.data.readers import is_table
from hae.data.universes import OWN_ATOMS
from hae.errors import BadInput
from hae.files import written_whole
from hae.importance.smoothness import CLIFF
from hae.training.schedule import FEW
from pipelines import paths
from pipelines.project import code, rendering, suggest
from pipelines.project.inspection import Choices, look_at_molecules, look_at_tables

__all__ = ["Choices", "init"]

SMOOTH = 40  # of molecules: their CVs are to be pushed on (docs/smooth.md)


def init(folder: Path, choices: Choices, say: Callable[[str], None] = lambda line: None, sample: dict | None = None) -> list[str]:
    """Write a project into `folder` and give what was found, in lines, each said as soon as it is known. Nothing is run or recorded yet.

    sample: keys of the section sample, of a project whose data are rounds of simulation.

    Data from elsewhere are copied to folder/data/raw. Raises BadInput for what can't be used; the folder is then as it was.
    """
    folder = Path(folder).resolve()
    data, topology, tables = _given(folder, choices)
    choices = replace(choices, topology=topology[0] if topology else None)
    homes = _homes(folder, list(dict.fromkeys(data + topology)))
    files = _named(list(homes)[: len(data)], homes)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    found = (look_at_tables if tables else look_at_molecules)(choices, files, tell)
    frames = found.frames
    for line in found.said:
        tell(line)
    known = suggest.memory(frames)
    split, told = suggest.split_for(frames, known)
    if (frames.trajectory == "").all() and known.time > 3:
        told.append(
            f"neighbouring rows are correlated, over about {known.time:.0f} rows. If they are a series in time, say --series (each file is "
            "one trajectory) or --group COLUMN; otherwise every figure will be too good. If they are sorted, as by a class, say --shuffle; "
            "otherwise every interval will be too wide"
        )
    for line in told:
        tell(line)
    rows = int(len(frames) * split.shares[0])
    texts = rendering.texts(
        {
            **found.section,
            "trajectories": _patterns(folder, list(homes)[: len(data)], [path.suffix for path in topology]),
            "topology": next((str(home.relative_to(folder)) for home, path in homes.items() if path in topology), None),
            "temperature": choices.temperature,
            "split": asdict(split),
        },
        **suggest.training_for(rows),
        hidden="auto" if tables and rows <= FEW else "[64, 64]",
        data=_dependencies(folder, list(homes)),
        n_cvs=min(3, len(found.recipe.columns)),
        scale="feature" if tables else "global",
        smooth=0 if tables else SMOOTH,
        gradient=None if tables else round(CLIFF),
        sample=sample,
        model_name=re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._") or "model",
    )
    _write(folder, homes, texts)
    copied = sum(home != path for home, path in homes.items())
    copy = f", and a copy of the data in data/raw ({copied} file{'' if copied == 1 else 's'})" if copied else ""
    tell(f"wrote {folder}: params.yaml, dvc.yaml{copy}")
    tell(f"next: cd {folder} && hae {'retrain' if sample is None else 'explore --rounds 3 (step by step: hae retrain, then hae sample)'}")
    return lines


def _given(folder: Path, choices: Choices) -> tuple[list[Path], list[Path], bool]:
    """The data, the topology, which some data hold themselves, and whether they are tables. Raises BadInput for what can't be used."""
    for name in ("params.yaml", "dvc.yaml"):
        if (folder / name).exists():
            raise BadInput(f"{folder / name}: there is a project already; allowed: a folder without one")
    data = [path for given in choices.data for path in _found(given)]
    topology = [Path(choices.topology).resolve()] if choices.topology else []
    for path in (*data, *topology):
        if not path.is_file():
            raise BadInput(f"{path}: no such file; allowed: files that are there")
    tables = [is_table(path) for path in data]
    if any(tables) and not all(tables):
        raise BadInput(f"{data[tables.index(False)]}: not a table, as {data[tables.index(True)].name} is; "
                       "allowed: tables alone, or trajectories with --topology")
    if not any(tables) and not topology and data[0].suffix.lower() in OWN_ATOMS:  # a PDB of many models and the like
        topology = [data[0]]
    return data, topology, all(tables)


def _found(given: Path) -> list[Path]:
    """Raises BadInput for a pattern that matches nothing."""
    found = expanded(given)
    if not found:
        raise BadInput(f"{given}: matches no file; allowed: files that are there")
    return [path.resolve() for path in found]


def _homes(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Where each file will be in the project -> where it is. What lies in the project stays there."""
    count = Counter(path.name for path in files)
    homes: dict[Path, Path] = {}
    for path in files:
        own = path.name if count[path.name] == 1 else f"{path.parent.name}-{path.name}"  # a/md.xtc and b/md.xtc
        home = path if folder in path.parents else folder / paths.RAW / own
        if home in homes or (home != path and home.exists()):
            raise BadInput(f"{path}: there would be two files {home.relative_to(folder)} in the project; allowed: different names")
        homes[home] = path
    return homes


def _named(homes: Sequence[Path], paths: dict[Path, Path]) -> dict[str, Path]:
    """Name of each trajectory or table, as prepare will name it -> where it is now."""
    files: dict[str, Path] = {}
    for home in homes:
        name = without_ending(Path(home.name))
        if name in files:
            raise BadInput(f"{paths[home]}: would be named '{name}', as {files[name]} is; allowed: different names")
        files[name] = paths[home]
    return files


def _patterns(folder: Path, homes: list[Path], others: list[str]) -> list[str]:
    """A pattern for files of one ending in data/raw, so that later ones are read too; else every file."""
    if folder / paths.ROUNDS in homes[0].parents:
        return [f"{paths.ROUNDS}/*/walker-*.dcd"]
    raw = folder / paths.RAW
    ending = homes[0].suffix
    alike = ending and ending not in others and all(home.parent == raw and home.suffix == ending for home in homes)
    if alike and not set(raw.glob(f"*{ending}")) - set(homes):
        return [f"data/raw/*{ending}"]
    return [str(home.relative_to(folder)) for home in homes]


def _dependencies(folder: Path, homes: list[Path]) -> list[str]:
    """What stage prepare reads: folders that grow, where data lie in such, and files."""
    if all(home.parent == folder / paths.RAW for home in homes):
        return ["data/raw"]
    if any(folder / paths.ROUNDS in home.parents for home in homes):
        return [str(paths.ROUNDS), *(str(home.relative_to(folder)) for home in homes if folder / paths.ROUNDS not in home.parents)]
    return sorted(str(home.relative_to(folder)) for home in homes)


def _write(folder: Path, homes: dict[Path, Path], texts: dict[str, str]) -> None:
    """Data, then the files of `texts`, params.yaml last, which makes it a project; taken back if something fails."""
    made = []
    try:
        for home, path in homes.items():
            if home != path:
                made.append(home)
                with written_whole(home) as partial:
                    shutil.copy2(path, partial)
        made.append(folder / code.FILE)
        code.write(folder)
        for name, text in texts.items():
            made.append(folder / name)
            with written_whole(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


