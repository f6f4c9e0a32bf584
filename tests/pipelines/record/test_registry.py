"""Aliases: who may hold them, the way back, and what a call that dies in the middle leaves."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from pipelines.record import recovery, registry
from pipelines.record.registry import crown, nominate, take_back, way_back
from pipelines.record.store import opened


@pytest.fixture
def store(bare):
    """A store with five versions, without files."""
    store = opened(bare)
    store.client.create_registered_model(store.name)
    for variant in ("collective", "boosted", "collective", "boosted", "collective"):
        store.client.create_model_version(store.name, str(bare), tags={"variant": variant})
    return store


def aliases(store) -> dict:
    return {alias: row.version for row in registry.rows(store) for alias in row.aliases}


def test_the_champion_leaves_its_place_to_previous_and_promotion_takes_candidate_away(store):
    nominate(store, "1")
    assert aliases(store) == {"candidate": "1"}
    crown(store, "1")
    assert aliases(store) == {"champion": "1"}
    nominate(store, "2")
    nominate(store, "3")  # at most one candidate
    assert aliases(store) == {"champion": "1", "candidate": "3"}
    crown(store, "3")
    assert aliases(store) == {"champion": "3", "previous": "1"}


def test_a_champion_that_is_crowned_again_stays_with_the_same_previous(store):
    for version in ("1", "2", "2"):
        crown(store, version)
    assert aliases(store) == {"champion": "2", "previous": "1"} and registry.history(store) == ["1", "2"]


def test_rollback_can_be_repeated_to_the_beginning_and_skips_the_rejected(store):
    for version in ("1", "2", "3", "2", "4"):
        crown(store, version)
    assert way_back(store) == ["1", "3", "2"]
    assert take_back(store, "bad") == "2" and aliases(store) == {"champion": "2", "previous": "3"}
    assert take_back(store, "bad") == "3" and aliases(store) == {"champion": "3", "previous": "1"}
    assert take_back(store, "bad") == "1" and aliases(store) == {"champion": "1"}
    assert way_back(store) == []
    assert [row.version for row in registry.rows(store) if row.rejected] == ["4", "3", "2"]


def test_a_rejected_version_that_a_person_promotes_is_rejected_no_more(store):
    crown(store, "1")
    crown(store, "2")
    take_back(store, "bad")
    crown(store, "2")
    assert registry.find(store, "2").rejected == "" and aliases(store) == {"champion": "2", "previous": "1"}


class Died(Exception):
    pass


@pytest.mark.parametrize("writes", range(4))
def test_a_promotion_that_dies_leaves_a_champion_and_can_be_done_again(store, monkeypatch, writes):
    crown(store, "1")
    crown(store, "2")
    nominate(store, "3")
    left = [writes]

    def dying(name):
        done = getattr(type(store.client), name)

        def call(*arguments, **named):
            if left[0] == 0:
                raise Died
            left[0] -= 1
            return done(store.client, *arguments, **named)

        return call

    for name in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"):
        monkeypatch.setattr(store.client, name, dying(name))
    with pytest.raises(Died):
        crown(store, "3")
    monkeypatch.undo()
    after = aliases(store)
    assert after["champion"] in ("2", "3") and after["previous"] in ("1", "2")
    crown(store, "3")
    assert aliases(store) == {"champion": "3", "previous": "2"}
    assert way_back(store) == ["1", "2"]


def test_status_of_an_empty_record_says_what_may_be_lost(bare):
    state = registry.status(bare)
    assert state.champion is None and state.versions == () and state.note == "no version yet"
    (bare / "models").mkdir()
    assert "earlier database" in registry.status(bare).note


def drop(store, version):
    """Delete a version behind MLflow's back, as an older database or another registry may: its alias points nowhere."""
    with closing(sqlite3.connect(store.home / "mlflow.db")) as connection:
        connection.execute("delete from model_versions where version = ?", (int(version),))
        connection.commit()


def test_a_champion_whose_alias_was_deleted_is_champion_still_and_gets_it_back(store):
    crown(store, "1")
    crown(store, "2")
    store.client.delete_registered_model_alias(store.name, "champion")
    assert registry.champion(store).version == "2" and way_back(store) == ["1"]
    assert "the alias champion was gone: version 2 was the last champion" in registry.status(store.home.parent).note
    assert registry.mend(store) == "the alias champion was gone: version 2 was the last champion and has it again"
    assert aliases(store) == {"champion": "2", "previous": "1"} and registry.history(store) == ["1", "2"]
    assert registry.mend(store) == ""


def test_history_is_kept_when_a_version_is_crowned_without_the_alias(store):
    crown(store, "1")
    store.client.delete_registered_model_alias(store.name, "champion")
    crown(store, "3")
    assert registry.history(store) == ["1", "3"] and aliases(store) == {"champion": "3", "previous": "1"}


def test_an_alias_that_points_nowhere_is_seen_said_and_overwritten(store):
    for version in ("1", "2", "3"):
        crown(store, version)
    nominate(store, "4")
    for version in ("3", "4"):
        drop(store, version)
    state = registry.status(store.home.parent)
    assert state.champion.version == "2" and "pointed to version 3, which is gone" in state.note
    assert "version 3, which is gone: version 2 was the last champion" in registry.mend(store)
    assert aliases(store) == {"champion": "2", "previous": "1"} and set(registry.aliases(store)) == {"champion", "previous"}
    crown(store, "5")
    assert registry.history(store) == ["1", "2", "5"] and take_back(store, "bad") == "2"


def test_a_dangling_champion_without_an_earlier_one_hinders_nobody(store):
    crown(store, "1")
    drop(store, "1")
    assert registry.champion(store) is None and way_back(store) == []
    crown(store, "2")
    assert aliases(store) == {"champion": "2"} and registry.history(store) == ["1", "2"]
    drop(store, "2")
    assert registry.mend(store).endswith("no champion is left") and registry.aliases(store) == {}


def test_a_rollback_that_was_killed_after_the_rejection_is_brought_to_its_end(store):
    for version in ("1", "2", "3"):
        crown(store, version)
    store.client.set_model_version_tag(store.name, "3", "rejected", "taken back by hand")
    assert registry.mend(store) == "version 3 was taken back by hand: version 2 is champion again"
    assert aliases(store) == {"champion": "2", "previous": "1"} and registry.history(store) == ["1", "2"]


def test_a_rollback_that_was_killed_before_the_history_is_brought_to_its_end(store, monkeypatch):
    """And a crowning that was killed after it: the history ends with the champion."""
    for version in ("1", "2"):
        crown(store, version)

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry, "remember", dies)
        registry.take_back(store, "taken back by hand")
    assert registry.history(store) == ["1", "2"] and aliases(store) == {"champion": "1"}
    registry.mend(store)
    assert registry.history(store) == ["1"] and aliases(store) == {"champion": "1"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry, "point", dies)
        registry.crown(store, "3")
    assert registry.history(store) == ["1", "3"] and aliases(store) == {"champion": "1"}
    registry.mend(store)
    assert registry.history(store) == ["1"]


def test_a_promotion_that_was_killed_after_the_champion_moved_leaves_no_candidate(store):
    crown(store, "1")
    nominate(store, "2")
    for alias in ("previous", "champion"):
        store.client.set_registered_model_alias(store.name, alias, {"previous": "1", "champion": "2"}[alias])
    registry.mend(store)
    assert aliases(store) == {"champion": "2", "previous": "1"}


def test_a_registry_that_was_deleted_comes_back_from_what_is_kept_beside_it(store, bare):
    """The whole registered model, by hand: champions, history, rejections and reasons return with the versions whose files are there."""
    for number in ("1", "2", "3", "4", "5"):
        (bare / f"model{number}").mkdir()
    store.client.delete_registered_model(store.name)
    store.client.create_registered_model(store.name)
    for number in ("1", "2", "3", "4", "5"):
        store.client.create_model_version(store.name, (bare / f"model{number}").as_uri(), tags={"key": f"k{number}", "weights": "w"})
    for version in ("1", "2", "4", "5"):
        crown(store, version)
    registry.reasoned(store, "4", "it was better")
    take_back(store, "bad")
    nominate(store, "3")
    recovery.keep(store)
    before = aliases(store)
    assert before == {"champion": "4", "previous": "2", "candidate": "3"}
    store.client.delete_registered_model(store.name)
    assert "no version is left of 5" in registry.status(bare).note
    shutil.rmtree(bare / "model1")  # its files are gone with it
    assert "4 of 5 versions were restored" in recovery.mend(store)
    assert aliases(store) == {"champion": "3", "previous": "1", "candidate": "2"}  # the old 4, 2 and 3
    assert registry.history(store) == ["1", "3"] and registry.champion(store).reason == "it was better"
    assert [row.key for row in registry.rows(store) if row.rejected] == ["k5"]
    recovery.keep(store)
    assert recovery.mend(store) == ""


def test_what_is_kept_is_written_when_it_changes_and_a_newer_registry_is_left_alone(store):
    crown(store, "1")
    recovery.keep(store)
    file = store.home / "registry.json"
    before = file.read_bytes()
    recovery.keep(store)
    assert file.read_bytes() == before
    crown(store, "2")
    recovery.keep(store)
    file.write_bytes(before)  # another checkout moved the champion of a shared registry
    assert recovery.mend(store) == "" and aliases(store) == {"champion": "2", "previous": "1"}
