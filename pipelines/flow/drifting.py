"""Drift at each retraining: rows that the champion was not trained on, against those that it was; a line in `.hae/drift.jsonl`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.errors import BadInput
from pipelines import params, paths, settings
from pipelines.flow import cache
from pipelines.record import packaging, registry
from pipelines.record.packaging import Loaded
from pipelines.record.store import Store, opened, plainly
from pipelines.watch import notify

if TYPE_CHECKING:
    from pipelines.watch.drift import Drift

__all__ = ["look"]


def look(project: Path, say: Callable[[str], object]) -> str:
    """Compare new rows of data/prepared with the champion's, keep what was found, tell of alarms: in words, "" where there is nothing to
    compare. A fault of it is said, and is no fault of the retraining."""
    try:
        store = opened(project)
        with plainly(store.uri):
            found = _found(project, store)
    except (BadInput, OSError, ValueError) as error:
        say(f"drift: not looked at: {error}")
        return ""
    if found is None:
        return ""
    version, drifted = found
    words = f"against version {version}: {drifted.words}"
    say(f"drift {words}")
    entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "version": version, "rows": drifted.rows,
             "independent": round(drifted.independent, 1), "beyond": drifted.beyond, "error": drifted.error, "missing": drifted.missing,
             "distance": {name: far for name, (far, _) in drifted.distance.items()}, "alarms": drifted.alarms}
    with open(settings.home(project) / "drift.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    if drifted.alarms:
        notify.tell(project, "drift", words)
    return words


def _found(project: Path, store: Store) -> tuple[str, Drift] | None:
    """None without a champion, without its data, without new rows, or where they are too many to have in memory twice."""
    champion = registry.champion(store)
    if champion is None:
        return None
    from hae.training.stored import memory_limit, rows_bytes  # with torch: a flow with nothing to compare does without

    if 2 * rows_bytes(project / paths.FRAMES) > memory_limit():
        return None
    data = store.client.get_model_version(store.name, champion.version).tags.get("data_hash", "")
    with tempfile.TemporaryDirectory() as temporary:
        kept = Path(temporary) / "frames.parquet"
        if not data or not cache.fetch(project, data, kept):
            return None
        before, now = Frames.read(kept), Frames.read(project / paths.FRAMES)
    if before.features != now.features:
        raise BadInput(f"{project / paths.FRAMES}: other features than version {champion.version} was trained on; allowed: the same")
    known = pd.util.hash_pandas_object(pd.DataFrame(before.values), index=False)
    new = now.select(~pd.util.hash_pandas_object(pd.DataFrame(now.values), index=False).isin(known).to_numpy())
    if not len(new):
        return None
    from pipelines.watch import drift  # with scipy's tests

    model, rule = packaging.load(store, champion.version), params.load(project / "params.yaml").drift
    held_out = _errors(model, before)
    held_out[:, before.split != "test"] = np.nan
    reference = drift.Profile.of(before.values, before.features, before.trajectory, before.frame, held_out)
    return champion.version, drift.compare(reference, new.values, rule, new.trajectory, new.frame, _errors(model, new))


def _errors(model: Loaded, frames: Frames) -> np.ndarray:
    """(K, N): squared error of each level, in the model's own scale, summed over features."""
    values = frames.values[:, [frames.features.index(name) for name in model.about["features"]]].astype(np.float64)
    scale = np.array(model.about["scale"])
    pieces = [(((model.program(rows)[1] - rows) / scale) ** 2).sum(-1) for rows in np.array_split(values, len(values) // 16384 + 1)]
    return np.concatenate(pieces, axis=1)
