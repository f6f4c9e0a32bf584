"""The gradient written out: the same numbers as those of the plain code."""

from functools import partial

import pytest
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.layers import MaskedMLP, SeparateDecoders
from hae.network.objective import Objective
from hae.training.loop import Training
from hae.training.rows import Rows
from hae.training.schedule import Settings
from hae.training.steps import PlainStep, WrittenStep
from hae.training.written_out import Gradients

MIXED = ("linear", "circular", "tanh")
ROWS = 11


def stack(variant, cv, activation, hidden, members=2, linear_path=False) -> HierarchicalNetwork:
    """A network with random biases too."""
    network = HierarchicalNetwork.mlp(5, cv, variant, hidden, activation, 4, members, linear_path).double()
    generator = torch.Generator().manual_seed(0)
    for m in range(members):
        network.reset(m, m)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objectives(n: int) -> dict[str, tuple[Objective, dict]]:
    """Every way to measure an error: the objective, and what a batch has beside its inputs and targets."""
    return {
        "plain": (Objective(), {}),
        "levels": (Objective(level_weights=torch.arange(1.0, n + 1, dtype=torch.float64)), {}),
        "metric": (Objective(root=normal(4, 3)), {}),
        "weights": (Objective(), {"weights": normal(2, ROWS).square()}),
        "missing": (Objective(), {"observed": (normal(2, ROWS, 4) > 0).double()}),
        "smooth": (Objective(smooth=0.3), {}),
        "smooth, weights": (Objective(smooth=2.0), {"weights": normal(2, ROWS).square()}),
    }


def check(network: HierarchicalNetwork, objective: str) -> None:
    objective_, beside = objectives(network.n_levels)[objective]
    batch = Rows(normal(2, ROWS, 5), normal(2, ROWS, 4, seed=2), **beside)
    expected = objective_.level_errors(network.standardised_levels(batch.inputs), batch.targets, batch.weights, batch.observed)
    (objective_.loss(expected).sum() + objective_.smooth * network.steepness(batch.inputs).sum()).backward()
    plain = [p.grad.clone() for p in network.parameters()]
    gradients = Gradients(network, objective_, 2, ROWS)
    for _ in range(2):  # buffers used again
        errors = gradients(batch)
    torch.testing.assert_close(errors, expected.detach(), rtol=0, atol=1e-10)
    for parameter, gradient in zip(network.parameters(), plain):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("objective", ["plain", "levels", "metric", "weights", "missing"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("cv", [("linear",) * 3, MIXED])
@pytest.mark.parametrize("variant", ["collective", "boosted", "plain"])
def test_errors_and_gradients_are_those_of_the_plain_code(variant, cv, activation, objective):
    for hidden in ((7, 6), (5,), ()):
        check(stack(variant, cv, activation, hidden), objective)


@pytest.mark.parametrize("objective", ["weights", "smooth", "smooth, weights"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("cv", [("linear",) * 3, ("tanh",) * 2, ("circular",) * 2, MIXED])
def test_so_they_are_with_smooth_cvs_and_with_a_linear_path(cv, linear_path, activation, objective):
    for hidden in ((7, 6), (5,), ()):
        check(stack("collective", cv, activation, hidden, linear_path=linear_path), objective)


def test_steepness_is_the_sum_written_out():
    """By the Jacobian of every row, for each member by itself."""
    network, x = stack("boosted", MIXED, "silu", (7, 6), linear_path=True), normal(2, ROWS, 5)
    for m in range(2):
        member = network.member(m)
        cvs_of = partial(lambda member, row: member.encode(row[None])[0], member)
        slopes = torch.stack([torch.autograd.functional.jacobian(cvs_of, row) for row in x[m]])
        variance = member.encode(x[m]).detach().var(0, correction=0)
        variance[MIXED.index("circular")] = 1
        expected = ((slopes.square().sum(-1) / (5 * variance)) ** 2).mean(0).sum()
        torch.testing.assert_close(network.steepness(x)[m], expected, rtol=1e-10, atol=0)


def test_a_cv_that_stands_still_is_smooth():
    network = stack("collective", ("linear", "tanh"), "tanh", (7,))
    with torch.no_grad():
        network.encoder.layers[-1].weight.zero_()
    x = normal(2, ROWS, 5)
    assert (network.steepness(x) == 0).all()
    gradients = Gradients(network, Objective(smooth=5.0), 2, ROWS)
    gradients(Rows(x, x[..., :4]))
    assert torch.isfinite(gradients.flat.grad).all()


def test_a_step_of_the_one_vector_moves_the_networks_parameters():
    network = stack("boosted", MIXED, "tanh", (7, 6))
    before = [p.detach().clone() for p in network.parameters()]
    gradients = Gradients(network, Objective(), 2, ROWS)
    gradients(Rows(normal(2, ROWS, 5), normal(2, ROWS, 4)))
    torch.optim.SGD([gradients.flat], lr=0.5).step()
    for parameter, old in zip(network.parameters(), before):
        torch.testing.assert_close(parameter.detach(), old - 0.5 * parameter.grad, rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_a_training_with_it_is_the_training_without(variant):
    x = normal(200, 5)
    runs = []
    for step in (None, "plain"):
        network = HierarchicalNetwork.mlp(5, MIXED, variant, (8, 7), members=2).double()
        for m in range(2):
            network.reset(m, m)
        settings = Settings(batch_size=40, max_epochs=4)
        run = Training(network, Rows(x, x), Rows(x[:50], x[:50]), Objective(), settings, [0, 1], step=step)
        for _ in range(4):
            run.train_epoch()
        runs.append(run)
    fast, plain = runs
    assert type(fast.step) is WrittenStep and type(plain.step) is PlainStep
    for a, b in zip(fast.parameters, plain.parameters):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    for row, other in zip(fast.rows, plain.rows):
        assert row["validation_error_3"] == pytest.approx(other["validation_error_3"], rel=1e-9)


def test_it_is_for_perceptrons_whose_slope_is_known_from_their_value():
    assert Gradients.support(stack("collective", MIXED, "tanh", (7,)))
    assert not Gradients.support(stack("collective", MIXED, "silu", (7,)))
    assert not Gradients.support(torch.nn.Linear(2, 2))
    own = HierarchicalNetwork(MaskedMLP(5, 3, (4,), "tanh"), lambda n: torch.nn.Linear(n, 5), "collective", ("linear",) * 3)
    assert isinstance(own.decoder.outputs, SeparateDecoders) and not Gradients.support(own)
    frozen = stack("collective", MIXED, "tanh", (7,))
    frozen.encoder.requires_grad_(False)
    assert not Gradients.support(frozen)
