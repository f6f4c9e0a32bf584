"""hae export: a registered version as files that say where they come from and give its CVs, and what it can't do in a line."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from hae import HierarchicalAutoencoder
from hae.data import frames as of_frames
from hae.data.frames import Frames
from hae.errors import BadInput
from hae.export import clients, of_features
from hae.export.card import card_of
from hae.export.checks import compared
from hae.export.encoder import Encoder
from hae.export.program import load_program
from pipelines import export as exports
from pipelines.export import export
from pipelines.record import registry
from pipelines.record.store import opened


@pytest.fixture
def want(recorded):
    """The rows of the project, and the first CV of the champion's network on them."""
    champion = registry.champion(opened(recorded.folder))
    s = recorded.frames().values.astype(float)
    with torch.no_grad():
        network = HierarchicalAutoencoder.load(recorded.folder / "models" / champion.variant).network_.double()
        return s, network.encode(torch.from_numpy(s)).numpy()[:, :1]


def test_the_champion_in_numpy_and_as_a_program(recorded, tmp_path, want):
    s, cvs = want
    champion, names = registry.champion(opened(recorded.folder)), recorded.frames().features
    made = export(recorded.folder, "numpy", tmp_path / "numpy", cvs=1)
    assert made.checked.startswith("checked against NumPy 2") and made.checked.endswith("(200 training rows)")
    assert sorted(path.name for path in (tmp_path / "numpy").iterdir()) == sorted(path.name for path in made.files)
    np.save(tmp_path / "s.npy", s)
    code = f"import numpy as np; from cvs import cvs; np.save('../got.npy', cvs(dict(zip({list(names)}, np.load('../s.npy').T))))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "numpy", check=True)
    np.testing.assert_allclose(np.load(tmp_path / "got.npy"), cvs, atol=1e-6 * cvs.std())
    card = json.loads((tmp_path / "numpy" / "card.json").read_text())
    assert card["version"] == champion.version and card["lineage"]["variant"] == champion.variant and card["ranges"][0][0] < 0
    assert "checked against torch.export" in export(recorded.folder, "pt2", tmp_path / "pt2", cvs=1).checked
    assert json.loads((tmp_path / "pt2" / "card.json").read_text())["cvs"] == ["cv1"]
    np.testing.assert_allclose(load_program(tmp_path / "pt2" / "program.pt2")(torch.from_numpy(s))[0].numpy(), cvs, atol=1e-6)
    assert "checked against torch.jit" in export(recorded.folder, "torchscript", tmp_path / "torchscript").checked


def test_what_its_client_reads_otherwise_is_not_kept(recorded, tmp_path, monkeypatch):
    """A writer with a fault: the last layer turned round."""
    def faulty(encoder, card, folder):
        made = of_features.write_numpy(encoder, card, folder)
        numbers = dict(np.load(folder / "weights.npz"))
        np.savez(folder / "weights.npz", **numbers | {"w1": -numbers["w1"]})
        return made

    monkeypatch.setitem(exports.OF_FEATURES, "numpy", faulty)
    with pytest.raises(BadInput, match=r"numpy: NumPy .* gives other CVs than the network .* nothing was kept"):
        export(recorded.folder, "numpy", tmp_path / "out")
    monkeypatch.setitem(exports.OF_FEATURES, "numpy", of_features.write_numpy)
    monkeypatch.setattr(of_features, "script", lambda encoder, card: "no Python\n")
    with pytest.raises(BadInput, match="it can't read the exported files"):
        export(recorded.folder, "numpy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_client_that_is_not_here_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    encoder = Encoder(("linear",), "tanh", np.zeros(1), np.ones(1), ((np.ones((1, 1)), np.zeros(1)),), None, np.ones((1, 1)), np.zeros(1))
    card = card_of(encoder, ["x"], [""])
    for kind, name in (("plumed", "PLUMED"), ("colvars", "LAMMPS")):
        answer = clients.ask(kind, tmp_path, card, np.zeros((1, 1, 3)), [0])
        assert f"not checked: {name} is not installed (" in compared(kind, answer, card, np.zeros((1, 1)), [1.0])


@pytest.mark.parametrize(("cvs", "forces", "word"), [
    ([[1e-5]], [[[0.0]]], "other CVs"), ([[0.0, 0.0]], [[[0.0]]], "of shape"), ([[np.nan]], [[[0.0]]], "other CVs"),
    ([[0.0]], [[[np.nan]]], "other forces"),
])
def test_what_differs_is_refused(cvs, forces, word):
    encoder = Encoder(("linear",), "tanh", np.zeros(1), np.ones(1), ((np.ones((1, 1)), np.zeros(1)),), None, np.ones((1, 1)), np.zeros(1))
    answer = clients.Answer("a client", np.array(cvs), np.array(forces))
    with pytest.raises(BadInput, match=word):
        compared("plumed", answer, card_of(encoder, ["x"], [""]), np.zeros((1, 1)), [1.0], np.ones((1, 1, 1, 1)))


@pytest.mark.parametrize(("asked", "word"), [
    *(({"kind": kind}, "columns of a table, not atoms") for kind in ("plumed", "colvars", "openmm")),
    ({"kind": "numpy", "cvs": 9}, "cvs: 9 is not allowed"),
    ({"kind": "gromos"}, "not a format; allowed: plumed"),
    ({"kind": "numpy", "version": "17"}, "no version 17"),
])
def test_what_can_not_be_exported_is_said_and_nothing_is_written(recorded, tmp_path, asked, word):
    with pytest.raises(BadInput, match=word):
        export(recorded.folder, folder=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_training_frames_are_found_a_piece_at_a_time(tmp_path, monkeypatch):
    rng, number = np.random.default_rng(0), np.arange(500)
    frames = Frames(rng.normal(size=(1000, 2)), ("a", "b"), ("", ""), np.repeat(["x", "y"], 500), np.tile(number, 2),
                    pd.DataFrame(index=range(1000)), split=rng.choice(["train", "test", "gap"], 1000))
    frames.write(tmp_path / "frames")
    train = frames.select("train")
    wanted = [(str(train.trajectory[i]), int(train.frame[i])) for i in np.linspace(0, len(train) - 1, exports.FRAMES).astype(int)]
    monkeypatch.setattr(of_frames, "NUMBERS_TOGETHER", 34)  # 17 rows
    assert list(exports._some_rows(tmp_path / "frames")) == wanted
