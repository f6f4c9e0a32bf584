"""The last decision, kept while nothing that it stands on has changed: to ask MLflow again takes seconds, for its imports alone."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from hae.files import write_json
from hae.version import __version__
from pipelines import params, paths, settings
from pipelines.gate.outcome import Outcome
from pipelines.record import contents, digests, lineage
from pipelines.record.lineage import StageFacts
from pipelines.record.registry import VersionRow

__all__ = ["keep", "mark", "seen"]


def seen(project: Path, facts: Mapping[str, StageFacts]) -> Outcome | None:
    """What the registry holds about what is on disk, where nothing is left to record or to decide; None where it has to be asked.

    facts: of the stages that are recorded; none of them is stale.
    """
    try:
        kept = json.loads(_file(project).read_text(encoding="utf-8"))
        if kept["mark"] != _mark(project, facts) or any(digests.digests(Path(place)) != said for place, said in kept["files"].items()):
            return None
        rows = {variant: _row(row) for variant, row in kept["outcome"]["versions"].items()}
        return Outcome(**kept["outcome"] | {"versions": rows})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(project: Path, facts: Mapping[str, StageFacts]) -> None:
    """Keep what the registry holds about what is on disk, once all is recorded and decided; a store of other machines is asked each time.

    facts: of the stages that are recorded; none of them is stale.
    """
    before = _mark(project, facts)
    found = _standing(project, facts) if before is not None else None
    if found is not None and before == _mark(project, facts):
        outcome, files = found
        write_json(_file(project), {"mark": before, "files": files, "outcome": json.loads(json.dumps(asdict(outcome), default=str))})


def _standing(project: Path, facts: Mapping[str, StageFacts]) -> tuple[Outcome, dict[str, dict[str, str]]] | None:
    from pipelines.gate import promotion  # what it imports takes seconds

    return promotion.standing(project, facts)


def mark(project: Path, name: str) -> list | None:
    """What changes with everything that a registry of this name says; None where that is not a file of this machine."""
    uri = settings.tracking_uri(project)
    database = Path(uri.removeprefix("sqlite:///"))
    try:
        if not uri.startswith("sqlite:///") or Path(f"{database}-wal").exists() or Path(f"{database}-journal").exists():
            return None
        with open(database, "rb") as file:
            counter = file.read(100)[24:28].hex()  # sqlite counts the changes of a file in its head
        about = database.stat()
        history = [path.stat().st_mtime_ns for path in sorted(settings.home(project).glob("registry*.json"))]
    except OSError:
        return None
    return [uri, name, counter, about.st_size, about.st_mtime_ns, about.st_ino, history, (project / paths.MODELS).exists()]


def _mark(project: Path, facts: Mapping[str, StageFacts]) -> list | None:
    """What changes with everything that a decision stands on; None where the registry is not a file of this machine."""
    registry = mark(project, params.load(project / "params.yaml").record.model_name)
    if registry is None:
        return None
    stages = {name: [its.key, contents.weights(project, name), contents.everything(project, name)] for name, its in facts.items()}
    return [__version__, registry, stages, lineage.file_digest(project / "params.yaml"), lineage.file_digest(project / paths.MANIFEST)]


def _row(kept: dict) -> VersionRow:
    return VersionRow(**kept | {"aliases": tuple(kept["aliases"]), "created": datetime.fromisoformat(kept["created"])})


def _file(project: Path) -> Path:
    return settings.home(project) / "last-decision.json"
