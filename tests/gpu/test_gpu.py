"""On a GPU: the same networks as on the CPU, and nothing of it left in what is given back. Imports torch, NumPy and hae alone."""

import numpy as np
import pytest
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import train
from hae.training.rows import Rows
from hae.training.schedule import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

KINDS, SEEDS = ("circular", "linear", "tanh"), (3, 4)


def rows_on(device: str, seed: int, dtype=torch.float64) -> Rows:
    a, b = np.random.default_rng(seed).uniform(-np.pi, np.pi, (2, 600))
    x = np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], axis=1)
    tensor = torch.from_numpy(x).to(device, dtype)
    return Rows(tensor, tensor)


def fitted(device: str, variant: str, dtype=torch.float64, epochs: int = 3, **options):
    """A stack of two members trained on a device, and what training told."""
    network = HierarchicalNetwork.mlp(4, KINDS, variant, (16,), members=len(SEEDS)).to(dtype)
    for member, seed in enumerate(SEEDS):
        network.reset(seed, member)
    settings = Settings(batch_size=64, max_epochs=epochs, patience=None, learning_rate=0.01)
    network.to(device)
    history = train(network, rows_on(device, 0, dtype), rows_on(device, 1, dtype), Objective(), settings, SEEDS, **options)
    return network, history


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_the_same_fit_on_gpu_and_cpu_agrees(variant):
    (gpu, told), (cpu, expected) = fitted("cuda", variant), fitted("cpu", variant)
    names = [name for name in told.rows[0] if "error" in name]
    for row, other in zip(told.rows, expected.rows, strict=True):
        np.testing.assert_allclose([row[name] for name in names], [other[name] for name in names], rtol=1e-6)
    s = rows_on("cpu", 2).inputs
    for a, b in zip(gpu.cpu()(s), cpu(s)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_start_from_a_seed_is_the_same_on_every_device():
    cpu, gpu = (HierarchicalNetwork.mlp(4, KINDS).to(device).reset(7) for device in ("cpu", "cuda"))
    for a, b in zip(cpu.parameters(), gpu.parameters()):
        assert torch.equal(a, b.cpu())


def test_float32_learns_the_same_torus():
    reached = [min(fitted(device, "collective", torch.float32, 60)[1].best_loss) for device in ("cuda", "cpu")]
    assert max(reached) < 0.5  # of a variance of 1.25: the first angle at least
    assert abs(reached[0] - reached[1]) < 0.1


def test_a_training_killed_on_the_gpu_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_TIMES", 0)

    def killed(rows):
        if rows[-1]["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted("cuda", "boosted", epochs=5, checkpoint=tmp_path / "c.pt", on_epoch=killed)
    resumed, _ = fitted("cuda", "boosted", epochs=5, checkpoint=tmp_path / "c.pt")
    undisturbed, _ = fitted("cuda", "boosted", epochs=5)
    for a, b in zip(resumed.parameters(), undisturbed.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_out_of_memory_of_a_real_gpu_halves_the_batch(capfd):
    class Greedy(torch.nn.Module):
        """Asks for more memory than there is at batches above 64 rows."""

        def __init__(self):
            super().__init__()
            self.inner = HierarchicalNetwork.mlp(4, KINDS, members=1).double().reset(3, 0)

        def standardised_levels(self, x):
            if self.training and x.shape[1] > 64:
                torch.empty(torch.cuda.mem_get_info()[1] * 2, dtype=torch.uint8, device=x.device)
            return self.inner.standardised_levels(x)

    rows = Rows(*2 * (rows_on("cuda", 0).inputs.repeat(8, 1),))
    history = train(Greedy().cuda(), rows, None, Objective(), Settings(batch_size=256, max_epochs=2), [3])
    shown = capfd.readouterr().err
    assert "out of GPU memory at a batch of 256 rows: training starts again with 128" in shown
    assert "training starts again with 64" in shown and len(history.rows) == 2
