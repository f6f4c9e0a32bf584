"""Aliases: who may hold them, the way back, and what a call that dies in the middle leaves."""

import pytest

from pipelines.record import registry
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
