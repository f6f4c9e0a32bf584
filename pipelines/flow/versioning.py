"""DVC behind one door: the graph of stages, what in it is stale, how a stage runs, snapshots of people's own data."""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from hae.data.patterns import matches
from hae.errors import BadInput
from pipelines.params import Params
from pipelines.record.lineage import StageFacts

__all__ = ["Graph", "Stage", "begin", "command", "data_digest", "forget", "in_repository", "read_graph", "recorded", "recorded_sources",
           "snapshot", "sources", "stage_facts"]


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, templates filled in."""

    name: str  # "train@boosted"
    needs: frozenset[str]  # stages whose files it reads
    gpu: bool  # says in dvc.yaml, under meta, that it works on the GPU where there is one
    changed: tuple[str, ...]  # what of its own files, code and parameters has changed since it last ran


@dataclass(frozen=True)
class Graph:
    """The stages by name, and the answer to what has to run."""

    stages: Mapping[str, Stage]

    @property
    def stale(self) -> frozenset[str]:
        """Stages that changed, and all that descends from them."""
        names = {name for name, stage in self.stages.items() if stage.changed}
        for name in self.order():
            if self.stages[name].needs & names:
                names.add(name)
        return frozenset(names)

    def order(self) -> list[str]:
        return list(TopologicalSorter({name: stage.needs for name, stage in self.stages.items()}).static_order())

    def waves(self) -> list[list[str]]:
        """The stale stages in waves: what stands in one wave may run side by side, after all before it."""
        stale = self.stale
        sorter = TopologicalSorter({name: self.stages[name].needs & stale for name in stale})
        sorter.prepare()
        waves = []
        while sorter.is_active():
            waves.append(sorted(sorter.get_ready()))
            sorter.done(*waves[-1])
        return waves


def begin(project: Path) -> None:
    """Make the folder a DVC project, so that `dvc repro` works there before the first retraining, with or without git."""
    with in_repository(project):
        pass


def read_graph(project: Path) -> Graph:
    """The graph of dvc.yaml as things stand now. Raises BadInput when dvc.yaml can't be read."""
    with in_repository(project) as repository:
        made_by = repository.index.graph
        return Graph({
            stage.name: Stage(
                name=stage.name,
                needs=frozenset(need.name for need in made_by.successors(stage) if need.cmd),
                gpu=bool((stage.meta or {}).get("gpu")),
                changed=tuple(_changes(_status(stage))) if _has_run(stage) else ("has not run yet",),
            )
            for stage in repository.index.stages
            if stage.cmd  # the rest are snapshots, NAME.dvc
        })


def stage_facts(project: Path, name: str) -> StageFacts:
    """What decides a stage's result: its command, the hashes of what it reads, its parameters."""
    with in_repository(project) as repository:
        stage = _stage(repository, name)
        dependencies, params = {}, {}
        for dependency in stage.deps:
            if hasattr(dependency, "read_params"):
                params.update(dependency.read_params())
            elif not dependency.exists:
                raise BadInput(f"{dependency.def_path}: no such file or folder; the stage {name} reads it")
            else:
                dependencies[dependency.def_path] = dependency.get_hash().value
        return StageFacts(command=stage.cmd, dependencies=dependencies, params=params)


def recorded(graph: Graph) -> list[str]:
    """The stages that have a run in the record: every variant's training and the baselines."""
    return [name for name in graph.stages if name.startswith("train@") or name == "baseline"]


def command(name: str, anew: bool = False) -> list[str]:
    """The command line that runs this stage alone, or fetches its result from DVC's cache; may run beside others.

    anew: run it whatever DVC knows of it.
    """
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *(["--force"] if anew else []), name]


def sources(project: Path, name: str) -> dict[str, str]:
    """Hashes, as things stand now, of what a stage reads and no stage makes: people's own data, and code."""
    with in_repository(project) as repository:
        return {path: dependency.get_hash().value if dependency.exists else "" for path, dependency in _sources(repository, name)}


def recorded_sources(project: Path, name: str) -> dict[str, str]:
    """The same as dvc.lock has them, of the stage's last run. DVC takes them after the stage's command, not before it."""
    with in_repository(project) as repository:
        return {path: dependency.hash_info.value or "" for path, dependency in _sources(repository, name)}


def forget(project: Path, name: str) -> None:
    """Take a stage out of dvc.lock, so that it counts as one that has not run yet."""
    from dvc.dvcfile import Lockfile

    with in_repository(project) as repository:
        path = project / "dvc.lock"
        if path.exists():
            Lockfile(repository, str(path)).remove_stage(_stage(repository, name))


def snapshot(project: Path, params: Params) -> list[str]:
    """Put people's own data (files of params prepare that no stage makes) under DVC, so that today's can be had back later.

    Gives the paths of new snapshots. Raises BadInput for a file that is missing, lies outside the project, or isn't a
    dependency of prepare: a change of it would go unseen.
    """
    with in_repository(project) as repository:
        made = _made(repository)
        read = {Path(dependency.fs_path) for dependency in _read_by_prepare(repository)}
        own = set()
        for key, file in _own_files(project, params):
            if not made.isdisjoint([file, *file.parents]):
                continue
            if project not in file.parents:
                raise BadInput(f"params.yaml: prepare.{key}: {file} is not in the project; allowed: files in {project}")
            covering = read.intersection([file, *file.parents])
            if not covering:
                raise BadInput(f"dvc.yaml: prepare.deps: {file.relative_to(project)} is missing, which params prepare.{key} "
                               "names; allowed: dependencies that cover every file that prepare reads")
            own |= covering
        kept = {
            Path(out.fs_path)
            for stage in repository.index.stages if not stage.cmd and not _status(stage)
            for out in stage.outs
        }
        new = sorted(str(path) for path in own - kept)
        if new:
            repository.add(new)
        return [str(Path(path).relative_to(project)) for path in new]


def data_digest(project: Path) -> str:
    """One text for the present content of the data that people bring: it changes when a file comes, goes or changes."""
    with in_repository(project) as repository:
        made = _made(repository)
        sources = {
            dependency.def_path: dependency.get_hash().value if dependency.exists else ""
            for dependency in _read_by_prepare(repository)
            if made.isdisjoint([Path(dependency.fs_path)])
        }
    return " ".join(f"{path}={digest}" for path, digest in sorted(sources.items()))


def _own_files(project: Path, params: Params) -> Iterator[tuple[str, Path]]:
    """(key of params prepare, absolute path) of every file that it names."""
    if params.prepare.topology:
        yield "topology", (project / params.prepare.topology).resolve()
    for pattern in params.prepare.trajectories:
        for file in filter(Path.is_file, matches(pattern, project)[1]):
            yield "trajectories", file.resolve()


def _stage(repository, name: str):
    return next(stage for stage in repository.index.stages if stage.cmd and stage.name == name)


def _sources(repository, name: str) -> list[tuple[str, Any]]:
    """(path, DVC's object) of what a stage reads and no stage makes."""
    made = _made(repository)
    return [
        (dependency.def_path, dependency) for dependency in _stage(repository, name).deps
        if not hasattr(dependency, "read_params") and made.isdisjoint([Path(dependency.fs_path)])
    ]


def _made(repository) -> set[Path]:
    """All that stages write."""
    return {Path(out.fs_path) for stage in repository.index.stages if stage.cmd for out in stage.outs}


def _read_by_prepare(repository) -> list:
    """The files and folders that prepare depends on, as DVC's objects."""
    return [
        dependency
        for stage in repository.index.stages if stage.cmd and stage.name == "prepare"
        for dependency in stage.deps if not hasattr(dependency, "read_params")
    ]


def _has_run(stage) -> bool:
    return any(part.hash_info for part in (*stage.deps, *stage.outs))


def _status(stage) -> list:
    """DVC's view of a stage, empty where nothing changed. Without DVC's locks on its files: a stage at work holds them till its end,
    and a look beside it would fail rather than wait."""
    return type(stage).status.__wrapped__(stage).get(stage.addressing, [])


def _changes(status: list) -> Iterator[str]:
    """'data/raw modified' from DVC's status of a stage: [{'changed deps': {'data/raw': 'modified'}}, 'changed command']."""
    for entry in status:
        if not isinstance(entry, dict):
            yield entry
            continue
        for files in entry.values():
            for file, what in files.items():
                keys = what if isinstance(what, dict) else {file: what}
                yield from (f"{key} {how}" for key, how in keys.items())


@contextmanager
def in_repository(project: Path) -> Iterator:
    """DVC's view of the project; made a DVC project when it is none yet, with or without git."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    in_git = any((folder / ".git").exists() for folder in (project, *project.parents))
    try:
        if not (project / ".dvc").is_dir():
            Repo.init(str(project), no_scm=not in_git, subdir=in_git and not (project / ".git").exists()).close()
        local = project / ".dvc" / "config.local"
        if not in_git and not local.exists():
            local.write_text("[core]\n    no_scm = true\n")
        repository = Repo(str(project), _wait_for_lock=True)
    except DvcException as error:
        raise BadInput(f"{project}: {_one_line(error)}") from None
    try:
        with repository, lock_repo(repository):  # a stage that ends beside us has its DVC write dvc.lock, in place
            yield repository
    except DvcException as error:
        raise BadInput(_said(project, error)) from None
    except FileNotFoundError as error:
        if not os.path.islink(error.filename or ""):
            raise
        raise BadInput(f"{os.path.relpath(error.filename, project)}: a broken link among the files that a stage reads; allowed: a link "
                       "to a file, no link, or its name in .dvcignore") from None


def _said(project: Path, error: Exception) -> str:
    """DVC's error in a line that begins with the file it is about, and says what to do with one that a merge left in two versions."""
    text = _one_line(error)
    named = re.search(r"'([^']+\.(?:lock|dvc|yaml))'", text)  # as seen from the working folder
    file = os.path.relpath(named[1], project) if named else "dvc.yaml"
    if file != "dvc.yaml" and (project / file).is_file() and "<<<<<<< " in (project / file).read_text(errors="replace"):
        return f"{file}: a merge left its conflict marks; allowed: either side of it whole (git checkout --ours {file})"
    if file == "dvc.lock":
        return f"{file}: it can't be read ({text}); allowed: the last one that was committed (git checkout {file}), or none: all runs again"
    return f"{file}: {text}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
