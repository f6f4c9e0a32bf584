"""Layers: activations, stacks of affine maps."""

import pytest
import torch

from hae.network.layers import ACTIVATIONS, MaskedMLP


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_the_same_with_a_graph_and_without(dtype):
    x = torch.cat([torch.linspace(-30, 30, 2001, dtype=dtype), torch.tensor([0.0, torch.inf, -torch.inf], dtype=dtype)])
    kept = x.clone()
    with torch.no_grad():
        quick = ACTIVATIONS["tanh"](x)
    assert torch.equal(x, kept)
    torch.testing.assert_close(quick, torch.tanh(x), rtol=0, atol=4 * torch.finfo(dtype).eps)
    assert torch.equal(ACTIVATIONS["tanh"](x), torch.tanh(x))


def test_what_a_perceptron_may_not_see_has_no_influence_at_all():
    adjacency = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    mlp = MaskedMLP(3, 2, (4,), "tanh", adjacency=adjacency).double()
    mlp.reset(torch.Generator().manual_seed(0))
    slopes = torch.func.jacrev(lambda row: mlp(row[None])[:, 0])(torch.randn(3, dtype=torch.float64)).abs().amax(1)
    assert ((slopes > 0) == adjacency.bool()).all()


def test_members_of_a_stack_start_from_their_own_numbers():
    stack = MaskedMLP(3, 2, (4,), "tanh", (2,), torch.ones(2, 3))
    alone = MaskedMLP(3, 2, (4,), "tanh", (), torch.ones(2, 3))
    stack.reset(torch.Generator().manual_seed(5), (1,))
    alone.reset(torch.Generator().manual_seed(5))
    for a, b in zip(stack.layers, alone.layers):
        assert torch.equal(a.weight[1], b.weight)
