"""What `hae status` says: champion, candidate and why, stale stages, last retrainings; as data, and in lines."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from hae.errors import BadInput
from hae.files import write_json
from pipelines import locks, params, settings
from pipelines.flow import retraining, versioning
from pipelines.flow.last_decision import mark
from pipelines.record import registry
from pipelines.record.registry import VersionRow

__all__ = ["look", "to_lines"]

ALIASES = ("champion", "candidate", "previous")
LAST, SHOWN = 50, 5  # retrainings looked at, and lines about them


def look(project: Path) -> dict:
    """All of it, as JSON has it. A registry that can't be reached is said under registry.error, since the rest is still true.

    Raises BadInput for params.yaml or dvc.yaml that can't be read.
    """
    name = params.load(project / "params.yaml").record.model_name
    known = _seen(project, name)
    if known is not None:
        graph = versioning.read_graph(project)
    else:
        with ProcessPoolExecutor(1) as beside:  # DVC and MLflow take seconds to come up: side by side
            looking = beside.submit(versioning.read_graph, project)
            known = _looked_up(project, name)
            graph = looking.result()
    verdicts, which = retraining.verdicts(project)
    return {
        "project": str(project),
        **known,
        "verdicts": verdicts,
        "which": which,
        "stale": {name: list(graph.stages[name].changed) for name in graph.order() if name in graph.stale},
        "at_work": locks.holder(project),
        "runs": retraining.notes(project, LAST),
    }


def _looked_up(project: Path, name: str) -> dict:
    """What MLflow says, kept with the state of the database that it was read from."""
    before = mark(project, name)
    known = _registry(project)
    if before is not None and before == mark(project, name) and "error" not in known["registry"]:
        with suppress(OSError):  # a full disk, somebody else's project: it is read anew the next time
            write_json(_kept(project), {"mark": before, "known": known})
    return known


def _seen(project: Path, name: str) -> dict | None:
    """What MLflow said the last time, where its database has not changed since: MLflow itself takes 3 s to come up."""
    now = mark(project, name)
    try:
        kept = json.loads(_kept(project).read_text(encoding="utf-8"))
        return kept["known"] if now is not None and kept["mark"] == now else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(project: Path) -> Path:
    return settings.home(project) / "status.json"


def _registry(project: Path) -> dict:
    try:
        state = registry.status(project)
    except BadInput as error:
        return {"registry": {"error": str(error)}, **dict.fromkeys(ALIASES), "note": ""}
    return {"registry": {"name": state.name, "uri": state.uri, "versions": len(state.versions)},
            **{alias: _version(getattr(state, alias)) for alias in ALIASES}, "note": state.note}


def _version(row: VersionRow | None) -> dict | None:
    if row is None:
        return None
    return {"version": row.version, "variant": row.variant, "reason": row.reason, "created": row.created.isoformat(timespec="seconds")}


def to_lines(state: dict) -> Iterator[str]:
    """What `look` found, in lines. Retrainings in a row that ended alike are one line, with their number."""
    yield f"project    {state['project']}"
    where = state["registry"]
    yield f"registry   {where['error']}" if "error" in where else f"registry   {where['name']} in {where['uri']}"
    if "error" not in where:
        for alias in ALIASES:
            row = state[alias]
            yield f"{alias:<10} " + (f"version {row['version']} ({row['variant']}): {row['reason']}" if row else "none")
    if state["note"]:
        yield f"note       {state['note']}"
    for variant, words in state["verdicts"].items():
        yield f"verdict    {variant}: {words}"
    if state["which"]:
        yield f"choice     {state['which']}"
    yield f"stale      {', '.join(state['stale']) or 'nothing'}"
    yield from (f"           {name}: {', '.join(changed)}" for name, changed in state["stale"].items() if changed)
    if state["at_work"]:
        yield f"at work    {state['at_work']}"
    groups = groupby(state["runs"], lambda entry: (entry["stages"], entry["ending"]))
    yield from (_line(list(alike)) for _, (_, alike) in zip(range(SHOWN), groups))


def _line(alike: list[dict]) -> str:
    """Of retrainings that ended alike, newest first."""
    newest = alike[0]
    ran = ", ".join(newest["stages"]) or "no stage"
    often = f"  ({len(alike)} times since {alike[-1]['started']})" if len(alike) > 1 else ""
    return f"run        {newest['started']}  {newest['seconds']:.0f} s  {ran}  {newest['ending']}{often}"
