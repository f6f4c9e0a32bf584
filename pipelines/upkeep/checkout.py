"""What a doctor looks at in a project: params, locks, processes, servers, DVC's cache, MLflow's database and the files of its versions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx

from pipelines import locks, params, processes, settings
from pipelines.flow import cache, versioning
from pipelines.record import packaging, recovery, registry, runs, store
from pipelines.upkeep.finding import Finding

__all__ = ["database", "held", "parameters", "processes_left", "results", "servers"]


def parameters(project: Path) -> Iterator[Finding]:
    """params.yaml, and what it names in the environment. Raises BadInput with the place of what is wrong."""
    found = params.load(project / "params.yaml")
    yield Finding(f"params.yaml holds: {len(found.train)} variants, model {found.record.model_name}")
    unset = [name for name in found.notify.targets if not os.environ.get(name)]
    if unset:
        yield Finding(f"notify.targets: {', '.join(unset)} not set", wrong=True, mend="set them where hae runs, then hae notify --test")


def held(project: Path) -> Iterator[Finding]:
    """Who holds what; a lock whose holder is dead is in nobody's way, but in the eyes of whoever looks."""
    holder = locks.holder(project)
    yield Finding(f"held by {holder}" if holder else "nobody is at work here")
    on_gpu = locks.gpu_holder()
    if on_gpu:
        yield Finding(f"the GPU is held by {on_gpu}")
    names, files = settings.home(project) / "lock.holder", project / ".dvc" / "tmp" / "rwlock"
    left = [names] * names.exists()
    if files.exists() and '"pid"' in files.read_text() and not processes.files_held(files):
        left.append(files)
    if left and not holder:
        yield Finding(f"left by a process that was killed: {', '.join(str(path.relative_to(project)) for path in left)}", wrong=True,
                      mend="hae doctor --mend, or the next hae retrain", safe=lambda: _free(project, left))


def _free(project: Path, left: list[Path]) -> None:
    with processes.only_one(project):
        for path in left:
            path.unlink(missing_ok=True)


def processes_left(project: Path) -> Iterator[Finding]:
    """What a killed retraining left running."""
    left = processes.orphans(project)
    if not left:
        yield Finding("none left of a killed retraining")
        return
    yield Finding(f"left of a killed retraining: {', '.join(str(process.pid) for process in left)}", wrong=True,
                  mend="hae doctor --mend, or the next hae retrain", safe=lambda: _end(project))


def _end(project: Path) -> None:
    with processes.only_one(project):  # ends them
        pass


def servers(project: Path) -> Iterator[Finding]:
    """Whether those that the environment names answer."""
    named = {name: os.environ[name].rstrip("/") for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
             if os.environ.get(name, "").startswith("http")}
    if not named:
        yield Finding("none is named: hae starts its own")
    for name, url in named.items():
        try:
            code = httpx.get(f"{url}/health", timeout=10).status_code
            said, wrong = f"{name}: {url} answers {code}", code >= 500
        except httpx.HTTPError as error:
            said, wrong = f"{name}: {url} does not answer ({error})", True
        yield Finding(said, wrong, mend=f"start it, or unset {name}" if wrong else "")


def results(project: Path) -> Iterator[Finding]:
    """dvc.yaml and dvc.lock can be read, and what they say was made is in DVC's cache. Raises BadInput where they can't."""
    if not (project / ".dvc").is_dir():
        yield Finding("DVC knows nothing of the project yet")
        return
    graph = versioning.read_graph(project)
    gone = cache.not_cached(project)
    stale = f"{len(graph.stale)} of {len(graph.stages)} stages are stale" if graph.stale else f"{len(graph.stages)} stages, none stale"
    yield Finding(f"{stale}; {'all' if not gone else 'not all'} results are in DVC's cache")
    if gone:
        yield Finding(f"not in DVC's cache: {', '.join(gone[:5])}{f' and {len(gone) - 5} more' if len(gone) > 5 else ''}", wrong=True,
                      mend="dvc commit where the files are as they were made, or dvc pull, or hae retrain --no-promote")


def database(project: Path) -> Iterator[Finding]:
    """The database is whole, the champion has its alias, no dead run says that it runs, and each version has the files it was registered
    with. Raises BadInput where the store can't be reached."""
    home = settings.home(project)
    if settings.tracking_uri(project) == f"sqlite:///{home / 'mlflow.db'}" and not (home / "mlflow.db").exists():
        yield Finding("no database yet: nothing is recorded")
        return
    opened = store.opened(project)
    with store.plainly(opened.uri):
        store.check(opened)
        state = registry.status(project)
        crowned = f"version {state.champion.version} is champion" if state.champion else "no champion"
        yield Finding(f"{opened.name} in {opened.uri}: {len(state.versions)} versions, {crowned}")
        if state.note:
            yield Finding(state.note, wrong=True, mend="hae doctor --mend, or the next hae retrain", safe=lambda: _recover(project, opened))
        if not locks.holder(project) and (dead := runs.left_running(opened, project)):
            yield Finding(f"{len(dead)} runs say RUNNING, and nobody is at work", wrong=True,
                          mend="hae doctor --mend, or the next hae retrain", safe=lambda: _terminate(project, opened))
        yield from _files(opened)


def _files(opened: store.Store) -> Iterator[Finding]:
    gone = [str(version.version) for version in registry.versions(opened) if not packaging.intact(opened, version)]
    if gone:
        yield Finding(f"versions {', '.join(gone)}: not the files that were registered", wrong=True,
                      mend="put them back; hae retrain packs those of today's models again; hae rollback passes over the others")


def _recover(project: Path, opened: store.Store) -> None:
    with locks.checkout_lock(project):
        recovery.mend(opened)
        recovery.keep(opened)


def _terminate(project: Path, opened: store.Store) -> None:
    with locks.checkout_lock(project):
        for run in runs.left_running(opened, project):
            opened.client.set_terminated(run.info.run_id, "FAILED")
