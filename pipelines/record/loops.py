"""The loop in MLflow: a run a project with a metric a round, and versions that know the last round they learned from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from pipelines import settings
from pipelines.record import registry
from pipelines.record.runs import PLACE
from pipelines.record.store import Store

__all__ = ["ROUND", "learned", "note", "verdicts"]

ROUND = "round"  # tag of a version
STAGE = "loop"  # tag `stage` of the run


def learned(store: Store) -> dict[str, float]:
    """Of the version that was trained last and is the better one (candidate or champion): fve_1, ..., and gradient, the largest |ds/dx|
    of a CV (1/nm), where it is known. {} where there is no such version."""
    run = _newest(store)
    known = {} if run is None else run.data.metrics
    found = {name: value for name, value in known.items() if name.removeprefix("fve_").isdecimal()}
    steep = [value for name, value in known.items() if name.removeprefix("gradient_").isdecimal()]
    return found | ({"gradient": max(steep)} if steep else {})


def verdicts(store: Store) -> list[str]:
    """Of the same version: what is said of each CV, and of its order where that is not as it should be ("alive", "weak and tied", ...)."""
    run = _newest(store)
    tags = {} if run is None else run.data.tags
    numbers = sorted(int(name.removeprefix("verdict_")) for name in tags if name.removeprefix("verdict_").isdecimal())
    orders = {k: tags.get(f"order_{k}", "ordered") for k in numbers}
    return [tags[f"verdict_{k}"] + ("" if orders[k] in ("ordered", tags[f"verdict_{k}"]) else f" and {orders[k]}") for k in numbers]


def _newest(store: Store):
    """The run of the version that was trained last of those with a name; None where there is none."""
    rows = [row for row in registry.rows(store) if row.aliases and row.run_id]  # one that came back from a copy knows no run
    return store.client.get_run(max(rows, key=lambda row: int(row.version)).run_id) if rows else None


def note(store: Store, project: Path, round: str, numbers: Mapping[str, float]) -> str:
    """Put what is known of a round (its number is the step) into the loop's run, made if there is none; gives the run's id. Versions that
    do not know a round yet get this one. Safe to repeat: nothing stands there twice."""
    from mlflow.entities import Metric

    client, place, step = store.client, settings.place(project), int(round)
    found = client.search_runs([store.experiment], f"tags.stage = '{STAGE}' and tags.{PLACE} = '{place}'")
    run = found[0] if found else client.create_run(store.experiment, run_name=STAGE, tags={"stage": STAGE, PLACE: place})
    run_id, now = run.info.run_id, int(time.time() * 1000)
    there = {name for name in run.data.metrics if step in {metric.step for metric in client.get_metric_history(run_id, name)}}
    client.log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in numbers.items() if name not in there])
    client.set_terminated(run_id, "FINISHED")
    for version in registry.versions(store):
        if ROUND not in version.tags:
            client.set_model_version_tag(store.name, version.version, ROUND, round)
    return run_id
