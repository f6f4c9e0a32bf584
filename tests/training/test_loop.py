"""Training: the best weights back, every member by itself, what a batch holds, and what happens when things go wrong."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from generators import curve
from torch import nn

from hae.errors import BadInput
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import Training, train
from hae.training.rows import Rows
from hae.training.schedule import Settings

SEEDS = (11, 12, 13)


def rows_of(array, **more) -> Rows:
    tensor = torch.from_numpy(np.asarray(array, dtype=np.float64))
    return Rows(tensor, tensor, **more)


def stack(seeds=SEEDS, n_inputs: int = 3, variant: str = "collective", hidden=(8,)) -> HierarchicalNetwork:
    network = HierarchicalNetwork.mlp(n_inputs, ["linear"] * 2, variant, hidden, members=len(seeds)).double()
    for member, seed in enumerate(seeds):
        network.reset(seed, member)
    return network


@pytest.fixture(scope="module")
def data():
    return rows_of(curve(400, 0))


@pytest.fixture(scope="module")
def held_out():
    return rows_of(curve(150, 1))


def losses(network, rows) -> np.ndarray:
    """(M,) loss of each member, by another way than training's own."""
    levels = network.standardised_levels(rows.inputs.expand(network.encoder.members[0], -1, -1)).detach().numpy()
    return ((rows.targets.numpy() - levels) ** 2).mean((1, 2, 3))


def test_each_member_ends_with_the_weights_of_its_best_epoch(data, held_out):
    settings = Settings(batch_size=64, max_epochs=30, learning_rate=0.05, patience=None)
    network = stack()
    history = train(network, data, held_out, Objective(), settings, SEEDS)
    reached = losses(network, held_out)
    for m in range(3):
        told = [(row["validation_error_1"] + row["validation_error_2"]) / 2 for row in history.rows if row["member"] == m]
        assert len(told) == 30
        assert reached[m] == pytest.approx(min(told), rel=1e-9)
        assert history.best_epoch[m] == 1 + int(np.argmin(told))
        assert history.best_loss[m] == pytest.approx(min(told), rel=1e-12)
    assert len(set(history.best_epoch)) > 1  # by itself: members differ


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_a_member_alone_ends_with_the_weights_of_its_best_epoch(variant):
    rng = np.random.default_rng(0)
    data, held_out = rows_of(rng.normal(size=(40, 3))), rows_of(rng.normal(size=(200, 3)))  # few rows, learned by heart
    settings = Settings(batch_size=16, max_epochs=200, learning_rate=0.03, patience=None)
    network = stack(SEEDS[:1], variant=variant)
    history = train(network, data, held_out, Objective(), settings, SEEDS[:1])
    told = [(row["validation_error_1"] + row["validation_error_2"]) / 2 for row in history.rows]
    assert told[-1] > min(told) * (1 + 1e-6), "the last epoch is not the best one, or this test says nothing"
    assert losses(network, held_out)[0] == pytest.approx(min(told), rel=1e-9)


def test_without_validation_rows_the_last_epoch_counts(data):
    network = stack()
    history = train(network, data, None, Objective(), Settings(max_epochs=4, learning_rate=0.5, patience=1), SEEDS)
    assert history.best_epoch == [4, 4, 4]
    assert not any("validation_error_1" in row for row in history.rows)


def test_patience_counts_after_the_peak_of_the_rate(data):
    noise = rows_of(np.random.default_rng(0).normal(size=(100, 3)) * 50)  # nothing that is learned helps here
    settings = Settings(batch_size=64, max_epochs=40, patience=3, warmup=0.5, learning_rate=0.05)
    history = train(stack(), data, noise, Objective(), settings, SEEDS)
    for m in range(3):
        last = max(row["epoch"] for row in history.rows if row["member"] == m)
        assert last == max(history.best_epoch[m], 20) + 3
        assert history.stopped[m] == f"epoch {last}: no better validation loss in 3 epochs"
    assert max(row["epoch"] for row in history.rows) < 40


def test_a_loss_that_is_not_finite_stops_that_member_alone(data, held_out, capfd):
    settings = Settings(batch_size=64, max_epochs=6, patience=None)
    undisturbed = stack()
    train(undisturbed, data, held_out, Objective(), settings, SEEDS)
    broken = stack()

    def break_member_1(rows):
        if rows[0]["epoch"] == 3:
            with torch.no_grad():
                broken.encoder.layers[0].weight[1] = math.nan

    history = train(broken, data, held_out, Objective(), settings, SEEDS, on_epoch=break_member_1)
    assert history.stopped == ["", "epoch 4: the loss is not finite", ""]
    assert [max(r["epoch"] for r in history.rows if r["member"] == m) for m in range(3)] == [6, 4, 6]
    assert "member 1: epoch 4: the loss is not finite; it ends with the weights of epoch 3" in capfd.readouterr().err
    for before, after in zip(undisturbed.parameters(), broken.parameters()):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert torch.isfinite(after).all()


def test_no_finite_loss_at_all_is_said_in_a_line(data, held_out):
    with pytest.raises(BadInput, match=r"no member kept a finite loss .*try a learning_rate below 1e\+200 or look for huge values"):
        train(stack(), data, held_out, Objective(), Settings(max_epochs=3, learning_rate=1e200), SEEDS)


def test_the_same_seed_gives_the_same_bits(data, held_out):
    settings = Settings(batch_size=64, max_epochs=3)
    networks = [stack() for _ in range(2)]
    for network in networks:
        train(network, data, held_out, Objective(), settings, SEEDS)
    assert all(torch.equal(a, b) for a, b in zip(networks[0].parameters(), networks[1].parameters()))


class Recorder(nn.Module):
    """A network without members' differences that keeps the inputs of its training steps."""

    def __init__(self, members: int, n: int):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(members, 1, 1, n, dtype=torch.float64)), []

    def standardised_levels(self, x):
        if self.training:
            self.seen.append(x)
        return x[:, None] * self.weight


def test_an_epoch_shows_each_row_at_most_once_and_another_order_to_each_member_and_epoch():
    rows = rows_of(np.arange(100.0)[:, None])
    network = Recorder(2, 1)
    train(network, rows, None, Objective(), Settings(batch_size=32, max_epochs=2), (0, 1))
    seen = torch.cat(network.seen, dim=1).squeeze(-1).reshape(2, 2, -1).numpy()  # member, epoch, row
    assert seen.shape[-1] == 96
    for order in seen.reshape(4, -1):
        assert len(set(order)) == 96
    assert len({tuple(order) for order in seen.reshape(4, -1)}) == 4


def test_few_rows_are_cut_into_smaller_batches():
    network = Recorder(1, 1)
    train(network, rows_of(np.arange(640.0)[:, None]), None, Objective(), Settings(batch_size=512, max_epochs=1), (0,))
    assert {part.shape[1] for part in network.seen} == {40}
    assert len(network.seen) == 16


def test_the_rate_is_one_cycle_with_its_peak_where_the_warmup_ends(data, monkeypatch):
    monkeypatch.setattr("hae.training.schedule.FEWEST_STEPS", 1)
    history = train(stack((0,)), data, None, Objective(), Settings(batch_size=400, max_epochs=40, warmup=0.25, learning_rate=0.1), (0,))
    rates = [row["learning_rate"] for row in history.rows]
    assert int(np.argmax(rates)) == 9 and 0.09 < max(rates) <= 0.1
    assert rates[-1] < 1e-3 * max(rates)
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[9:]) < 0).all()


@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])  # 0.05 of 20 steps: a rise of one step
@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_any_length_and_warmup_have_a_rate(data, warmup, epochs, monkeypatch):
    monkeypatch.setattr("hae.training.schedule.FEWEST_STEPS", 1)
    history = train(stack((0,)), data, None, Objective(), Settings(400, epochs, None, 3e-3, warmup), (0,))
    assert all(0 <= row["learning_rate"] <= 3e-3 * (1 + 1e-12) for row in history.rows)


def test_a_weight_of_two_is_a_row_given_twice():
    x, twice = curve(60, 2), np.arange(60) % 3 == 0
    weights = np.where(twice, 2.0, 1.0)
    weighted = rows_of(x, weights=torch.from_numpy(weights / weights.mean()))
    repeated = rows_of(np.concatenate([x, x[twice]]))
    gradients = []
    for rows in (weighted, repeated):
        network = stack((5,))
        batch = rows.take(torch.arange(len(rows))[None])
        errors = Objective().level_errors(network.standardised_levels(batch.inputs), batch.targets, batch.weights)
        Objective().loss(errors).sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_augmentation_changes_inputs_alone_and_repeats():
    rows = rows_of(np.arange(64.0)[:, None])
    shifts = []
    for _ in range(2):
        network, drawn = Recorder(1, 1), []

        def shift(batch, generators, drawn=drawn):
            drawn.append(float(torch.rand((), generator=generators[0])))
            return Rows(batch.inputs + 1000, batch.targets, batch.weights, batch.observed)

        history = train(network, rows, None, Objective(), Settings(batch_size=32, max_epochs=2, learning_rate=1e-12), (3,), augment=shift)
        assert all((part >= 1000).all() for part in network.seen)
        assert history.rows[0]["train_error_1"] == pytest.approx(float((rows.targets**2).mean()), rel=1e-6)
        shifts.append(drawn)
    assert shifts[0] == shifts[1] and len(set(shifts[0])) == 4


class Own(nn.Module):
    """A network of a user's modules: batch normalisation, dropout, and a parameter without axes."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)).double()
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def standardised_levels(self, x):
        return (self.scale * self.body(x[0]))[None, None]


def test_modules_of_ones_own_train_and_rest_in_their_own_mode_and_repeat(data, held_out):
    networks = [Own(), Own()]
    for network in networks:
        torch.rand(1)  # what was drawn before does not matter
        history = train(network, data, held_out, Objective(), Settings(batch_size=64, max_epochs=8, learning_rate=0.3, patience=None), (4,))
    assert 1 <= history.best_epoch[0] < 8
    assert all(torch.equal(a, b) for a, b in zip(networks[0].state_dict().values(), networks[1].state_dict().values()))
    network = networks[0].eval()
    told = [row["validation_error_1"] for row in history.rows]
    error = ((network.standardised_levels(held_out.inputs[None])[0, 0] - held_out.targets) ** 2).mean().item()
    assert error == pytest.approx(min(told), rel=1e-9)  # running means of the best epoch too


class Tight(nn.Module):
    """A network that runs out of GPU memory in its second epoch at batches above 40 rows."""

    def __init__(self, limit: int):
        super().__init__()
        self.inner, self.limit, self.steps = stack((5,)), limit, 0

    def standardised_levels(self, x):
        self.steps += self.training
        if self.training and x.shape[1] > self.limit and self.steps > 6:
            raise torch.cuda.OutOfMemoryError("no memory")
        return self.inner.standardised_levels(x)


def test_out_of_gpu_memory_starts_again_with_half_the_batch_and_says_so(data, held_out, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("hae.training.schedule.FEWEST_STEPS", 1)
    settings = Settings(batch_size=80, max_epochs=3, patience=None)
    tight, expected = Tight(40), Tight(80)
    history = train(tight, data, held_out, Objective(), settings, (5,), checkpoint=tmp_path / "c.pt")
    assert "out of GPU memory at a batch of 80 rows: training starts again with 40" in capfd.readouterr().err
    train(expected, data, held_out, Objective(), Settings(batch_size=40, max_epochs=3, patience=None), (5,))
    assert all(torch.equal(a, b) for a, b in zip(tight.inner.parameters(), expected.inner.parameters()))
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]


def test_out_of_gpu_memory_lets_go_of_the_old_training_first(data, monkeypatch):
    monkeypatch.setattr("hae.training.schedule.FEWEST_STEPS", 1)
    made, alive = [], []

    class Watched(Training):
        def __init__(self, *args, **options):
            alive.append([ref() is not None for ref in made])
            super().__init__(*args, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr("hae.training.loop.Training", Watched)
    gc.disable()
    try:
        train(Tight(40), data, None, Objective(), Settings(batch_size=80, max_epochs=3, patience=None), (5,))
    finally:
        gc.enable()
    assert alive == [[], [False]]


def test_out_of_gpu_memory_at_the_smallest_batch_is_an_error(data):
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train(Tight(1), data, None, Objective(), Settings(batch_size=400, max_epochs=9), (5,))


def test_a_progress_bar_tells_the_error_of_each_level(data, held_out, capfd):
    train(stack(), data, held_out, Objective(), Settings(max_epochs=3), SEEDS, progress="collective")
    shown = capfd.readouterr().err
    assert "collective" in shown and "validation error by level" in shown and "3/3" in shown
