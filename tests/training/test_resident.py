"""The step that stays on the device: the same as the plain one, operation by operation."""

import pytest
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import Settings, _Run
from hae.training.resident import ResidentStep
from hae.training.rows import Rows


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_resident_steps_equal_plain_steps(variant):
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    runs = []
    for _ in range(2):
        network = HierarchicalNetwork.mlp(4, ["linear"] * 2, variant, (8,), members=2).double()
        for m in range(2):
            network.reset(m, m)
        runs.append(_Run(network, Rows(x, x), None, Objective(), Settings(batch_size=50, max_epochs=3), [0, 1], None))
    plain, moved = runs
    rate = torch.tensor(0.0)
    for group in moved.optimiser.param_groups:
        group["lr"] = rate
    shape = 2, moved.steps, moved.batch_size
    moved.resident = ResidentStep(moved.data, shape, moved.rates, rate, moved.optimiser, moved.backward, 2, capture=False)
    for _ in range(3):
        one, other = plain.train_epoch(), moved.train_epoch()
        assert [row["train_error_2"] for row in one] == pytest.approx([row["train_error_2"] for row in other], rel=1e-6)
    for a, b in zip(plain.parameters, moved.parameters):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
