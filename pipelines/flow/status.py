"""What `hae status` says: champion, candidate and why, stale stages, last retrainings."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hae.errors import BadInput
from pipelines import locks, params
from pipelines.flow import retraining, versioning
from pipelines.record import registry

__all__ = ["status"]


def status(project: Path) -> Iterator[str]:
    """Lines. A registry that can't be reached is said in one of them, since the rest is still true."""
    params.load(project / "params.yaml")
    yield f"project    {project}"
    with ProcessPoolExecutor(1) as beside:  # DVC and MLflow take a second each to come up: side by side
        looking = beside.submit(versioning.read_graph, project)
        yield from _registry(project)
        graph = looking.result()
    for variant, words in retraining.verdicts(project).items():
        yield f"verdict    {variant}: {words}"
    stale = [name for name in graph.order() if name in graph.stale]
    yield f"stale      {', '.join(stale) or 'nothing'}"
    for name in stale:
        if graph.stages[name].changed:
            yield f"           {name}: {', '.join(graph.stages[name].changed)}"
    holder = locks.holder(project)
    if holder:
        yield f"at work    {holder}"
    for entry in retraining.notes(project):
        ran = ", ".join(entry["stages"]) or "no stage"
        yield f"run        {entry['started']}  {entry['seconds']:.0f} s  {ran}  {entry['ending']}"


def _registry(project: Path) -> Iterator[str]:
    try:
        state = registry.status(project)
    except BadInput as error:
        yield f"registry   {error}"
        return
    yield f"registry   {state.name} in {state.uri}"
    for alias in ("champion", "candidate", "previous"):
        row = getattr(state, alias)
        yield f"{alias:<10} " + (f"version {row.version} ({row.variant}): {row.reason}" if row else "none")
    if state.note:
        yield f"note       {state.note}"
