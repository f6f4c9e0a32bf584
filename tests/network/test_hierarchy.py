"""The two diagrams: who reads what, members as a stack, starts and units."""

import itertools

import numpy as np
import pytest
import torch
from generators import gaussian, small

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.network.canonical import canonicalise
from hae.network.hierarchy import DECODERS, VARIANTS, Decoder, HierarchicalNetwork, MaskedMLP, MLPFactory, SeparateDecoders

CV = ("linear", "circular", "tanh")


@pytest.fixture
def rows():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(40, 5)))


def separate(masked: MaskedMLP, adjacency: torch.Tensor) -> SeparateDecoders:
    """One perceptron a row of the adjacency, with the weights of the masked ones."""
    factory = MLPFactory(
        masked.layers[-1].weight.shape[-1], tuple(layer.weight.shape[-1] for layer in masked.layers[:-1]), masked.activation
    )
    plain = SeparateDecoders(factory, adjacency).double()
    with torch.no_grad():
        for row, decoder in enumerate(plain.decoders):
            for i, (layer, own) in enumerate(zip(masked.layers, decoder.layers)):
                own.weight.copy_(layer.weight[row][plain.get_buffer(f"seen_{row}")] if i == 0 else layer.weight[row])
                own.bias.copy_(layer.bias[row])
    return plain


@pytest.mark.parametrize("variant", ["collective", "boosted", "plain"])
def test_masked_perceptrons_are_separate_ones_in_one_operation(rows, variant):
    network = small(variant, CV)
    adjacency = DECODERS[variant].reads(3)[:, network.bottleneck.owner]
    plain = separate(network.decoder.outputs, adjacency)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network.decoder.outputs(x), plain(x), rtol=0, atol=1e-13)
    network.decoder.outputs = plain
    torch.testing.assert_close(network(rows)[1], small(variant, CV)(rows)[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_variants_read_what_the_diagrams_say(n):
    for level, cv in itertools.product(range(n), range(n)):
        assert bool(VARIANTS["collective"].reads(n)[level, cv]) == (cv <= level)
        assert bool(VARIANTS["boosted"].reads(n)[level, cv]) == (cv == level)


def test_boosted_levels_add_up_and_collective_ones_stand_alone():
    outputs = torch.randn(3, 10, 2)
    torch.testing.assert_close(VARIANTS["boosted"].combine(outputs)[2], outputs[0] + outputs[1] + outputs[2])
    assert torch.equal(VARIANTS["collective"].combine(outputs), outputs)


@pytest.mark.parametrize(("variant", "reached"), [("collective", [False, False, True]), ("boosted", [True, True, True])])
def test_the_error_of_the_last_level_reaches_earlier_decoders_only_where_levels_add_up(rows, variant, reached):
    network = small(variant, CV)
    network(rows)[1][-1].square().mean().backward()
    gradient = network.decoder.outputs.layers[-1].weight.grad.abs().amax((-1, -2))
    assert (gradient > 0).tolist() == reached


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_decoders_share_no_weights(rows, variant):
    network = small(variant, CV)
    before = network(rows)[1].detach()
    with torch.no_grad():
        network.decoder.outputs.layers[1].weight[2] += 1
    changed = (network(rows)[1] - before).abs().amax((1, 2)) > 0
    assert changed.tolist() == [False, False, True]


@pytest.mark.parametrize("variant", ["collective", "boosted"])
@pytest.mark.parametrize("cv", [("linear",) * 3, CV, ("circular", "circular")])
def test_decoding_the_cvs_gives_the_levels(rows, variant, cv):
    network = small(variant, cv)
    cvs, levels = network(rows)
    assert cvs.shape == (40, len(cv)) and levels.shape == (len(cv), 40, 5)
    torch.testing.assert_close(network.decode(network.encode(rows)), levels, rtol=0, atol=1e-12)


def test_inputs_and_levels_are_in_raw_units(rows):
    network = small()
    plain = HierarchicalNetwork.mlp(5, CV, "collective", (7, 6)).reset(0).double()
    expected = network.output_mean + network.output_scale * plain((rows - network.input_mean) / network.input_scale)[1]
    torch.testing.assert_close(network(rows)[1], expected)


@pytest.mark.parametrize("variant", ["collective", "boosted", "plain"])
def test_a_stack_of_members_is_those_networks_side_by_side(rows, variant):
    seeds = (5, 6, 7)
    stack = HierarchicalNetwork.mlp(5, CV, variant, (7, 6), members=3).double()
    for i, seed in enumerate(seeds):
        stack.reset(seed, i)
    cvs, levels = stack(rows)
    for i, seed in enumerate(seeds):
        alone = HierarchicalNetwork.mlp(5, CV, variant, (7, 6)).double().reset(seed)
        for network in (alone, stack.member(i)):
            torch.testing.assert_close(network(rows)[0], cvs[i], rtol=0, atol=1e-13)
            torch.testing.assert_close(network(rows)[1], levels[i], rtol=0, atol=1e-13)


def test_members_share_nothing(rows):
    stack = HierarchicalNetwork.mlp(5, CV, members=3).double()
    for i in range(3):
        stack.reset(i, i)
    stack(rows)[1][1].square().sum().backward()
    for parameter in stack.parameters():
        assert (parameter.grad[[0, 2]] == 0).all()


def test_the_start_is_xaviers():
    network = HierarchicalNetwork.mlp(50, ["linear"] * 4, "collective", (200, 100)).reset(0)
    inputs, outputs = network.encoder.layers[0].weight, network.decoder.outputs.layers[0].weight
    assert 0.98 < inputs.abs().max() / np.sqrt(6 / 250) <= 1
    for level in range(4):  # a decoder counts the CVs that it sees
        assert 0.95 < outputs[level, : level + 1].abs().max() / np.sqrt(6 / (level + 1 + 100)) <= 1
    assert all((layer.bias == 0).all() for layer in (*network.encoder.layers, *network.decoder.outputs.layers))
    again, other = (HierarchicalNetwork.mlp(50, ["linear"] * 4, "collective", (200, 100)).reset(seed) for seed in (0, 1))
    assert torch.equal(again.encoder.layers[0].weight, inputs)
    assert not torch.equal(other.encoder.layers[0].weight, inputs)


def test_the_decoders_widths_mirror_the_encoders():
    network = HierarchicalNetwork.mlp(9, ["linear"], hidden=(8, 3), n_outputs=4)
    assert [layer.weight.shape[-1] for layer in network.encoder.layers] == [8, 3, 1]
    assert [layer.weight.shape[-1] for layer in network.decoder.outputs.layers] == [3, 8, 4]
    assert network.n_parameters() == (9 * 8 + 8 + 8 * 3 + 3 + 3 + 1) + (3 + 3 + 3 * 8 + 8 + 8 * 4 + 4)


def test_no_hidden_layer_and_the_identity_are_a_linear_network(rows):
    network = HierarchicalNetwork.mlp(5, ["linear"] * 2, "boosted", (), "identity").reset(0).double()
    levels = network(rows)[1] - network(torch.zeros_like(rows))[1]
    doubled = network(2 * rows)[1] - network(torch.zeros_like(rows))[1]
    torch.testing.assert_close(doubled, 2 * levels)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"variant": "colective"}, "variant: 'colective' is not a variant; allowed: collective, boosted"),
        ({"activation": "sine"}, "activation: 'sine' is not an activation; allowed: tanh, silu, gelu, relu, identity"),
        ({"cv": ["linear", "round"]}, "cv[1]: 'round' is not a kind of CV; allowed: linear, tanh, circular"),
        ({"cv": []}, "cv: an empty list; at least one CV is needed"),
    ],
)
def test_what_is_not_allowed_is_named(wrong, line):
    with pytest.raises(BadInput) as error:
        HierarchicalNetwork.mlp(**{"n_inputs": 3, "cv": ["linear"], **wrong})
    assert str(error.value) == line


def test_a_third_variant_is_one_class_and_one_entry(monkeypatch):
    class Neighbours(Decoder):
        """q_k = f_k(CV_{k-1}, CV_k)."""

        @staticmethod
        def reads(n):
            return torch.ones(n, n).tril().triu(-1)

        @staticmethod
        def combine(outputs):
            return outputs

    monkeypatch.setitem(VARIANTS, "neighbours", Neighbours)
    monkeypatch.setitem(DECODERS, "neighbours", Neighbours)
    X = np.random.default_rng(0).normal(size=(300, 4))
    model = HierarchicalAutoencoder(n_cvs=3, variant="neighbours", hidden=(4,), n_seeds=2, max_epochs=2, device="cpu").fit(X)
    cvs = torch.from_numpy(model.transform(X))
    last = model.network_.double().decode(cvs)[2]
    cvs[:, 0] += 1
    assert torch.equal(model.network_.decode(cvs)[2], last)


@pytest.mark.parametrize("variant", ["collective", "boosted"])
@pytest.mark.parametrize("cv", [CV, ("circular", "linear", "circular")])
def test_the_first_levels_are_those_of_the_network_cut_to_its_first_cvs(rows, variant, cv):
    network = small(variant, cv)
    canonicalise(network, rows.numpy())
    cvs, levels = network(rows)
    for n in (1, 2, 3):
        cut = network.first(n)
        assert cut.n_cvs == n and cut.variant == variant
        torch.testing.assert_close(cut(rows)[0], cvs[:, :n], rtol=0, atol=1e-12)
        torch.testing.assert_close(cut(rows)[1], levels[:n], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cv", [("linear",) * 3, CV])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_linear_path_starts_at_the_principal_components(cv, weighted):
    X = gaussian([5.0, 2.5, 1.2, 0.6, 0.3], mean=3.0)[0]
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else np.ones(len(X))
    network = HierarchicalNetwork.mlp(5, cv, hidden=(7,), members=2, linear_path=True).double()
    mean, scale = np.average(X, axis=0, weights=weights), np.full(5, 1.7)
    network.scale_by(mean, scale, mean, scale)
    network.start_path(torch.from_numpy(X), torch.from_numpy(weights) if weighted else None).reset(0, 0).reset(1, 1)
    start = network.standardise(torch.from_numpy(X)) @ network.encoder.path
    for own in start.detach().numpy():
        np.testing.assert_allclose(np.cov(own.T, bias=True, aweights=weights), np.eye(own.shape[1]), atol=1e-10)
    _, vectors = np.linalg.eigh(np.cov(X.T, aweights=weights))
    along = (X - mean) @ vectors[:, ::-1]
    for c in range(start.shape[-1]):
        assert abs(np.corrcoef(along[:, c], start[0, :, c].detach())[0, 1]) == pytest.approx(1)
    perceptron = network.encoder(network.standardise(torch.from_numpy(X))) - start
    plain = HierarchicalNetwork.mlp(5, cv, hidden=(7,), members=2).double().reset(0, 0).reset(1, 1)
    torch.testing.assert_close(perceptron, plain.encoder(network.standardise(torch.from_numpy(X))), atol=1e-12, rtol=0)


def test_a_linear_path_has_no_direction_where_the_rows_have_none():
    X = np.outer(np.linspace(-1, 1, 50), [1.0, 2.0, 0.0])
    path = HierarchicalNetwork.mlp(3, ["circular"] * 2, linear_path=True).start_path(torch.from_numpy(X)).encoder.path
    assert (path[:, 0] != 0).any() and (path[:, 1:] == 0).all()


def test_members_and_leading_cvs_keep_their_linear_path(rows):
    stack = HierarchicalNetwork.mlp(5, CV, "boosted", (7,), members=2, linear_path=True).double()
    for m in range(2):
        stack.reset(m, m)
    stack.start_path(rows)
    cvs, levels = stack(rows)
    for m in range(2):
        torch.testing.assert_close(stack.member(m)(rows)[1], levels[m], rtol=0, atol=1e-13)
    cut = stack.member(1).first(2)
    assert cut.spec["linear_path"]
    torch.testing.assert_close(cut(rows)[0], cvs[1, :, :2], rtol=0, atol=1e-12)
