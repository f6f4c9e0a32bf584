"""What has to be true of a place after any fault and one clean retraining."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from tests.soak.place import MARK, Place

__all__ = ["wrong"]

FORK = multiprocessing.get_context("fork")  # a look costs no import, and leaves no open database behind


def wrong(place: Place) -> list[str]:
    """What is not as it has to be, in lines."""
    left = [f"a process is left: {' '.join(process.cmdline())[:200]}" for process in place.at_work()]
    queue = FORK.SimpleQueue()
    child = FORK.Process(target=_look, args=(place.folder, queue))
    child.start()
    found = queue.get()
    child.join()
    return [*left, *found]


def _look(folder: Path, queue) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "PREFECT_", MARK))]:
        del os.environ[name]
    os.chdir(folder)
    try:
        queue.put([line for look in (_records, _champion, _files, _locks) for line in look(folder)])
    except Exception:
        queue.put([traceback.format_exc()])


def _records(folder: Path) -> list[str]:
    from pipelines.flow import retraining, versioning
    from pipelines.gate import promotion
    from pipelines.record import recording, registry
    from pipelines.record.store import opened

    store, graph = opened(folder), versioning.read_graph(folder)
    runs, rows = store.client.search_runs([store.experiment]), registry.rows(store)
    facts = retraining.facts(folder, graph)
    keys = Counter(run.data.tags.get("key", "none") for run in runs)
    trained = Counter((row.key, row.weights) for row in rows)
    last = next(iter(retraining.notes(folder, 1)), {"ending": "none"})
    return [
        *(f"run {run.info.run_name} is {run.info.status}" for run in runs if run.info.status not in ("FINISHED", "FAILED")),
        *(f"run {run.info.run_name} of today is {run.info.status}" for run in runs
          if run.info.status != "FINISHED" and run.data.tags.get("key") in {its.key for its in facts.values()}),
        *(f"{count} runs of one key" for count in keys.values() if count > 1),
        *(f"{count} versions of one training" for count in trained.values() if count > 1),
        *(f"no run of {name}" for name, its in facts.items() if its.key not in keys),
        *(f"no version of {name}" for name, its in facts.items() if name != "baseline" and its.key not in {key for key, _ in trained}),
        *(f"stale: {name}" for name in graph.stale),
        *([] if recording.complete(folder, facts) else ["the record is not complete"]),
        *([] if promotion.is_decided(folder, facts) else ["not decided"]),
        *([] if last["ending"].partition(":")[0] in (*retraining.GOOD,) else [f"the last line of the history: {last['ending']}"]),
    ]


def _champion(folder: Path) -> list[str]:
    """It is one, in its place in the history and beside the store, and gives the CVs of its day."""
    from pipelines.record import backup, packaging, registry
    from pipelines.record.store import opened

    store = opened(folder)
    row, aliases, history = registry.champion(store), registry.aliases(store), registry.history(store)
    if row is None:
        return ["no champion"]
    kept = backup.kept(store.home, store.uri) or {"aliases": {}, "history": []}
    back = registry.way_back(store)
    model = packaging.load(store, row.version)
    source = Path(store.client.get_model_version(store.name, row.version).source.removeprefix("file://"))
    expected = pd.read_parquet(source / "artifacts" / "check.parquet").filter(like="expected:").to_numpy()
    return [
        *([] if aliases.get("champion") == row.version else [f"the alias points to {aliases.get('champion')}, not to {row.version}"]),
        *([] if history[-1:] == [row.version] else [f"history {history}, champion {row.version}"]),
        *([] if aliases.get("previous") == (back[-1] if back else None) else [f"previous is {aliases.get('previous')}, way back {back}"]),
        *([] if (kept["aliases"], kept["history"]) == (aliases, history) else ["what is kept beside the store is another"]),
        *([] if row.reason else ["the champion has no reason"]),
        *([] if np.allclose(model.encode(model.rows), expected, rtol=0, atol=1e-9) else ["the champion gives other CVs"]),
    ]


def _files(folder: Path) -> list[str]:
    """Caches that hold what they say, and nothing half-written."""
    from pipelines.flow import cache

    objects = [path for path in (folder / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    named = {path: f"{path.parent.name}{path.name}".removesuffix(".dir") for path in objects}
    damaged = [path for path, name in named.items() if name != hashlib.md5(path.read_bytes()).hexdigest()]
    lines = (folder / ".hae/retrainings.jsonl").read_text(errors="replace").splitlines()
    return [
        *(f"not in DVC's cache: {name}" for name in cache.not_cached(folder)),
        *(f"damaged in DVC's cache: {path.name}" for path in damaged),
        *([] if lines and isinstance(json.loads(lines[-1]), dict) else ["the history ends in a torn line"]),
    ]


def _locks(folder: Path) -> list[str]:
    from pipelines import locks, processes

    return [*([f"held: {who}"] if (who := locks.holder(folder)) else []),
            *(["DVC's locks are held"] if processes.files_held(folder / ".dvc/tmp/rwlock") else [])]
