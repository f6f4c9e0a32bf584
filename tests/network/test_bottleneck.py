"""The CV layer: coordinates that decoders read, CVs that people see."""

import numpy as np
import pytest
import torch

from hae.network.bottleneck import Bottleneck

KINDS = ("linear", "circular", "tanh", "circular")


@pytest.fixture
def layer():
    return Bottleneck(KINDS).double()


@pytest.fixture
def pre():
    return 2 * torch.randn(100, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def lower_block_triangular(owner: torch.Tensor, seed: int = 0) -> torch.Tensor:
    T = torch.randn(len(owner), len(owner), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return T * (owner[:, None] > owner[None, :]) + torch.diag(1 + torch.rand(len(owner), dtype=torch.float64))


def test_each_coordinate_knows_its_cv(layer):
    assert layer.owner.tolist() == [0, 1, 1, 2, 3, 3]
    assert layer.columns == [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 6)]


def test_circular_cvs_lie_on_the_unit_circle_and_bounded_ones_within_one(layer, pre):
    c = layer(pre)
    torch.testing.assert_close(c[:, [1, 4]] ** 2 + c[:, [2, 5]] ** 2, torch.ones(100, 2, dtype=torch.float64))
    assert c[:, 3].abs().max() < 1
    assert torch.equal(c[:, 0], pre[:, 0])
    angle = layer.publish(c)[:, 1]
    assert (angle > -np.pi).all() and (angle <= np.pi).all()
    torch.testing.assert_close(angle, torch.atan2(pre[:, 2], pre[:, 1]))


def test_a_circular_cv_at_the_origin_has_finite_gradients(layer):
    pre = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    layer(pre).sum().backward()
    assert torch.isfinite(pre.grad).all()


def test_read_undoes_publish(layer, pre):
    c = layer(pre)
    torch.testing.assert_close(layer.read(layer.publish(c)), c)


def test_renaming_composes_and_is_undone_by_read(pre):
    layer = Bottleneck(["linear"] * 6).double()
    T, t = lower_block_triangular(layer.owner), torch.arange(6.0, dtype=torch.float64)
    layer.rename(T, t)
    torch.testing.assert_close(layer.publish(pre), pre @ T.mT + t)
    again = lower_block_triangular(layer.owner, 1)
    layer.rename(again, t)
    torch.testing.assert_close(layer.publish(pre), (pre @ T.mT + t) @ again.mT + t)
    torch.testing.assert_close(layer.read(layer.publish(pre)), pre)
    assert torch.equal(layer.T_inverse, layer.T_inverse.tril())  # exactly: no CV is read from a later one


def test_a_turned_circle_is_read_back(layer, pre):
    T = torch.eye(6, dtype=torch.float64)
    T[1:3, 1:3] = torch.tensor([[0.6, -0.8], [-0.8, -0.6]])  # turned and reflected
    before = layer(pre)
    layer.rename(T, torch.zeros(6))
    torch.testing.assert_close(layer.read(layer.publish(before)), before)
    expected = torch.atan2(-0.8 * before[:, 1] - 0.6 * before[:, 2], 0.6 * before[:, 1] - 0.8 * before[:, 2])
    torch.testing.assert_close(layer.publish(before)[:, 1], expected)


def test_batches_of_members_go_through_as_rows_do(layer, pre):
    stacked = layer.publish(layer(torch.stack([pre, -pre])))
    assert torch.equal(stacked[1], layer.publish(layer(-pre)))
