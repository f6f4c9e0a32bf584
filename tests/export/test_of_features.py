"""The encoder in other programs gives the CVs of the network."""

import importlib.util
import json

import mdtraj
import numpy as np
import pytest
import torch
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

from hae.data.jacobian import featurise
from hae.data.molecules import Recipe
from hae.export import clients
from hae.export.card import card_of
from hae.export.cv import cv
from hae.export.encoder import encoder_of
from hae.export.of_features import write_numpy, write_onnx, write_torchscript

VARIANTS = [{}, {"linear_path": True}, *({"activation": name} for name in ("silu", "gelu", "relu", "identity"))]


def made(**more):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), "coordinates")
    network = trained(recipe, ("linear", "circular", "tanh", "linear"), **more)
    encoder = encoder_of(network, 3)
    s = np.random.default_rng(0).normal(0.3, 0.2, (20, encoder.n_features))
    card = card_of(encoder, recipe.names, recipe.units, version="7", lineage={"data": "abc"})
    return encoder, card, s, network.encode(torch.from_numpy(s)).numpy()[:, :3]


@pytest.mark.parametrize("more", VARIANTS)
def test_numpy_alone(more, tmp_path):
    encoder, card, s, want = made(**more)
    write_numpy(encoder, card, tmp_path)
    np.testing.assert_allclose(clients.ask("numpy", tmp_path, card, s).cvs, want, atol=1e-12)  # in a process without torch and hae
    about = json.loads((tmp_path / "card.json").read_text())
    assert about["version"] == "7" and about["lineage"] == {"data": "abc"} and about["periods"] == [None, 2 * np.pi, None]


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_alone_of_positions(kind, tmp_path):
    """Nobody has to know how hae aligns, or which sign a torsion has."""
    topology, positions = frames(6)
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = cv(trained(recipe), recipe)
    card = card_of(function.encoder, recipe.names, recipe.units, function)
    write_numpy(function.encoder, card, tmp_path)
    spec = importlib.util.spec_from_file_location("exported_cvs", tmp_path / "cvs.py")
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    x = positions[:, function.indices(topology)]
    np.testing.assert_allclose(np.stack(list(exported.features(x).values()), 1), featurise(recipe, x)[0], atol=1e-12)
    np.testing.assert_allclose(exported.cvs(exported.features(x)), function(x)[0], atol=1e-10)
    with pytest.raises(ValueError, match=rf"allowed: \(N, {len(function.atoms)}, 3\)"):
        exported.features(x[0])
    about = json.loads((tmp_path / "card.json").read_text())
    assert about["atoms"] == list(function.atoms) and about["recipe"]["kind"] == kind


@pytest.mark.acceptance
@pytest.mark.parametrize("more", VARIANTS)
def test_onnx(more, tmp_path):
    import onnxruntime

    encoder, card, s, want = made(**more)
    write_onnx(encoder, card, tmp_path)
    np.testing.assert_allclose(clients.ask("onnx", tmp_path, card, s).cvs, want, atol=1e-5 * want.std(0).max())
    session = onnxruntime.InferenceSession(str(tmp_path / "cvs.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["hae"])["version"] == "7"


@pytest.mark.parametrize("more", VARIANTS)
def test_torchscript_as_plumed_reads_it(more, tmp_path):
    encoder, card, s, want = made(**more)
    write_torchscript(encoder, card, tmp_path)
    extra = {"card.json": ""}
    loaded = torch.jit.load(tmp_path / "cvs.ptc", _extra_files=extra)
    got = np.concatenate([loaded(torch.from_numpy(row[None]).float()).numpy() for row in s])
    expected = np.stack([want[:, 0], np.cos(want[:, 1]), np.sin(want[:, 1]), want[:, 2]], 1)
    np.testing.assert_allclose(got, expected, atol=1e-5 * want.std(0).max())
    np.testing.assert_allclose(clients.ask("torchscript", tmp_path, card, s).cvs, want, atol=1e-5 * want.std(0).max())
    assert json.loads(extra["card.json"])["version"] == "7"
