"""Networks on disk: the same bits back, nothing unpickled, one line for what can't be read."""

import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import files_end_at
from generators import small
from quick import quick
from torch import nn

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.network.canonical import canonicalise
from hae.network.hierarchy import HierarchicalNetwork
from hae.storage import load_networks, save_networks

X = np.random.default_rng(0).normal(size=(50, 5))


def own(n_features=5, n_targets=5):
    encoder = nn.Sequential(nn.Linear(n_features, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))
    return HierarchicalNetwork(encoder, lambda n: nn.Linear(n, n_targets), "boosted", ["linear", "linear"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["collective", "boosted", "plain"])
def test_the_same_bits_come_back(tmp_path, variant, dtype):
    network = small(variant)
    canonicalise(network, X)
    network.to(dtype)
    save_networks(tmp_path, {"one": network, "two": small("boosted", ["linear"])}, {"note": 3}, {"extra": torch.arange(3)})
    networks, about, tensors = load_networks(tmp_path)
    s = torch.from_numpy(X).to(dtype)
    for a, b in zip(network(s), networks["one"](s)):
        assert torch.equal(a, b)
    assert networks["two"].variant == "boosted"
    assert about == {"note": 3} and tensors["extra"].tolist() == [0, 1, 2]


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle was used")

    for module, names in ((pickle, ("load", "loads", "dump", "dumps", "Unpickler", "Pickler")), (torch, ("load", "save"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    save_networks(tmp_path, {"one": small()}, {})
    load_networks(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["networks"]["one"]["hidden"] == [7, 6]
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "weights.safetensors"}


def test_modules_of_ones_own_come_back_at_rest_by_the_function_that_made_them(tmp_path):
    network = own().eval()
    network.scale_by(*np.ones((4, 5)))
    save_networks(tmp_path, {"one": network}, {})
    with pytest.raises(BadInput, match=r"holds the weights of a network of one's own; give load the function that builds it"):
        load_networks(tmp_path)
    with pytest.raises(BadInput, match="the weights are not those of the network one"):
        load_networks(tmp_path, lambda n, m: small(n_inputs=n))
    back = load_networks(tmp_path, own)[0]["one"]
    s = torch.from_numpy(X).float()
    assert torch.equal(back(s)[1], network(s)[1])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda f: (f / "model.json").unlink(), "model.json: no such file; allowed: a folder that a model was saved to"),
        (lambda f: (f / "model.json").write_text("{"), "not a saved model (JSONDecodeError"),
        (lambda f: (f / "model.json").write_text("{}"), "not a saved model (KeyError"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"xx"), "is not the one that model.json was saved with"),
        (lambda f: (changed(f, weights=None), (f / "weights.safetensors").write_bytes(b"xx")), "not a saved model (SafetensorError"),
        (lambda f: (f / "weights.safetensors").unlink(), "no such file; allowed: a folder that a model was saved to"),
        (lambda f: changed(f, networks={"two": small().spec}), "the weights are not those of the network two"),
    ],
)
def test_what_is_not_a_saved_model_is_said_in_a_line(tmp_path, damage, line):
    save_networks(tmp_path, {"one": small()}, {})
    damage(tmp_path)
    with pytest.raises(BadInput) as error:
        load_networks(tmp_path)
    assert line in str(error.value) and "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def changed(folder, **more):
    """model.json with other entries."""
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, **more}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: save_networks(f, {"pca": small(), "plain-1": small()}, {"params": {"n_cvs": 2}}),  # as the stage baseline
        lambda f: save_networks(f, {"one": small()}, {}),
        lambda f: save_networks(f, {}, {"params": {}, "fitted": {}}),
        lambda f: changed(f, params={"n_clusters": 2}),
        lambda f: changed(f, params=[1]),
        lambda f: changed(f, fitted=None),
        lambda f: changed(f, importance={"levels": 3}),
        lambda f: changed(f, importance="good"),
        lambda f: changed(f, networks=[1, 2]),
        lambda f: (f / "model.json").write_text("[]"),
        lambda f: (f / "model.json").write_text("3"),
        lambda f: (f / "model.json").write_bytes(b"\xff"),
        lambda f: ((f / "model.json").unlink(), (f / "model.json").mkdir()),
    ],
)
def test_a_folder_that_is_no_estimator_is_said_in_a_line(tmp_path, damage):
    quick(max_epochs=1, n_seeds=1).fit(X).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(BadInput) as error:
        HierarchicalAutoencoder.load(tmp_path)
    assert "not a saved" in str(error.value) and "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_folder_that_cannot_be_written_is_named_and_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match=r"file/weights.safetensors: can't be written \(.*\); allowed: a folder that can be written to"):
        save_networks(tmp_path / "file", {"one": small()}, {})
    assert (tmp_path / "file").read_text() == "mine"


def test_a_write_that_fails_leaves_what_was_saved(tmp_path):
    save_networks(tmp_path, {"one": small()}, {"number": 1})
    with files_end_at(256), pytest.raises(BadInput, match=r"weights.safetensors: can't be written \(File too large\)"):
        save_networks(tmp_path, {"one": small()}, {"number": 2})
    assert load_networks(tmp_path)[1]["number"] == 1
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "weights.safetensors"}


def numbered(number: int) -> tuple[dict, dict]:
    """A network and what is said of it, both by a number."""
    network = small(seed=number)
    return {"one": network}, {"number": number}


def mixed(folder) -> bool:
    networks, about, _ = load_networks(folder)
    return not torch.equal(networks["one"](torch.from_numpy(X))[1], small(seed=about["number"])(torch.from_numpy(X))[1])


def test_a_save_that_dies_anywhere_leaves_one_save_or_the_other(tmp_path, monkeypatch):
    found = []
    for fatal in range(1, 20):
        save_networks(tmp_path, *numbered(1))
        steps = iter(range(1, 100))

        def until(function, steps=steps, fatal=fatal):
            def step(*arguments, **named):
                if next(steps) >= fatal:
                    raise KeyboardInterrupt
                return function(*arguments, **named)

            return step

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            for place, name in ((os, "replace"), (Path, "write_bytes"), (Path, "write_text"), (Path, "unlink")):
                patch.setattr(place, name, until(getattr(place, name)))
            save_networks(tmp_path, *numbered(2))
        assert not mixed(tmp_path), f"dead at step {fatal}"
        found.append(load_networks(tmp_path)[1]["number"])
        if next(steps) <= fatal:
            break
    assert len(found) > 6 and found == sorted(found) and set(found) == {1, 2}
    save_networks(tmp_path, *numbered(1))
    assert not list(tmp_path.glob(".weights-*"))


def test_who_loads_while_another_saves_gets_one_save(tmp_path, monkeypatch):
    save_networks(tmp_path, *numbered(1))
    loads, left = json.loads, iter([2, 1])

    def meanwhile(text):
        if (number := next(left, None)) is not None:
            save_networks(tmp_path, *numbered(number))
        return loads(text)

    monkeypatch.setattr(json, "loads", meanwhile)
    assert not mixed(tmp_path)


def test_files_of_two_saves_are_refused(tmp_path):
    """They fit in shape, so nothing else would tell."""
    save_networks(tmp_path / "a", *numbered(1))
    save_networks(tmp_path / "b", *numbered(2))
    (tmp_path / "a/weights.safetensors").replace(tmp_path / "b/weights.safetensors")
    with pytest.raises(BadInput, match=r"weights.safetensors is not the one that model.json was saved with; allowed: the two files of one"):
        load_networks(tmp_path / "b")
