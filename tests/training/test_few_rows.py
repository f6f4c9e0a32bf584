"""hidden="auto": few rows get a linear path beside the encoder's perceptron."""

import numpy as np
import pytest
from generators import curve

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.importance.stability import stability_of
from hae.training.fit import Plan
from hae.training.pairs import Pairs
from hae.training.schedule import FEW
from hae.training.sources import RowsInMemory


def source(n: int) -> RowsInMemory:
    return RowsInMemory({"train": Pairs.same(curve(n))})


def test_few_rows_get_a_path_and_many_get_none():
    plan = Plan(("linear",), hidden=(5,))
    assert plan.of_rows(source(FEW)) == Plan(("linear",), hidden=(5,), linear_path=True)
    assert plan.of_rows(source(FEW + 1)) == plan


def test_the_estimator_takes_the_path_and_replicas_take_it_too(tmp_path):
    model = HierarchicalAutoencoder(1, hidden="auto", n_seeds=2, max_epochs=3, random_state=0, device="cpu").fit(curve(200))
    assert model.network_.widths == "64-64 beside a linear path"
    model.save(tmp_path / "model")
    loaded = HierarchicalAutoencoder.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(curve(5)), model.transform(curve(5)))
    rows = Pairs.same(curve(60))
    assert len(stability_of(loaded, train=rows, evaluated=rows, replicas=2).levels)


def test_of_many_rows_it_is_the_default_network():
    model = HierarchicalAutoencoder(1, hidden="auto", n_seeds=1, max_epochs=1, shares=(1, 0, 0), device="cpu").fit(curve(FEW + 1))
    assert model.network_.widths == "64-64"


def test_a_network_of_ones_own_has_no_widths_to_choose():
    with pytest.raises(BadInput, match="hidden: \"auto\" is not allowed with a network of one's own"):
        HierarchicalAutoencoder(1, hidden="auto", network=lambda n, m: None).fit(curve(50))
