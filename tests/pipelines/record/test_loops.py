"""A loop in MLflow: a metric a round, once, and versions that know the last round they learned from."""

from mlflow.entities import Metric

from pipelines.record import loops, registry
from pipelines.record.store import opened


def test_a_round_is_noted_once_and_versions_know_theirs(bare):
    store = opened(bare)
    client = store.client
    assert loops.learned(store) == {}
    client.create_registered_model(store.name)
    run = client.create_run(store.experiment)
    client.log_batch(run.info.run_id, metrics=[Metric(name, value, 0, 0) for name, value in
                                               {"fve_1": 0.7, "fve_2": 0.9, "gradient_1": 40.0, "gradient_2": 90.0,
                                                "gradient_median_1": 5.0, "pca_fve_1": 0.6}.items()])
    client.create_model_version(store.name, str(bare), run_id=run.info.run_id)
    registry.nominate(store, "1")
    assert loops.learned(store) == {"fve_1": 0.7, "fve_2": 0.9, "gradient": 90.0}

    first = loops.note(store, bare, "000", {"cells": 40, "nanoseconds": 0.8})
    client.create_model_version(store.name, str(bare))
    for _ in range(2):  # as after a kill
        assert loops.note(store, bare, "001", {"cells": 60, "nanoseconds": 1.6}) == first
    assert [(metric.step, metric.value) for metric in client.get_metric_history(first, "cells")] == [(0, 40), (1, 60)]
    assert client.get_run(first).info.status == "FINISHED"
    assert {version.version: version.tags[loops.ROUND] for version in registry.versions(store)} in (
        {"1": "000", "2": "001"}, {1: "000", 2: "001"})
