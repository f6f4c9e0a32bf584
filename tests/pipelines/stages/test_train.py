"""The stage train: rows that may not be in memory stay in a file, and the stage says so."""

import json

import pytest

from hae import HierarchicalAutoencoder
from pipelines import params
from pipelines.page import page
from pipelines.page.evidence import gather
from pipelines.page.pictures import Picture
from pipelines.stages.train import train


def metrics(folder) -> dict:
    return json.loads((folder / "results/variants/collective/training.json").read_text())


def test_a_small_limit_leaves_rows_in_a_file_and_the_figures_as_they_are(trained, monkeypatch, capsys):
    before = metrics(trained.folder)
    monkeypatch.setenv("HAE_MEMORY_LIMIT", "10K")
    train("collective")
    assert "train: the rows (0.0 MB) stay in a file: they may take 0.0 MB of memory (HAE_MEMORY_LIMIT)" in capsys.readouterr().out
    after = metrics(trained.folder)
    assert after.keys() == before.keys()
    assert after["validation_fve_2"] == pytest.approx(before["validation_fve_2"], abs=0.02)  # another order of batches
    model = HierarchicalAutoencoder.load(trained.folder / "models/collective")
    table = trained.frames()
    assert model.transform(table.values[:5].astype("float32")).shape == (5, 2)
    assert not list((trained.folder / ".hae/rows/collective").iterdir())


def test_the_page_says_what_auto_took(trained, capsys):
    trained.change("train", "collective", hidden="auto", max_epochs=1)
    train("collective")
    words = "64-64 beside a linear path"
    assert metrics(trained.folder)["hidden"] == words and f"train collective: hidden: auto took {words}\n" in capsys.readouterr().out
    empty = [Picture(group, group, "", "<svg></svg>") for group in ("fve", "along", "energy", "gains", "rebuilt", "training")]
    text = page.html(gather(["collective", "boosted"]), empty, params.load())
    assert f"<tr><td>hidden</td><td>auto: {words}</td><td>12</td></tr>" in text
