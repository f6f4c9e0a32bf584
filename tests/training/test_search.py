"""hidden="auto": what it tries, what judges, and that the choice is that of the least error."""

from types import SimpleNamespace

import numpy as np
import pytest
from generators import curve

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.importance.stability import stability_of
from hae.training.fit import Plan, fit_members
from hae.training.pairs import Pairs
from hae.training.schedule import FEW, Settings
from hae.training.search import SETTINGS, folds, search, settled
from hae.training.sources import RowsInMemory

PLAN = Plan(("linear",), settings=Settings(max_epochs=3), seeds=(0, 1, 2))


def source(n: int, validation: int = 0, trajectory: str = "", start: int = 0) -> RowsInMemory:
    rows = lambda n, start: Pairs(x := curve(n), x, None, np.full(n, trajectory), np.arange(start, start + n))  # noqa: E731
    return RowsInMemory({"train": rows(n, start)} | ({"validation": rows(validation, start + n)} if validation else {}))


def test_the_setting_of_least_error_on_rows_held_out_is_taken():
    rows = source(340, 60)
    found = search(rows, PLAN)
    assert (found.rows, found.folds) == (60, 1) and list(found.errors) == [one.words for one in SETTINGS]
    errors = [np.mean(fit_members(rows, settled(PLAN, one)).loss[:2]) for one in SETTINGS[:2]]
    assert found.errors[found.setting.words] == min(found.errors.values()) <= min(errors) + 1e-3
    assert min(found.errors.values()) < max(found.errors.values())


def test_a_setting_whose_training_goes_astray_is_not_taken(monkeypatch):
    losses = iter([np.nan, 3.0, 2.0, 4.0])
    monkeypatch.setattr("hae.training.search.fit_members", lambda *_: SimpleNamespace(loss=[next(losses)]))
    assert search(source(340, 60), PLAN).setting == SETTINGS[2]


@pytest.mark.parametrize("trajectory", ["", "walk"])
def test_few_rows_are_judged_each_once_by_networks_that_did_not_see_it(trajectory):
    parts = folds(source(80, 27, trajectory))
    judged = np.concatenate([part.by_side["validation"].frame for part in parts])
    assert len(parts) == 4 and sorted(judged) == list(range(107))
    for part in parts:
        held = set(part.by_side["validation"].frame)
        assert not held & set(part.by_side["train"].frame) and len(held) + len(part.by_side["train"]) == 107
        in_one_piece = np.ptp(list(held)) == len(held) - 1
        assert in_one_piece == (trajectory == "walk")  # neighbours in time stay on one side; rows that stand alone may be sorted by a class


def test_many_rows_and_hardly_any_have_no_choice():
    for rows in (source(FEW + 1, 10), source(7)):
        found = search(rows, PLAN)
        assert found.errors == {} and found.setting.hidden == (64, 64) and not found.setting.linear_path


def test_a_plan_that_asks_to_be_smooth_stays_so():
    tried = search(source(30), Plan(("linear",), smooth=3.0, settings=Settings(max_epochs=1), seeds=(0,)))
    assert tried.setting.smooth == 3.0 and all(words.endswith("smooth 3") for words in tried.errors)


def test_the_estimator_takes_what_was_found_and_replicas_take_it_too(tmp_path, monkeypatch):
    model = HierarchicalAutoencoder(1, hidden="auto", n_seeds=2, max_epochs=3, random_state=0, device="cpu").fit(curve(150))
    taken = model.searched_.setting
    assert tuple(model.network_.spec["hidden"]) == taken.hidden and model.network_.spec["linear_path"] is taken.linear_path
    assert model.smooth_ == taken.smooth and model.searched_.folds == 4
    model.save(tmp_path / "model")
    loaded = HierarchicalAutoencoder.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(curve(5)), model.transform(curve(5)))
    monkeypatch.setattr("hae.estimator.search", None)  # a search in a replica would fail
    rows = Pairs.same(curve(60))
    assert len(stability_of(loaded, train=rows, evaluated=rows, replicas=2).levels)


def test_a_network_of_ones_own_has_no_widths_to_choose():
    with pytest.raises(BadInput, match="hidden: \"auto\" is not allowed with a network of one's own"):
        HierarchicalAutoencoder(1, hidden="auto", network=lambda n, m: None).fit(curve(50))
