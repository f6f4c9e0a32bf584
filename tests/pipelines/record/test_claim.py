"""Machines that share a registry move its aliases one at a time."""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.record import claim
from pipelines.record.claim import claimed, made
from pipelines.record.store import Store, elsewhere


@pytest.fixture
def shared(tmp_path, database) -> Store:
    """A registry that is no project's own."""
    there = Path(shutil.copy(database, tmp_path / "shared.db"))
    return replace(elsewhere(f"sqlite:///{there}", "small-table"), home=tmp_path / "checkout" / ".hae")


def names(store: Store) -> list[str]:
    return [model.name for model in store.client.search_registered_models()]


def test_a_claim_is_held_by_one_at_a_time_and_leaves_nothing(shared):
    inside, most = 0, []

    def move() -> None:
        nonlocal inside
        with claimed(shared):
            inside += 1
            most.append(inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert not [name for name in names(shared) if name.endswith(".moving")]


def test_what_fails_under_a_claim_frees_it(shared):
    with pytest.raises(ZeroDivisionError), claimed(shared):
        assert "small-table.moving" in names(shared)
        raise ZeroDivisionError
    assert "small-table.moving" not in names(shared)


def test_the_claim_of_somebody_who_died_is_taken_over(shared, monkeypatch):
    monkeypatch.setattr(claim, "SECONDS", 0.5)
    shared.client.create_registered_model("small-table.moving")
    started = time.monotonic()
    with claimed(shared):
        assert time.monotonic() - started > 0.5
    assert "small-table.moving" not in names(shared)


def test_a_checkout_alone_claims_nothing(tmp_path, database):
    there = Path(shutil.copy(database, tmp_path / "mlflow.db"))
    store = elsewhere(f"sqlite:///{there}", "small-table")
    assert store.home == tmp_path  # so it counts as the file of a checkout
    with claimed(store):
        assert not names(store)


def test_of_machines_that_make_the_model_at_once_one_does_and_none_fails(shared):
    assert [made(shared, "small-table") for _ in range(2)] == [True, False]
    assert names(shared) == ["small-table"]
