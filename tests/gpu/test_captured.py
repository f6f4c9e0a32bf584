"""On a GPU: captured steps are the plain steps whatever is trained, and give back what they took. Imports torch, NumPy and hae alone."""

import numpy as np
import pytest
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import Training, train
from hae.training.rows import Rows
from hae.training.schedule import Settings
from hae.training.stored import StoredRows

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

KINDS = {"linear": ("linear",) * 2, "circular": ("circular",) * 2, "mixed": ("circular", "linear", "tanh")}
SEEDS, EPOCHS = (3, 4), 13  # of 16 steps: 208
SETTINGS = Settings(batch_size=64, max_epochs=EPOCHS, patience=None, learning_rate=0.005)


def torus(rows: int = 1024) -> torch.Tensor:
    a, b = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, rows))
    return torch.from_numpy(np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], axis=1))


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def case(name: str, device: str = DEVICE, dtype: torch.dtype = torch.float64) -> tuple[Rows, Objective]:
    """Rows and what is made small on them."""
    x = torus()
    fields = {"weights": normal(len(x)).square()} if name == "weights" else {}
    if name == "missing":
        fields = {"observed": (normal(*x.shape) > -1).double()}
    x, fields = x.to(device, dtype), {key: value.to(device, dtype) for key, value in fields.items()}
    root = normal(4, 4) if name == "metric" else None
    return Rows(x, x, **fields), Objective(root=root, smooth=0.5 if name == "smooth" else 0.0)


def stack(kinds: str, variant: str, activation: str = "tanh", linear_path: bool = False, device: str = DEVICE) -> HierarchicalNetwork:
    network = HierarchicalNetwork.mlp(4, KINDS[kinds], variant, (16,), activation, members=len(SEEDS), linear_path=linear_path).double()
    for member, seed in enumerate(SEEDS):
        network.reset(seed, member)
    return network.start_path(torus()).to(device)


@pytest.mark.parametrize("name", ["plain", "weights", "missing", "metric", "smooth"])
@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("kinds", list(KINDS))
@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_200_captured_steps_are_200_plain_steps(variant, kinds, activation, name):
    rows, objective = case(name)
    runs = []
    for step in ("device", "plain"):
        network = stack(kinds, variant, activation, linear_path=name == "smooth")
        training = Training(network, rows, None, objective, SETTINGS, SEEDS, step=step)
        for _ in range(EPOCHS):
            training.train_epoch()
        runs.append(training)
    captured, plain = runs
    assert (captured.step.resident.graph is not None) == (DEVICE == "cuda")
    assert captured.epoch * captured.schedule.steps >= 200
    for row, other in zip(captured.rows, plain.rows, strict=True):
        assert row["train_error_2"] == pytest.approx(other["train_error_2"], rel=1e-4)
    for a, b in zip(captured.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("first", "then"), [(DEVICE, "cpu"), ("cpu", DEVICE)])
def test_a_training_killed_on_one_device_goes_on_on_another(tmp_path, monkeypatch, first, then):
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_TIMES", 0)

    def killed(rows):
        if rows[-1]["epoch"] == 5:
            raise KeyboardInterrupt

    def fitted(device, **options):
        network = stack("mixed", "boosted", device=device)
        rows, objective = case("plain", device)
        return network, train(network, rows, None, objective, SETTINGS, SEEDS, **options)

    with pytest.raises(KeyboardInterrupt):
        fitted(first, checkpoint=tmp_path / "c.pt", on_epoch=killed)
    told: list[int] = []
    resumed, history = fitted(then, checkpoint=tmp_path / "c.pt", on_epoch=lambda rows: told.append(len(rows)))
    undisturbed, whole = fitted(then)
    assert told[0] == 4 * len(SEEDS) and len(history.rows) == len(whole.rows)  # the epochs before the kill, at once
    for a, b in zip(resumed.parameters(), undisturbed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def held() -> int:
    """Bytes in use on the device, less the workspaces that cuBLAS keeps for each stream."""
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


@pytest.mark.skipif(DEVICE != "cuda", reason="memory of a GPU")
@pytest.mark.parametrize("name", ["plain", "smooth"])
@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_a_fit_gives_all_its_memory_back(activation, name):
    """At once, without a collection: nothing that holds a graph or an optimiser refers to itself."""

    def fit():
        network = stack("mixed", "collective", activation)
        train(network, *_with_validation(name), SETTINGS, SEEDS)

    fit()
    before = held()
    fit()
    assert held() == before


@pytest.mark.skipif(DEVICE != "cuda", reason="memory of a GPU")
def test_out_of_memory_gives_all_back_before_it_starts_again(capfd):
    """A network that asks for more than there is at batches above 64 rows, and notes what is held when it starts again."""
    seen = []

    class Greedy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stack("mixed", "collective")

        n_levels = property(lambda self: self.inner.n_levels)

        def standardised_levels(self, x):
            if self.training:
                seen.append((x.shape[1], torch.cuda.memory_allocated()))
                if x.shape[1] > 64:
                    torch.empty(torch.cuda.mem_get_info()[1] * 2, dtype=torch.uint8, device=x.device)
            return self.inner.standardised_levels(x)

    rows, objective = case("plain")
    rows = Rows(*2 * (rows.inputs.repeat(4, 1),))
    train(Greedy(), rows, None, objective, Settings(batch_size=256, max_epochs=2), SEEDS)
    assert "out of GPU memory at a batch of 256 rows: training starts again with 128" in capfd.readouterr().err
    first = {size: held for size, held in reversed(seen)}
    assert set(first) == {256, 128, 64} and first[64] <= first[128] <= first[256]


def test_a_fit_of_rows_in_a_file_is_the_fit_of_the_rows(tmp_path):
    """A pool of a quarter of the rows on the device; the same errors as on the CPU."""
    x = torus(4096).numpy().astype(np.float32)
    (tmp_path / "rows.f32").write_bytes(x.tobytes())
    found = []
    for device in (DEVICE, "cpu"):
        network = stack("mixed", "collective", device=device).float()
        stored = StoredRows(tmp_path / "rows.f32", np.zeros(4), False, x.nbytes // 4)
        data = stored.standardise(np.zeros(4), np.ones(4), 1.0, torch.device(device))
        history = train(network, data, data, Objective(), SETTINGS, SEEDS)
        found.append([row["validation_error_3"] for row in history.rows])
    np.testing.assert_allclose(found[0], found[1], rtol=0.02)


@pytest.mark.skipif(DEVICE == "cuda" and torch.cuda.device_count() < 2, reason="one CUDA device")
def test_a_second_device_is_worked_on_while_the_first_is_current():
    device = "cuda:1" if DEVICE == "cuda" else DEVICE
    network = stack("mixed", "collective", device=device)
    rows, objective = case("plain", device)
    before = torch.cuda.memory_allocated(0) if DEVICE == "cuda" else 0
    history = train(network, rows, None, objective, SETTINGS, SEEDS)
    assert history.rows[-1]["train_error_3"] < history.rows[0]["train_error_3"]
    assert DEVICE != "cuda" or torch.cuda.memory_allocated(0) == before


def _with_validation(name: str) -> tuple[Rows, Rows, Objective]:
    rows, objective = case(name)
    return rows, rows, objective
