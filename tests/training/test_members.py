"""Members: a stack trains as its members would alone, best first."""

from functools import partial

import numpy as np
import pytest
import torch
from generators import curve
from torch import nn

from hae.network.hierarchy import DECODERS, HierarchicalNetwork, MaskedMLP, MLPFactory, SeparateDecoders
from hae.network.objective import Objective
from hae.training.loop import train
from hae.training.members import train_members
from hae.training.rows import Rows
from hae.training.schedule import Settings

SEEDS, CV, HIDDEN = (7, 8, 9), ("linear", "circular"), (8, 6)


@pytest.fixture(scope="module")
def data():
    x = torch.from_numpy(curve(200))
    return Rows(x, x)


@pytest.fixture(scope="module")
def held_out():
    x = torch.from_numpy(curve(100, 1))
    return Rows(x, x)


def build(members, variant="collective"):
    return HierarchicalNetwork.mlp(3, CV, variant, HIDDEN, members=members)


class Alone(nn.Module):
    """One network as `train` takes it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def standardised_levels(self, x):
        return self.network.standardised_levels(x[0])[None]


class Factory:
    """Makes decoders one by one: the plain form of the default's stack."""

    def __init__(self, n_outputs, hidden):
        self.make = MLPFactory(n_outputs, hidden, "tanh")

    def __call__(self, n_inputs):
        return self.make(n_inputs)


def plain_form(variant: str, seed: int) -> HierarchicalNetwork:
    """The default network of a seed with a module for each decoder: no masks, no stacks."""
    stacked = HierarchicalNetwork.mlp(3, CV, variant, HIDDEN).double().reset(seed)
    network = HierarchicalNetwork(MaskedMLP(3, 3, HIDDEN, "tanh"), Factory(3, HIDDEN[::-1]), variant, CV).double()
    assert isinstance(network.decoder.outputs, SeparateDecoders)
    network.encoder.load_state_dict(stacked.encoder.state_dict())
    adjacency = DECODERS[variant].reads(2)[:, network.bottleneck.owner]
    with torch.no_grad():
        for row, decoder in enumerate(network.decoder.outputs.decoders):
            seen = adjacency[row].nonzero().flatten()
            for i, (own, layer) in enumerate(zip(decoder.layers, stacked.decoder.outputs.layers)):
                own.weight.copy_(layer.weight[row][seen] if i == 0 else layer.weight[row])
                own.bias.copy_(layer.bias[row])
    return network


@pytest.mark.parametrize("variant", ["collective", "boosted", "plain"])
def test_a_stack_after_twelve_steps_is_its_members_trained_alone_without_masks(data, variant):
    settings = Settings(batch_size=32, max_epochs=2, learning_rate=0.02)  # six steps an epoch
    stack = build(3, variant).double()
    for m, seed in enumerate(SEEDS):
        stack.reset(seed, m)
    history = train(stack, data, None, Objective(), settings, SEEDS)
    for m, seed in enumerate(SEEDS):
        alone = plain_form(variant, seed)
        start = [parameter.detach().clone() for parameter in alone.parameters()]
        single = train(Alone(alone), data, None, Objective(), settings, [seed])
        expected, found = alone(data.inputs), stack.member(m)(data.inputs)
        for a, b in zip(found, expected):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        assert max(float((p - q).detach().abs().max()) for p, q in zip(alone.parameters(), start)) > 0.01
        told = [row["train_error_1"] for row in history.rows if row["member"] == m]
        np.testing.assert_allclose(told, [row["train_error_1"] for row in single.rows], rtol=1e-9)


def test_a_member_does_not_know_how_many_there_are(data, held_out):
    settings = Settings(batch_size=32, max_epochs=5)
    many = train_members(build, data, held_out, Objective(), settings, SEEDS)
    for seed in SEEDS:
        one = train_members(build, data, held_out, Objective(), settings, [seed])
        nearest = min(abs(one.loss[0] - loss) for loss in many.loss)
        assert nearest < 1e-9


def test_members_come_best_first_in_the_order_of_their_loss(data, held_out):
    members = train_members(build, data, held_out, Objective(), Settings(batch_size=32, max_epochs=5), SEEDS)
    assert members.loss == sorted(members.loss)
    for network, loss in zip(members.networks, members.loss):
        levels = network.standardised_levels(held_out.inputs)
        assert float(((levels - held_out.targets) ** 2).mean()) == pytest.approx(loss, rel=1e-9)
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not network.training
    assert {row["member"] for row in members.rows} == {0, 1, 2}


def own(members, variant="boosted"):
    """A network of modules that know nothing of members."""
    encoder = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))
    return HierarchicalNetwork(encoder, lambda n: nn.Sequential(nn.Linear(n, 6), nn.Tanh(), nn.Linear(6, 3)), variant, CV)


def test_networks_of_ones_own_are_drawn_from_the_seeds_and_leave_the_random_numbers_of_others_alone(data, held_out):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    run = partial(train_members, own, data, held_out, Objective(), Settings(batch_size=32, max_epochs=3))
    first = run(SEEDS)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    again, alone = run(SEEDS), run(SEEDS[1:2])
    assert first.loss == again.loss == sorted(first.loss)
    assert alone.loss[0] in first.loss
    assert len(set(first.loss)) == 3
    assert [row["member"] for row in first.rows] == [0] * 3 + [1] * 3 + [2] * 3


def test_a_killed_training_of_ones_own_networks_goes_on(data, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_TIMES", 0)
    run = partial(
        train_members, own, data, held_out, Objective(), Settings(batch_size=32, max_epochs=6), SEEDS, checkpoint=tmp_path / "c.pt"
    )

    def killed(rows):
        if rows[-1]["member"] == 1 and rows[-1]["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_epoch=killed)
    assert run().loss == train_members(own, data, held_out, Objective(), Settings(batch_size=32, max_epochs=6), SEEDS).loss
