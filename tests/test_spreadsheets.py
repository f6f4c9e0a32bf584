"""CSV files that people open in a spreadsheet: no name of theirs is computed there, and no number is changed."""

import csv

import pandas as pd
import pytest

from hae.files import read_csv, write_csv

NAMES = ["=HYPERLINK(1)", "+1+cmd", "-x", "@SUM(A1)", "\tx", "'=y", "plain", "a=b", "-0.5"]


def test_no_cell_of_a_name_begins_as_a_formula(tmp_path):
    table = pd.DataFrame({"=feature": NAMES, "value": [-0.5] * len(NAMES), "-x": pd.Categorical(NAMES)})
    write_csv(tmp_path / "a.csv", table)
    with open(tmp_path / "a.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=feature", "value", "'-x"]
    assert [row[1] for row in rows] == ["-0.5"] * len(NAMES)
    for row in rows:
        assert row[0] == row[2] and (not row[0].startswith(("=", "+", "-", "@", "\t", "\r")) or row[0] == "-0.5")
    back = read_csv(tmp_path / "a.csv")
    assert list(back.columns) == ["=feature", "value", "-x"] and list(back["=feature"]) == NAMES
    assert list(table["=feature"]) == NAMES  # the caller's own is left alone


@pytest.mark.parametrize("rows", [0, 2])
def test_columns_of_one_name_and_empty_tables(tmp_path, rows):
    write_csv(tmp_path / "a.csv", pd.DataFrame([["x", 1.5]] * rows, columns=["a", "a"]))
    assert (tmp_path / "a.csv").read_text() == "a,a\n" + "x,1.5\n" * rows
