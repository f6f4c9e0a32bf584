"""hidden="auto": few rows get a linear path beside the encoder's perceptron, which half of the members begin without."""

import numpy as np
import pytest
import torch
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
    few = plan.of_rows(source(FEW))
    assert (few.hidden, few.linear_path, few.bare) == ((5,), True, True) and plan.of_rows(source(FEW + 1)) == plan


def test_every_second_member_begins_without_a_direction():
    rows = source(80)
    network = Plan(("linear",) * 2).of_rows(rows).build(rows.standard("feature"), rows, 3)
    first, second, third = network.encoder.path
    assert not second.any() and torch.equal(first, third)
    x = (rows.sample()[0] - rows.standard("feature").input_mean) / rows.standard("feature").input_scale
    np.testing.assert_allclose(np.cov((x @ first.detach().numpy()).T, bias=True), np.eye(2), atol=1e-5)  # principal components


def test_a_network_alone_begins_at_the_components():
    rows = source(80)
    assert Plan(("linear",)).of_rows(rows).build(rows.standard("feature"), rows, None).encoder.path.any()


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
