"""A third variant is one class, one entry and one section: nothing else in the code or in dvc.yaml names variants."""

import json
from pathlib import Path

import pandas as pd
import pytest

from hae.network import hierarchy
from pipelines import paths
from pipelines.flow import versioning
from pipelines.stages.evaluate import evaluate
from pipelines.stages.report import report
from pipelines.stages.stability import stability
from pipelines.stages.train import train


class Backward(hierarchy.CollectiveDecoder):
    """A decoder of another class, to have a third one."""


@pytest.fixture
def third(trained, monkeypatch):
    monkeypatch.setitem(hierarchy.VARIANTS, "backward", Backward)
    monkeypatch.setitem(hierarchy.DECODERS, "backward", Backward)
    section = trained.params()["train"]["collective"]
    trained.change("train", backward=section)
    return trained


def test_its_section_alone_makes_its_stages(third):
    graph = versioning.read_graph(third.folder)
    assert {"train@backward", "evaluate@backward", "stability@backward"} <= set(graph.stages)
    assert {"evaluate@backward", "stability@backward"} <= graph.stages["report"].needs
    assert "train@backward" in versioning.recorded(graph)


def test_it_is_trained_evaluated_and_reported_like_the_others(third):
    train("backward")
    evaluate("backward")
    stability("backward")
    report()
    table = pd.read_csv("results/table.csv")
    assert set(table["variant"]) == {"collective", "boosted", "backward"}
    told = json.loads(Path("results/importance.json").read_text())
    assert "backward" in told["verdicts"] and told["variants"]["backward"]["variant"] == "backward"
    assert "<h3>backward</h3>" in Path("results/report.html").read_text()
    assert (paths.results("backward") / "along").is_dir()
