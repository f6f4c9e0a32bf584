"""What hae init writes is what params.yaml is read as: checked before any file is there, whatever the names in the data."""

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hae.errors import BadInput
from pipelines import params
from pipelines.project import rendering
from pipelines.project.init import Choices, init

PREPARE = {"trajectories": ["data/raw/*.csv"], "topology": None, "features": "columns", "atoms": "heavy", "columns": None, "labels": (),
           "group": None, "id": None, "weights": None, "bias": None, "temperature": None, "periods": {},
           "split": {"block_frames": 1, "gap_frames": 0, "shares": (0.45, 0.15, 0.4), "salt": ""}}
SUGGESTED = {"batch_size": 16, "max_epochs": 40, "patience": 20, "data": ["data/raw"], "n_cvs": 2, "scale": "feature", "smooth": 0,
             "hidden": "auto", "gradient": None, "model_name": "one"}
AWKWARD = ["a # b", 'say "x"   # no comment', "back\\slash", "yes", "null", "1.5", "- dash", "a: b", "#", "two\nlines", " ", "ψ", "{{ x }}",
           "nbsp\u00a0", "next\u0085", "line\u2028", "🙂", "*star", "&a", "%", "@", "tab\t#", "'", '"', "2026-01-31", "0x1f", "~"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=4, max_size=8, unique=True))
@example(AWKWARD)
def test_names_come_back_as_they_were(names):
    chosen = {"columns": tuple(names), "labels": tuple(names[:2]), "group": names[0], "id": names[1], "weights": names[2],
              "periods": dict.fromkeys(names, 2.5), "trajectories": tuple(names), "topology": names[3]}
    text = rendering.texts(PREPARE | chosen, **SUGGESTED)["params.yaml"]
    read = params.parsed(text).prepare.model_dump()
    assert {key: read[key] for key in chosen} == chosen


def test_every_section_is_as_it_was_chosen():
    read = params.parsed(rendering.texts(PREPARE, **SUGGESTED)["params.yaml"])
    for learning in (*read.train.values(), read.baseline):
        assert (learning.n_cvs, learning.scale, learning.batch_size, learning.max_epochs, learning.patience) == (2, "feature", 16, 40, 20)
    assert read.prepare.split == params.Split(**PREPARE["split"])
    assert read.promote.gradient is None and read.record.model_name == "one"
    assert params.parsed(rendering.texts(PREPARE, **SUGGESTED | {"gradient": 250})["params.yaml"]).promote.gradient == 250


def test_comments_stand_below_each_other_and_a_quoted_name_is_left_alone():
    text = rendering.texts(PREPARE | {"group": "a   # b", "columns": ("c  # d", 'e" # f')}, **SUGGESTED)["params.yaml"]
    assert '"a   # b"' in text and '- "c  # d"\n' in text and '- "e\\" # f"\n' in text
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    short = [line for line in lines if " # " in line and '"' not in line.partition(" # ")[0] and line.index(" # ") < 30]
    assert len(short) > 40 and {line.index(" # ") for line in short} == {29}


def test_what_the_parameters_refuse_leaves_no_folder(tmp_path):
    """It is known before the first file is there, and says its place."""
    pd.DataFrame({"a": range(100), "b": [1, 2] * 50}).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(BadInput, match=r"^params.yaml: prepare: temperature: -3.0 is not allowed; allowed: a number above 0"):
        init(tmp_path / "project", Choices((tmp_path / "table.csv",), columns=("a", "b"), temperature=-3.0))
    assert not (tmp_path / "project").exists()


def test_a_table_with_such_names_becomes_a_project(tmp_path):
    names = ['say "x"   # no comment', "a   # b", "yes"]
    pd.DataFrame({name: [i * i % 7 for i in range(40 + 7 * k, 240 + 7 * k)] for k, name in enumerate(names)}).to_csv(
        tmp_path / "table.csv", index=False)
    init(tmp_path / "project", Choices((tmp_path / "table.csv",), columns=tuple(names[:2]), labels=(names[2],)))
    made = params.load(tmp_path / "project" / "params.yaml").prepare
    assert made.columns == tuple(names[:2]) and made.labels == (names[2],)
