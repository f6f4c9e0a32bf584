"""Drift from the champion's training data: of new rows at each retraining, of rows that are scored; a line each in .hae/drift.jsonl."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.errors import BadInput
from hae.files import add_line, newest_lines
from pipelines import params, paths, settings
from pipelines.flow import cache
from pipelines.record import packaging, registry
from pipelines.record.packaging import Loaded
from pipelines.record.store import Store, opened, plainly
from pipelines.sections import ALARMS as KINDS
from pipelines.watch import notify

if TYPE_CHECKING:
    from pipelines.watch import drift

__all__ = ["KINDS", "SCORED", "Looked", "history", "look", "scored", "scored_since"]

RETRAINING, SCORED = "retraining", "transform"  # what the rows of a look were for
KEPT = 5  # profiles of champions
MOST = 200  # columns whose distance goes to MLflow


@dataclass(frozen=True)
class Looked:
    """What a look found: in words ("" where there was nothing to compare). holds: why only a person may promote, or ""."""

    words: str = ""
    holds: str = ""


def look(project: Path, say: Callable[[str], object], runs: Iterable[str] = ()) -> Looked:
    """Compare new rows of data/prepared with the champion's, keep what was found, tell of alarms. A fault of it is said, and is no fault of
    the retraining. runs: ids of MLflow's runs of today, which get its figures as metrics."""
    try:
        store = opened(project)
        with plainly(store.uri):
            found = _found(project, store)
            if found is None:
                return Looked()
            for run in runs:
                store.client.log_batch(run, metrics=_metrics(found[1]))
    except (BadInput, OSError, ValueError) as error:
        say(f"drift: not looked at: {error}")
        return Looked()
    version, drifted = found
    words = _keep(project, RETRAINING, version, drifted)
    say(f"drift {words}")
    holds = params.load(project / "params.yaml").drift.holds
    stops = [word for kind in holds for word in drifted.alarms.get(kind, ())]
    return Looked(words, f"the data drifted from those of version {version}: {'; '.join(stops[:3])} (drift.holds)" if stops else "")


def scored(project: Path, store: Store, model: Loaded, seen: drift.Thinned) -> str:
    """Compare rows that were scored by a version with its training data, keep what was found, tell of alarms: in words, "" where the
    version's training data are not here. A fault of it is said in the words."""
    from pipelines.watch import drift  # with scipy's tests

    try:
        with plainly(store.uri):
            reference = _profile(project, store, model)
        if reference is None or not len(seen):
            return ""
        values, trajectory, frame = seen.rows()
        rule = params.load(project / "params.yaml").drift
        return _keep(project, SCORED, model.version, drift.compare(reference, values, rule, trajectory, frame, _errors(model, values)))
    except (BadInput, OSError, ValueError) as error:
        return f"not looked at: {error}"


def history(project: Path, last: int, of: Sequence[str] = (RETRAINING, SCORED)) -> list[dict]:
    """The last looks, newest first. A line that was cut short is left out."""
    return list(islice(_looks(project, of), last))


def scored_since(project: Path, moment: str) -> list[dict]:
    """Looks at scored rows after the one of this moment, newest first; the last alone where there is none of it."""
    found: list[dict] = []
    for entry in _looks(project, (SCORED,)):
        if entry["at"] == moment:
            return found
        found.append(entry)
    return found[:1]


def _looks(project: Path, of: Sequence[str]) -> Iterator[dict]:
    found = newest_lines(settings.home(project) / "drift.jsonl")
    return (entry for entry in found if entry.get("of", RETRAINING) in of and entry.keys() >= {"at", "alarms"})


def _keep(project: Path, of: str, version: str, drifted: drift.Drift) -> str:
    words = f"against version {version}: {drifted.words}"
    entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "of": of, "version": version, "rows": drifted.rows,
             "independent": round(drifted.independent, 1), "beyond": drifted.beyond, "error": drifted.error, "missing": drifted.missing,
             "distance": {name: far for name, (far, _) in drifted.distance.items()},
             "allowed": {name: allowed for name, (_, allowed) in drifted.distance.items()}, "alarms": drifted.alarms}
    add_line(settings.home(project) / "drift.jsonl", entry)
    if drifted.alarms:
        notify.tell(project, "drift", words)
    return words


def _metrics(drifted: drift.Drift) -> list:
    """drift/beyond, drift/error_1, ..., drift/distance/COLUMN, as MLflow has them."""
    from mlflow.entities import Metric

    values = {"beyond": drifted.beyond, **{f"error_{k}": ratio for k, ratio in enumerate(drifted.error, 1)},
              **{f"distance/{name}": far for name, (far, _) in list(drifted.distance.items())[:MOST]}}
    now = int(time.time() * 1000)
    return [Metric(re.sub(r"[^\w./ -]", "_", f"drift/{name}"), float(value), now, 0) for name, value in values.items()]


def _found(project: Path, store: Store) -> tuple[str, drift.Drift] | None:
    """None without a champion, without its data, without new rows, or where they are too many to have in memory twice."""
    champion = registry.champion(store)
    if champion is None:
        return None
    from hae.memory import memory_limit
    from hae.training.stored import rows_bytes  # with torch: a flow with nothing to compare does without

    if 2 * rows_bytes(project / paths.FRAMES) > memory_limit():
        return None
    before = _trained_on(project, store, champion.version)
    if before is None:
        return None
    now = Frames.read(project / paths.FRAMES)
    if before.features != now.features:
        raise BadInput(f"{project / paths.FRAMES}: other features than version {champion.version} was trained on; allowed: the same")
    known = pd.util.hash_pandas_object(pd.DataFrame(before.values), index=False)
    new = now.select(~pd.util.hash_pandas_object(pd.DataFrame(now.values), index=False).isin(known).to_numpy())
    if not len(new):
        return None
    from pipelines.watch import drift  # with scipy's tests

    model, rule = packaging.load(store, champion.version), params.load(project / "params.yaml").drift
    values = _values(model, new)
    return champion.version, drift.compare(_of(model, before), values, rule, new.trajectory, new.frame, _errors(model, values))


def _trained_on(project: Path, store: Store, version: str) -> Frames | None:
    """The rows that a version was trained on, from DVC's cache; None where they are not there. Raises BadInput where they are too many to
    have in memory."""
    from hae.memory import memory_limit
    from hae.training.stored import rows_bytes

    data = store.client.get_model_version(store.name, version).tags.get("data_hash", "")
    if not (project / ".dvc").is_dir():
        return None
    with tempfile.TemporaryDirectory() as temporary:
        kept = Path(temporary) / "frames"
        if data and cache.fetch(project, data, kept, paths.MANIFEST.name) and rows_bytes(kept) > memory_limit():
            raise BadInput(f"version {version}: the rows that it was trained on are larger than HAE_MEMORY_LIMIT")
        return Frames.read(kept) if data and cache.fetch(project, data, kept) else None


def _profile(project: Path, store: Store, model: Loaded) -> drift.Profile | None:
    """Of the training data of a version, kept once it was made; None where they are not here."""
    from pipelines.watch import drift  # with scipy's tests

    key = store.client.get_model_version(store.name, model.version).tags.get("weights", "")[:16] or model.version
    path = settings.home(project) / "profiles" / f"{key}.npz"
    with suppress(OSError, ValueError, KeyError):
        return drift.Profile.load(path)
    before = _trained_on(project, store, model.version)
    if before is None:
        return None
    reference = _of(model, before)
    reference.save(path)
    for old in sorted(path.parent.glob("*.npz"), key=lambda file: -file.stat().st_mtime)[KEPT:]:
        old.unlink(missing_ok=True)
    return reference


def _of(model: Loaded, before: Frames) -> drift.Profile:
    """What a version was trained on, with its error on the test blocks alone."""
    from pipelines.watch import drift  # with scipy's tests

    values = _values(model, before)
    held_out = _errors(model, values)
    held_out[:, before.split != "test"] = np.nan
    return drift.Profile.of(values, model.about["features"], before.trajectory, before.frame, held_out)


def _values(model: Loaded, frames: Frames) -> np.ndarray:
    """(N, D) in the order of the model's features."""
    return frames.values[:, [frames.features.index(name) for name in model.about["features"]]].astype(np.float64)


def _errors(model: Loaded, values: np.ndarray) -> np.ndarray:
    """(K, N): squared error of each level, in the model's own scale, summed over features."""
    scale = np.array(model.about["scale"])
    pieces = [(((model.program(rows)[1] - rows) / scale) ** 2).sum(-1) for rows in np.array_split(values, len(values) // 16384 + 1)]
    return np.concatenate(pieces, axis=1)
