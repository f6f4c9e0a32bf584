"""Stage evaluate on a molecule of torsions: the gradients of its CVs are those of finite differences of positions."""

import json
import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.importance.report import ImportanceReport
from pipelines.stages.baseline import baseline
from pipelines.stages.evaluate import evaluate
from pipelines.stages.prepare import prepare
from pipelines.stages.simulate import torsion
from pipelines.stages.train import train

ROOT = Path(__file__).parents[3]
PDB = ROOT / "pipelines" / "stages" / "alanine-dipeptide.pdb"
PHI, PSI = [4, 6, 8, 14], [6, 8, 14, 16]
SMALL = {"n_cvs": 1, "hidden": [4], "n_seeds": 1, "max_epochs": 3}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Frames of shaken atoms, prepared as torsions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAE_THREADS", "1")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    shutil.copy(PDB, "data/raw/topology.pdb")
    one = mdtraj.load(str(PDB))
    shaken = one.xyz[0] + np.random.default_rng(0).normal(scale=0.03, size=(600, 22, 3))
    mdtraj.Trajectory(shaken.astype(np.float32), one.topology).save("data/raw/walker-0.dcd")
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    del content["simulate"]
    content["prepare"].update(features="torsions")
    content["prepare"]["split"].update(block_frames=20, gap_frames=1)
    content["train"] = {"collective": content["train"]["collective"] | SMALL}
    content["baseline"].update(SMALL)
    with open("params.yaml", "w") as file:
        YAML().dump(content, file)
    return tmp_path


def test_gradients_of_torsions_are_those_of_finite_differences(project):
    prepare()
    train("collective")
    baseline()
    evaluate("collective")
    results = Path("results/variants/collective")
    told = ImportanceReport.from_json((results / "importance.json").read_text()).smoothness
    (found,) = told.gradients
    test = Frames.read("data/prepared/frames").select("test")
    network = HierarchicalAutoencoder.load("models/collective").network_.double()
    at = test.frame[found.row]
    x = mdtraj.load("data/raw/walker-0.dcd", top=str(PDB)).xyz[at].astype(float)

    def cv(x: np.ndarray) -> float:
        angles = np.array([torsion(*x[PHI]), torsion(*x[PSI])])
        return float(network.encode(torch.from_numpy(np.stack([np.sin(angles), np.cos(angles)], 1).reshape(1, 4))).detach())

    square, step = 0.0, 1e-6
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        square += ((cv(x + moved) - cv(x - moved)) / (2 * step)) ** 2
    spread = network.encode(torch.from_numpy(test.values.astype(float))).detach().numpy().std()
    assert found.largest == pytest.approx(np.sqrt(square) / spread, rel=1e-3)  # features of the rows are float32
    assert told.unit == "1/nm" and json.loads((results / "metrics.json").read_text())["gradient_1"] == found.largest
    table, passage = pd.read_csv(results / "gradients.csv"), pd.read_csv(results / "passages.csv")
    assert table["row"].tolist() == list(range(len(test))) and table["cv1"].idxmax() == found.row
    slope = np.gradient(passage["cv1"], passage["step"])[len(passage) // 2]
    assert slope == pytest.approx(found.largest, rel=0.03)  # between steps the passage bends
