"""Champion and candidate side by side: on rows that neither was trained on, whatever the order of the columns."""

from dataclasses import replace

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.training.baselines import principal_components
from pipelines import paths
from pipelines.gate.comparison import compare
from pipelines.record.packaging import Loaded

SPLIT = {"shares": [0.7, 0.15, 0.15], "block_frames": 10, "gap_frames": 1, "salt": "", "group": None, "id": None}


def loaded(version: str, values: np.ndarray, names: list[str]) -> Loaded:
    network = principal_components(values, 1)
    about = {"variant": "boosted", "split": SPLIT, "features": names, "cv": ["linear"],
             "mean": network.output_mean.tolist(), "scale": network.output_scale.tolist()}  # fmt: skip
    return Loaded(version, network, about, {"kind": "columns", "names": names, "units": ["", ""]}, values)


def test_columns_in_another_order_show_no_row_that_the_champion_was_trained_on(tmp_path):
    """A row without trajectory and id is on the side that its values say, in the order of the columns of its day."""
    values, alone = np.random.default_rng(0).normal(size=(4000, 2)), np.full(4000, "")
    rule = {name: value for name, value in SPLIT.items() if name not in ("group", "id")}
    before, now = (split_rows(alone, np.arange(4000), values=rows, **rule) for rows in (values, values[:, ::-1]))
    frames = Frames(values[:, ::-1], ("b", "a"), ("", ""), alone, np.arange(4000), pd.DataFrame(index=range(4000)), split=now)
    frames.write(tmp_path / paths.FRAMES)
    champion, candidate = loaded("1", values, ["a", "b"]), loaded("2", values[:, ::-1], ["b", "a"])
    seen: list[np.ndarray] = []
    champion.network.register_forward_hook(lambda module, given, made: seen.append(given[0].numpy()))
    assert compare(champion, candidate, tmp_path).fve
    both = values[(before == "test") & (now == "test")]
    assert sorted(np.concatenate(seen).tolist()) == sorted(both.tolist())
    holes = replace(candidate, recipe=candidate.recipe | {"fill": [["b", 0.0]]})
    assert "missing values" in compare(champion, holes, tmp_path).not_comparable


def test_an_angle_of_another_period_is_another_target(tmp_path):
    """Its sine and cosine have the same names, so the champion would be judged by rows that its own recipe makes otherwise."""
    values, names = np.random.default_rng(0).normal(size=(40, 2)), ["sin(phi)", "cos(phi)"]
    made = loaded("1", values, names)
    of = lambda period: replace(made, recipe=made.recipe | {"periods": [["phi", period]]})  # noqa: E731
    champion, candidate, nearly = map(of, (180.0, 360.0, 360.0001))
    assert compare(champion, candidate, tmp_path).not_comparable == "another target: phi has another period"
    Frames(values, tuple(names), ("", ""), np.full(40, ""), np.arange(40), pd.DataFrame(index=range(40)),
           split=np.full(40, "train")).write(tmp_path / paths.FRAMES)
    assert compare(nearly, candidate, tmp_path).not_comparable == "no test block that neither was trained on"
