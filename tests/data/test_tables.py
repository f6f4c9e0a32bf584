"""Tables: numbers arrive as they stand in the file, and every fault is named by its place."""

import numpy as np
import pandas as pd
import pytest

from hae.data.tables import load_table, numbers, read_table, table_frames
from hae.errors import BadInput

GOOD = "a,b,c\n1,2.5,3\n4,5.5,6\n7,8.5,9\n"


def written(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_have_their_duties(tmp_path, kind):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=["x", "y", "angle"])
    table["run"], table["name"], table["w"], table["count"] = ["p", "q", "q"] * 20, range(60), 2.0, range(60)
    path = tmp_path / f"data.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    frames = read_table(
        path, labels=["angle"], group="run", id="name", weights="w", units={"x": "nm", "angle": "rad"}, periods={"angle": 6.28}
    )
    assert frames.features == ("x", "y", "count") and frames.units == ("nm", "", "")
    assert frames.values.dtype == np.float64
    assert np.array_equal(frames.values[:, 2], np.arange(60)), "integers become the same numbers"
    assert np.allclose(frames.values[:, 0], table["x"], rtol=0, atol=0)
    assert frames.label_units == ("rad",) and frames.label_periods == (6.28,) and np.all(frames.weights == 2)
    assert np.array_equal(frames.frame[frames.trajectory == "q"], np.arange(40))


def test_a_file_may_be_one_trajectory_and_rows_may_stand_alone(tmp_path):
    path = written(tmp_path, GOOD, "run7.csv")
    assert set(read_table(path, group="<file>").trajectory) == {"run7"}
    assert set(read_table(path).trajectory) == {""}


def test_a_byte_order_mark_spaces_and_unicode_names(tmp_path):
    frames = read_table(written(tmp_path, "\ufeffφ, ψ\n1, 2\n3, 4\n"))
    assert frames.features == ("φ", "ψ") and frames.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("a,b\n", ["0 rows"]),
        ("a,b\n1,2\n", ["1 row;"]),
        ("a,b\n1,2\n3,hello\n5,6\n", ["'b'", "row 2", "hello"]),
        ("a,b\n1,2\n3,\n5,6\n", ["'b'", "row 2", "missing"]),
        ("a,b\n1,2\n3,NaN\n", ["'b'", "row 2", "missing"]),
        ("a,b\n1,2\n-inf,4\n", ["'a'", "row 2", "infinite"]),
        ("a,a\n1,2\n3,4\n", ["two columns", "'a'"]),
        ("a,b\n1,2\n3,4,5\n", ["line 3"]),
        ("a,b\n1,2,9\n3,4,5\n", ["not a table"]),
        ("a,b\n1,2\n3\n", ["'b'", "row 2", "missing"]),
        ("a,b\n1,2\n3;4\n", ["'a'", "row 2", "3;4"]),
        ("1,2\n3,4\n5,6\n", ["names of the columns"]),
        (b"a,b\n1,2\n\x81,4\n", ["can be read"]),
        (b"a,b\n1,2\n\xff\xfe,4\n", ["'a'", "row 2 (line 3)", "ÿþ"]),
        ("a,b\n\n1,2\n\n\n3,hello\n", ["'b'", "row 2 (line 6)", "hello"]),
        ('a,"b\nof two lines"\n1,2\n3,hello\n', ["row 2 (line 4)", "hello"]),
    ],
)
def test_every_fault_is_one_line_that_names_its_place(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as error:
        read_table(path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    for word in words:
        assert word in message


def test_faults_of_parquet_files(tmp_path):
    with pytest.raises(BadInput, match="can be read"):
        read_table(written(tmp_path, "hello", "data.parquet"))
    pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}).to_parquet(tmp_path / "text.parquet")
    with pytest.raises(BadInput, match="column 'a', row 1: 'x'"):
        read_table(tmp_path / "text.parquet")


def test_missing_files_kinds_and_columns(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(BadInput, match="no such file"):
        load_table(tmp_path / "nothing.csv")
    with pytest.raises(BadInput, match=r"allowed: \.csv, \.tsv"):
        load_table(written(tmp_path, GOOD, "data.xls"))
    for choice in ({"columns": ["a", "q"]}, {"labels": ["q"]}, {"group": "q"}, {"weights": "q"}):
        with pytest.raises(BadInput, match="no column 'q'; allowed: a, b, c"):
            read_table(path, **choice)
    with pytest.raises(BadInput, match="no column is left"):
        read_table(path, labels=["a", "b", "c"])


def test_weights_are_positive():
    with pytest.raises(BadInput, match="column 'w', row 3: a weight of 0 or less"):
        table_frames(pd.DataFrame({"a": [1.0, 2, 3], "w": [1.0, 2, 0]}), "x.csv", weights="w")


def test_missing_values_may_be_let_through_but_never_infinity():
    table = pd.DataFrame({"a": [1.0, np.nan], "b": [np.inf, 1.0]})
    assert np.isnan(numbers(table, ["a"], "x.csv", missing="mask")[1, 0])
    with pytest.raises(BadInput, match="infinite"):
        numbers(table, ["b"], "x.csv", missing="mask")


def test_a_row_without_a_trajectory_s_name_is_said_and_names_stay_whole():
    table = pd.DataFrame({"run": [f"run-{i // 5:02d}" for i in range(20)], "x": np.arange(20.0)})
    for kind in (object, "category", "string"):
        frames = table_frames(table.astype({"run": kind}), "p", columns=["x"], group="run")
        assert set(frames.trajectory) == {"run-00", "run-01", "run-02", "run-03"} and frames.frame.max() == 4
        holed = table.copy()
        holed.loc[3, "run"] = None
        with pytest.raises(BadInput, match="p: column 'run', row 4: a missing value; allowed: a trajectory's name for every row"):
            table_frames(holed.astype({"run": kind}), "p", columns=["x"], group="run")
