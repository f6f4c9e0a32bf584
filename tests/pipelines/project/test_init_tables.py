"""hae init of tables as people have them: classes, identifiers, gaps, sorted rows, other separators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hae.data.frames import Frames
from hae.data.molecules import Recipe
from hae.errors import BadInput
from pipelines import params
from pipelines.project.columns import no_feature
from pipelines.project.init import Choices, init
from pipelines.stages.prepare import prepare


def of_classes(n=600):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, 3))
    return pd.DataFrame(a, columns=list("abc")).assign(target=np.arange(n) * 3 // n, code=rng.permutation(10 * n)[:n], twin=a[:, 0])


def test_no_row_is_left_out_for_a_column_of_one_value():
    for values, reason in (([5, None, 5], "one value where it has any"), ([5, None, 6], ""), ([5, "lost", 5], ""), ([5, np.inf, 5], "")):
        assert no_feature("x", pd.Series(values), None) == reason


def test_what_may_be_no_feature_is_doubted(tmp_path):
    of_classes().to_csv(tmp_path / "t.csv", index=False)
    said = "\n".join(init(tmp_path / "project", Choices((tmp_path / "t.csv",))))
    for words in ("doubt: target has 3 whole numbers", "--labels target", "doubt: code is another whole number in every row", "--id code",
                  "doubt: a and twin are the same", "--shuffle"):
        assert words in said
    said = "\n".join(init(tmp_path / "other", Choices((tmp_path / "t.csv",), columns=("a", "b", "c"), labels=("target",),
                                                                   id="code")))
    assert "doubt" not in said


def test_pixels_are_not_doubted_and_all_are_named(tmp_path):
    from sklearn.datasets import load_digits

    load_digits(as_frame=True).frame.to_csv(tmp_path / "t.csv", index=False)
    said = init(tmp_path / "project", Choices((tmp_path / "t.csv",)))
    doubted = [line for line in said if line.startswith("doubt")]
    assert len(doubted) == 1 and "target" in doubted[0]
    named = " ".join(" ".join(said).split())
    assert "pixel_0_1 to pixel_0_7, pixel_1_0 to pixel_1_7" in named and "pixel_7_0 to pixel_7_7, target" in named and "more)" not in named


@pytest.mark.parametrize(("missing", "rows"), [("drop", 598), ("mean", 600)])
def test_missing_values_are_left_out_or_filled_where_that_is_asked_for(tmp_path, monkeypatch, missing, rows):
    table = of_classes()
    table.loc[[3, 77], "b"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    folder, columns = tmp_path / "project", ("a", "b", "c")
    with pytest.raises(BadInput, match=r"column 'b', row 4 \(line 5\): a missing value .*--missing drop or mean"):
        init(folder, Choices((tmp_path / "t.csv",), columns=columns))
    said = "\n".join(init(folder, Choices((tmp_path / "t.csv",), columns=columns, missing=missing)))
    assert "missing: b in 2 rows" in said
    monkeypatch.chdir(folder)
    prepare()
    frames, recipe = Frames.read("data/prepared/frames"), Recipe.from_json(Path("data/prepared/recipe.json").read_text())
    assert len(frames) == rows and np.isfinite(frames.values).all()
    new = table[list(columns)].iloc[:5]
    if missing == "mean":
        mean = table["b"].to_numpy()[frames.split == "train"]
        assert frames.values[3, 1] == pytest.approx(np.nanmean(mean)) == recipe.features(new, "new").values[3, 1]
    else:
        assert frames.frame.tolist() == [i for i in range(600) if i not in (3, 77)]
        with pytest.raises(BadInput, match="missing value"):
            recipe.features(new, "new")


def test_sorted_rows_are_shuffled_where_that_is_asked_for(tmp_path, monkeypatch):
    table = of_classes()
    table[["a", "b"]] += 5 * table[["target", "target"]].to_numpy()
    table.to_csv(tmp_path / "t.csv", index=False)
    columns = ("a", "b", "c")
    said = "\n".join(init(tmp_path / "sorted", Choices((tmp_path / "t.csv",), columns=columns)))
    assert "--shuffle" in said
    said = "\n".join(init(tmp_path / "project", Choices((tmp_path / "t.csv",), columns=columns, shuffle=True)))
    assert "--shuffle" not in said and params.load(tmp_path / "project/params.yaml").prepare.shuffle
    monkeypatch.chdir(tmp_path / "project")
    prepare()
    values = Frames.read("data/prepared/frames").values
    assert np.array_equal(np.sort(values[:, 0]), np.sort(table["a"])) and not np.array_equal(values[:, 0], table["a"])
    with pytest.raises(BadInput, match="--shuffle: not allowed for rows that follow"):
        init(tmp_path / "series", Choices((tmp_path / "t.csv",), columns=columns, shuffle=True, group="<file>"))


def test_how_a_table_is_written_is_said_and_kept(tmp_path, monkeypatch):
    of_classes().round(3).to_csv(tmp_path / "t.csv", sep=";", decimal=",", index=False)
    said = "\n".join(init(tmp_path / "project", Choices((tmp_path / "t.csv",), columns=("a", "b", "c"))))
    assert "written: separated by semicolons, decimal sign ','" in said
    made = params.load(tmp_path / "project/params.yaml").prepare.table
    assert (made.separator, made.decimal, made.thousands, made.encoding) == (";", ",", None, "utf-8")
    monkeypatch.chdir(tmp_path / "project")
    prepare()
    assert np.allclose(Frames.read("data/prepared/frames").values, of_classes()[list("abc")].round(3))
