"""The step that stays on the device: the same as the plain one, operation by operation, and nothing in it that needs the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import Training
from hae.training.rows import Rows
from hae.training.schedule import Settings

KINDS = {"linear": ("linear",) * 2, "circular": ("circular",) * 2, "mixed": ("linear", "circular", "tanh")}
# What a captured step may not do, since each waits for the host or copies from it.
FORBIDDEN = {"aten.index.Tensor", "aten._local_scalar_dense.default", "aten._to_copy.default"}


class Dispatched(TorchDispatchMode):
    """Names of all operations that ran."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


def normal(*shape, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def training_of(network, rows: Rows, objective: Objective, step: str | None) -> Training:
    """Two members; step "device": as they go on a GPU, without the capture."""
    for m in range(2):
        network.reset(m, m)
    return Training(network, rows, None, objective, Settings(batch_size=50, max_epochs=3), [0, 1], step=step)


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_resident_steps_equal_plain_steps(variant):
    x = normal(300, 4, dtype=torch.float64)
    plain, moved = (
        training_of(HierarchicalNetwork.mlp(4, ["linear"] * 2, variant, (8,), members=2).double(), Rows(x, x), Objective(), step)
        for step in (None, "device")
    )
    for _ in range(3):
        one, other = plain.train_epoch(), moved.train_epoch()
        assert [row["train_error_2"] for row in one] == pytest.approx([row["train_error_2"] for row in other], rel=1e-6)
    for a, b in zip(plain.parameters, moved.parameters):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


X = normal(300, 4)
CASES = {
    "plain": (Rows(X, X), Objective()),
    "weights": (Rows(X, X, weights=normal(300).square()), Objective()),
    "missing": (Rows(X, X, observed=(X > 0).float()), Objective()),
    "metric": (Rows(X, X), Objective(root=normal(4, 3))),
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("kinds", list(KINDS))
@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_a_step_asks_nothing_of_the_host(variant, kinds, activation, case):
    """Batch, rate, forward, backward, and the optimiser with its rate as a number: on a CPU its kernel reads a tensor of the rate."""
    network = HierarchicalNetwork.mlp(4, KINDS[kinds], variant, (8,), activation, members=2)
    training = training_of(network, *CASES[case], "device")
    steps = training.step.resident
    for group in training.step.optimiser.param_groups:
        group["lr"] = 0.01
    steps.order.copy_(training.data.order([0, 1], 0, training.schedule.batch_size))
    steps._step()  # the optimiser makes its state
    with Dispatched() as seen:
        steps._step()
    assert "aten._fused_adam_.default" in seen.names and "aten.index_select.default" in seen.names
    assert not seen.names & FORBIDDEN
