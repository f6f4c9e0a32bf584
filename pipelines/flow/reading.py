"""What a stage read is what is recorded.

DVC hashes what a stage reads after the stage's command, so rows that arrive while it works would count as read. They are hashed
before it, too, and a stage whose data changed meanwhile runs again. A mark in `.hae/reading` holds what was there before, so that a
retraining which was killed in between is put right by the next one.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hae.errors import BadInput
from hae.files import write_json
from pipelines import params, processes, settings
from pipelines.flow import versioning

__all__ = ["put_right", "run", "seconds"]

TRIES = 3


def run(project: Path, name: str, say: Callable[[str], None]) -> int:
    """Run a stage, again while what it reads changes under it, and give the exit code.

    Raises BadInput where the data never stood still; the stage then counts as one that has not run.
    """
    mark = _mark(project, name)
    for _ in range(TRIES):
        anew = mark.exists()
        if anew:
            versioning.snapshot(project, params.load(project / "params.yaml"))
        before = versioning.sources(project, name)
        write_json(mark, before)
        begun = time.monotonic()
        code = processes.run(versioning.command(name, anew), project, say, _limit(project))
        write_json(_took(project, name), {"seconds": round(time.monotonic() - begun, 1), "code": code})
        changed = _changed(project, name, before)
        if code or not changed:
            if not changed:
                mark.unlink(missing_ok=True)
            return code
        say(f"{', '.join(changed)} changed while {name} was at work: it runs again")
    versioning.forget(project, name)
    raise BadInput(f"{name}: {', '.join(changed)} changed while it was at work, {TRIES} times; allowed: data that do not change meanwhile "
                   "(write a file elsewhere and move it in when it is complete)")


def _limit(project: Path) -> float | None:
    """Seconds that a stage may take."""
    hours = params.load(project / "params.yaml").limits.stage_hours
    return None if hours is None else hours * 3600


def put_right(project: Path) -> None:
    """Make stale what a killed retraining may have recorded as read though it was not."""
    for mark in settings.home(project).glob("reading/*.json"):
        name = mark.stem
        try:
            before = json.loads(mark.read_text())
            if not _changed(project, name, before):
                mark.unlink()
                continue
        except (ValueError, StopIteration):  # cut short, or a stage that dvc.yaml no longer has
            mark.unlink()
            continue
        versioning.forget(project, name)  # the mark stays: the stage has to run, DVC's cache has the same fault


def _changed(project: Path, name: str, before: dict[str, str]) -> list[str]:
    """What dvc.lock says was read and was not there before."""
    recorded = versioning.recorded_sources(project, name)
    return sorted(path for path in recorded if recorded[path] != before.get(path))


def seconds(project: Path) -> dict[str, float]:
    """Stage -> what its last run took, DVC included, if it ended well."""
    found = {}
    for path in sorted(settings.home(project).glob("took/*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(path.read_text())
            if entry["code"] == 0:
                found[path.stem] = float(entry["seconds"])
    return found


def _took(project: Path, name: str) -> Path:
    return settings.home(project) / "took" / f"{name}.json"


def _mark(project: Path, name: str) -> Path:
    return settings.home(project) / "reading" / f"{name}.json"
