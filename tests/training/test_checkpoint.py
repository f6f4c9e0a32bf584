"""Trainings that are killed: what is on disk then, and that going on gives the bits of one never killed."""

import pickle
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import files_end_at
from generators import curve
from killable import CHILDREN, train_and_save

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.storage import load_networks
from hae.training.checkpoint import Checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint

SETTINGS = {
    "n_cvs": 2,
    "hidden": (8,),
    "n_seeds": 3,
    "batch_size": 32,
    "max_epochs": 25,
    "patience": 6,
    "learning_rate": 0.02,
    "device": "cpu",
}


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def checkpoints_after_every_epoch(monkeypatch):
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("hae.training.loop.CHECKPOINT_TIMES", 0)


def killed_in(epoch: int):
    def on_epoch(rows):
        if rows[-1]["epoch"] >= epoch:
            raise Killed

    return on_epoch


def bits(model) -> list[torch.Tensor]:
    return [tensor for member in model.members_ for tensor in member.state_dict().values()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {"a": [torch.randn(3), torch.arange(2)], "epoch": 3, "rows": [{"loss": 0.5}]}
    save_checkpoint(tmp_path / "new" / "c.pt", state)
    back = load_checkpoint(tmp_path / "new" / "c.pt")
    assert all(torch.equal(a, b) for a, b in zip(back["a"], state["a"])) and back["rows"] == state["rows"]
    assert load_checkpoint(tmp_path / "none.pt") is None


def test_a_checkpoint_is_paced_by_what_it_costs(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hae.training.checkpoint.time.monotonic", lambda: now[0])

    def slow_write(path, state):
        now[0] += 3.0

    monkeypatch.setattr("hae.training.checkpoint.save_checkpoint", slow_write)
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=1.0, times=20)
    due = []
    for seconds in (0.9, 0.2, 10.0, 49.0, 2.0):  # the first is written after 1 s, and takes 3 s: the next comes 60 s later
        now[0] += seconds
        due.append(checkpoint.due())
        if due[-1]:
            checkpoint.save({})
    assert due == [False, True, False, False, True]


def test_a_damaged_file_is_removed(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"a": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    assert load_checkpoint(path) is None
    assert not path.exists()


def test_what_a_killed_write_left_goes_with_the_file(tmp_path):
    for name in ("c.pt", ".c.123.pt", "d.pt", ".d.123.pt"):
        (tmp_path / name).touch()
    remove_checkpoint(tmp_path / "c.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"d.pt", ".d.123.pt"}


def test_no_code_of_a_checkpoint_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "boom",)

    path = tmp_path / "c.pt"
    with open(path, "wb") as file:
        pickle.dump(Bomb(), file)
    torch.save({"state": Bomb()}, tmp_path / "d.pt")
    assert load_checkpoint(path) is None and load_checkpoint(tmp_path / "d.pt") is None
    assert not (tmp_path / "boom").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"epoch": 1})
    with files_end_at(4096), pytest.raises(BadInput, match=r"c\.pt: can't be written \(File too large\)"):
        save_checkpoint(path, {"epoch": 2, "weights": torch.zeros(10_000)})
    assert load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("epoch", [2, 9, 16])
@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_a_killed_training_goes_on_bit_by_bit(tmp_path, variant, epoch):
    X = curve(400)
    undisturbed = HierarchicalAutoencoder(variant=variant, **SETTINGS).fit(X)
    with pytest.raises(Killed):
        HierarchicalAutoencoder(variant=variant, **SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=killed_in(epoch))
    told = []
    resumed = HierarchicalAutoencoder(variant=variant, **SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=told.append)
    assert {row["epoch"] for row in told[0]} == set(range(1, epoch))  # the epochs before are told at once, and not trained again
    assert same(resumed, undisturbed)
    columns = [name for name in resumed.history_ if name != "seconds"]
    assert resumed.history_[columns].equals(undisturbed.history_[columns])
    assert not list(tmp_path.iterdir())  # done: no checkpoint is left


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.01}, {"random_state": 1}, {"level_weights": [1, 2]}, {"feature_weights": [1, 2, 3]}]
)
def test_a_checkpoint_of_other_parameters_is_not_used(tmp_path, change):
    X, told = curve(400), []
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=killed_in(9))
    HierarchicalAutoencoder(**{**SETTINGS, **change}).fit(X, checkpoints=tmp_path, on_epoch=told.append)
    assert {row["epoch"] for row in told[0]} == {1}


def test_a_checkpoint_of_other_data_or_other_functions_is_not_used(tmp_path):
    X = curve(400)
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=killed_in(9))
    other = X.copy()
    other[7, 1] += 1e-3
    weighted = {"sample_weight": np.linspace(1, 2, 400)}
    noisy = {"augment": noise(0.1)}
    for settings, rows, more in (({}, other, {}), ({}, X, weighted), (noisy, X, {})):
        told = []
        HierarchicalAutoencoder(**SETTINGS, **settings).fit(rows, checkpoints=tmp_path, on_epoch=told.append, **more)
        assert {row["epoch"] for row in told[0]} == {1}
    assert len(list(tmp_path.iterdir())) == 1  # it waits for its own training


def noise(size: float):
    return lambda x, generator: x + size * torch.randn(x.shape, generator=generator)


def test_two_closures_of_one_source_never_share_a_checkpoint(tmp_path):
    X = curve(400)
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS, augment=noise(0.1)).fit(X, checkpoints=tmp_path, on_epoch=killed_in(9))
    for size, first in ((0.2, 1), (0.1, 1)):  # the second is told from the checkpoint: epochs 1 to 8 at once
        told = []
        HierarchicalAutoencoder(**SETTINGS, augment=noise(size)).fit(X, checkpoints=tmp_path, on_epoch=told.append)
        assert len(told[0]) == SETTINGS["n_seeds"] * (8 if size == 0.1 else first)


def test_a_training_with_what_no_key_can_tell_keeps_no_checkpoint(tmp_path):
    generator = np.random.default_rng(0)
    augment = lambda x, _: x + torch.from_numpy(generator.normal(size=x.shape)).to(x)  # noqa: E731
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS, augment=augment).fit(curve(400), checkpoints=tmp_path, on_epoch=killed_in(9))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_version_costs_time_alone(tmp_path):
    X = curve(400)
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=killed_in(9))
    (checkpoint,) = tmp_path.iterdir()
    state = load_checkpoint(checkpoint)
    for change in ("optimiser", "network"):
        other = {**state, change: dict(list(state[change].items())[1:])}
        save_checkpoint(checkpoint, other)
        assert same(HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path), HierarchicalAutoencoder(**SETTINGS).fit(X))


def test_a_damaged_checkpoint_costs_time_alone(tmp_path):
    X = curve(400)
    with pytest.raises(Killed):
        HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path, on_epoch=killed_in(9))
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(b"damaged")
    assert same(HierarchicalAutoencoder(**SETTINGS).fit(X, checkpoints=tmp_path), HierarchicalAutoencoder(**SETTINGS).fit(X))


def equal_after_a_kill(folder: Path, seconds: float) -> bool:
    """kill -9 a training so long after its first epoch, let a second process finish it, and compare with one never killed."""
    begun = CHILDREN.Event()
    first = CHILDREN.Process(target=train_and_save, args=(folder / "checkpoints", folder / "killed", begun))
    first.start()
    assert begun.wait(120)
    time.sleep(seconds)
    first.kill()
    first.join()
    epoch = [load_checkpoint(path)["epoch"] for path in (folder / "checkpoints").glob("[!.]*.pt")]
    second = CHILDREN.Process(target=train_and_save, args=(folder / "checkpoints", folder / "killed"))
    second.start()
    second.join()
    assert first.exitcode == -9
    assert second.exitcode == 0
    train_and_save(None, folder / "whole")
    whole, resumed = (load_networks(folder / name)[0] for name in ("whole", "killed"))
    assert not list((folder / "checkpoints").iterdir())
    equal = all(torch.equal(value, resumed[m].state_dict()[name]) for m in whole for name, value in whole[m].state_dict().items())
    print(f"killed {seconds:.3f} s after the first epoch, checkpoint of epoch {epoch}: bit-equal {equal}")
    return equal


def test_kill_9_and_on_again_is_bit_equal(tmp_path):
    assert equal_after_a_kill(tmp_path, 0.3)


@pytest.mark.acceptance
def test_kill_9_at_ten_random_moments_is_bit_equal_ten_times(tmp_path):
    moments = [random.Random(i).uniform(0, 0.8) for i in range(10)]
    assert sum(equal_after_a_kill(tmp_path / str(i), seconds) for i, seconds in enumerate(moments)) == 10
