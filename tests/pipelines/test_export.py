"""hae export: a registered version as files that say where they come from and give its CVs, and what it can't do in a line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.export.program import load_program
from pipelines.export import export
from pipelines.record import registry
from pipelines.record.store import opened


def test_the_champion_in_numpy_and_as_a_program(recorded, tmp_path):
    champion = registry.champion(opened(recorded.folder))
    s = recorded.frames().values.astype(float)
    want = HierarchicalAutoencoder.load(recorded.folder / "models" / champion.variant).network_.double()
    with torch.no_grad():
        want = want.encode(torch.from_numpy(s)).numpy()[:, :1]
    export(recorded.folder, "numpy", tmp_path / "numpy", cvs=1)
    np.save(tmp_path / "numpy" / "s.npy", s)
    code = "import numpy as np; from cvs import cvs; np.save('got.npy', cvs(np.load('s.npy')))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "numpy", check=True)
    np.testing.assert_allclose(np.load(tmp_path / "numpy" / "got.npy"), want, atol=1e-6 * want.std())
    card = json.loads((tmp_path / "numpy" / "card.json").read_text())
    assert card["version"] == champion.version and card["lineage"]["variant"] == champion.variant and card["ranges"][0][0] < 0
    export(recorded.folder, "pt2", tmp_path / "pt2", cvs=1)
    np.testing.assert_allclose(load_program(tmp_path / "pt2" / "program.pt2")(torch.from_numpy(s))[0].numpy(), want, atol=1e-6)


@pytest.mark.parametrize(("asked", "word"), [
    ({"kind": "plumed"}, "columns of a table, not atoms"),
    ({"kind": "numpy", "cvs": 9}, "cvs: 9 is not allowed"),
    ({"kind": "gromos"}, "not a format; allowed: plumed"),
    ({"kind": "numpy", "version": "17"}, "no version 17"),
])
def test_what_can_not_be_exported_is_said_and_nothing_is_written(recorded, tmp_path, asked, word):
    with pytest.raises(BadInput, match=word):
        export(recorded.folder, folder=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()
