"""What a retraining needs and what it says at the end: the parts that need no Prefect."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hae.errors import BadInput
from hae.files import add_line, newest_lines
from pipelines import output, params, paths, settings
from pipelines.flow import last_decision, reading, versioning
from pipelines.masking import masked
from pipelines.project import code
from pipelines.watch import notify

if TYPE_CHECKING:
    from pipelines.gate.outcome import Outcome
    from pipelines.record.lineage import StageFacts

__all__ = ["GOOD", "Look", "facts", "look", "note", "notes", "nothing_new", "pages", "refusals_noted", "room",
           "settle", "table", "to_text", "verdicts"]

ROOM = 20_000_000  # bytes that Prefect's events and the record of one small retraining take, and some more
GOOD = ("promoted", "held", "nominated", "nothing new")  # how the ending of a retraining begins that did all its work


@dataclass(frozen=True)
class Look:
    """What there is to do. snapshots: of people's own data, taken just now."""

    graph: versioning.Graph
    snapshots: tuple[str, ...]
    complete: bool  # nothing stale, and the record whole
    upgrades: tuple[str, ...] = ()  # what of hae's own code changed since the last look, in lines
    outcome: "Outcome | None" = None  # complete, and this is what the registry is known to hold

    @property
    def stale(self) -> frozenset[str]:
        return self.graph.stale


def look(project: Path, promote: bool = True) -> Look:
    """Check params.yaml, snapshot own data, and see what is stale and whether the record is whole. Imports no Prefect.

    Raises BadInput also where the disk is full: Prefect would say so on many pages.
    """
    room(project)
    upgrades = code.refresh(project)
    reading.put_right(project)
    snapshots = versioning.snapshot(project, params.load(project / "params.yaml"))
    graph = versioning.read_graph(project)
    known = {} if graph.stale else facts(project, graph)
    outcome = None if graph.stale else last_decision.seen(project, known)
    complete = outcome is not None or (not graph.stale and _complete(project, known, promote))
    return Look(graph, tuple(snapshots), complete, tuple(upgrades), outcome)


def _complete(project: Path, known: "dict[str, StageFacts]", promote: bool) -> bool:
    from pipelines.gate import promotion  # what they import takes seconds, which most calls do without
    from pipelines.record import recording

    return recording.complete(project, known) and (not promote or promotion.is_decided(project, known))


def settle(project: Path) -> None:
    """Keep the decision for the next look, once all is done. Not where that can't be: a full disk, a registry that is away again."""
    with suppress(BadInput, OSError):
        graph = versioning.read_graph(project)
        if not graph.stale:
            last_decision.keep(project, facts(project, graph))


def room(project: Path, least: int = ROOM) -> None:
    """Raise BadInput where the disk is full: fewer than so many bytes are free."""
    free = shutil.disk_usage(project).free
    if free < least:
        raise BadInput(f"{project}: the disk is full ({free / 1e6:.1f} MB are free); what was finished is kept; allowed: the same command "
                       f"again once {ROOM / 1e6:.0f} MB are free")


def facts(project: Path, graph: versioning.Graph) -> "dict[str, StageFacts]":
    """Of every stage that has a run in the record."""
    return {name: versioning.stage_facts(project, name) for name in versioning.recorded(graph)}


def verdicts(project: Path) -> tuple[dict[str, str], str]:
    """Variant -> what the report says of its CVs in a sentence, and which to choose, PCA among them; nothing where there is no report."""
    try:
        said = json.loads((project / paths.RESULTS / "importance.json").read_text(encoding="utf-8"))
        return said["verdicts"], said["which"]
    except (OSError, ValueError, KeyError):
        return {}, ""


def table(project: Path, outcome: "Outcome") -> list[dict[str, str]]:
    """A row for each variant and for both baselines: FVE of every level, version, alias, reason."""
    try:
        results = json.loads((project / paths.RESULTS / "table.json").read_text())
    except (OSError, ValueError):
        return []
    levels = sorted({int(row["cv"]) for row in results})
    variants = list(dict.fromkeys(row["variant"] for row in results))
    rows = []
    for variant in variants:
        version = outcome.versions.get(variant)
        rows.append({
            "variant": variant,
            **_fves(levels, {int(row["cv"]): row["fve"] for row in results if row["variant"] == variant}),
            "version": version.version if version else "",
            "alias": ", ".join(version.aliases) if version else "",
            "reason": version.reason if version else "",
        })
    for name, column in (("PCA", "pca_fve"), ("plain autoencoder", "plain_fve")):
        rows.append({
            "variant": name,
            **_fves(levels, {int(row["cv"]): row.get(column) for row in results}),
            "version": "", "alias": "", "reason": "",
        })
    return rows


def _fves(levels: list[int], by_level: Mapping[int, float | None]) -> dict[str, str]:
    return {f"FVE_{k}": "" if by_level.get(k) is None else f"{by_level[k]:.3f}" for k in levels}


def to_text(rows: list[dict[str, str]]) -> str:
    """The rows as a table of text."""
    if not rows:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = [{name: name for name in widths}, *rows]
    return "\n".join("  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip() for line in lines)


def pages(project: Path) -> list[str]:
    """How to open the report and the tools' pages."""
    home = settings.home(project)
    named = os.environ.get("PREFECT_API_URL", "")
    if named == os.environ.get(settings.TEMPORARY, ""):
        named = ""
        settings.key(project)  # the line below needs it
    lines = [
        f"Report   {project / 'results' / 'report.html'}",
        "MLflow   hae ui"
        if "MLFLOW_TRACKING_URI" not in os.environ else f"MLflow   {settings.tracking_uri(project)}",
        f"Prefect  PREFECT_HOME={home / 'prefect'} PREFECT_SERVER_API_AUTH_STRING=\"$(cat {home / 'prefect-auth'})\" "
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:4200 prefect server start"
        if not named else f"Prefect  {named}",
    ]
    return [masked(line) for line in lines]


def note(project: Path, started: datetime, stages: list[str], ending: str) -> None:
    """Add a line to `.hae/retrainings.jsonl`, which `hae status` reads, and tell whoever wants to know, also where the disk is full."""
    entry = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(started.tzinfo) - started).total_seconds(), 1),
        "stages": stages,
        "ending": masked(ending),
    }
    with suppress(OSError):
        add_line(settings.home(project) / "retrainings.jsonl", entry)
    notify.ended(project, masked(ending))


def nothing_new(project: Path) -> None:
    """Leave a line in the history where the last one says that a retraining was ended or failed: what it left undone is done."""
    last = notes(project, 1)
    if last and last[0]["ending"].partition(":")[0] not in GOOD:
        note(project, datetime.now().astimezone(), [], "nothing new")


@contextmanager
def refusals_noted(project: Path) -> Iterator[None]:
    """What keeps a retraining from beginning leaves a line in the history too."""
    started = datetime.now().astimezone()
    try:
        yield
    except (BadInput, OSError) as error:
        note(project, started, [], str(error) if isinstance(error, BadInput) else output.in_a_line(error))
        raise


def notes(project: Path, last: int = 5) -> list[dict]:
    """The last retrainings, newest first. A line that a kill or a full disk cut short is left out."""
    found = newest_lines(settings.home(project) / "retrainings.jsonl")
    return list(islice((entry for entry in found if entry.keys() >= {"started", "seconds", "stages", "ending"}), last))
