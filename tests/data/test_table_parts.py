"""Tables in parts: whatever the sizes of pieces and parts, the rows are those of the whole table."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.data.table_parts import Tables, write_tables
from hae.errors import BadInput

RULE = {"block_frames": 5, "gap_frames": 0, "shares": (0.6, 0.2, 0.2), "salt": ""}
ROWS = 300


def table() -> pd.DataFrame:
    """Groups that are whole numbers in some pieces and words in others, ids that are numbers with and without a point."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, 3)).round(6)
    out = pd.DataFrame(values, columns=["a", "b", "c"])
    out["walker"] = [f"0{i // 50}" if i < 200 else "last" for i in range(ROWS)]
    out["name"] = [str(i) if i < 280 else f"{i}.5" for i in range(ROWS)]
    out["bias"] = rng.uniform(0, 5, ROWS).round(4)
    return out


def holed() -> pd.DataFrame:
    out = table()
    out.loc[[3, 77, 205], "b"] = np.nan
    return out


def prepared(folder: Path, tables: Tables, **choices) -> dict[str, bytes]:
    write_tables(tables, folder / "frames", RULE, check=lambda sides: None, **choices)
    assert os.listdir(folder) == ["frames"]
    return {path.name: path.read_bytes() for path in (folder / "frames").iterdir()}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(("made", "said"), [
    (table, {"group": "walker"}),
    (table, {"id": "name"}),
    (holed, {"group": "walker", "missing": "drop"}),
    (holed, {"group": "walker", "missing": "mean"}),
    (table, {"bias": "bias", "temperature": 300.0}),
    (holed, {"id": "name", "missing": "mean", "shuffle": True}),
])
def test_pieces_of_any_size_give_the_same_bytes_and_smaller_parts_the_same_rows(tmp_path, monkeypatch, made, said, ending):
    path = tmp_path / f"t.{ending}"
    made().to_csv(path, index=False) if ending == "csv" else made().to_parquet(path, index=False)
    said = dict(said)
    shuffle = said.pop("shuffle", False)
    files = {"t": path}
    found = []
    for name, piece, part in (("whole", 2**24, 2**27), ("pieces", 8 * 6 * 7, 2**27), ("parts", 8 * 6 * 11, 8 * 3 * 40)):
        monkeypatch.setattr("hae.data.readers.PIECE_BYTES", piece)
        monkeypatch.setattr("hae.data.frames.PART_BYTES", part)
        (tmp_path / name).mkdir()
        found.append(prepared(tmp_path / name, Tables(files, ("a", "b", "c"), **said), shuffle=shuffle))
    assert found[0] == found[1]
    assert len(found[2]) > len(found[0]) == 2
    whole, parts = (Frames.read(tmp_path / name / "frames") for name in ("whole", "parts"))
    orders = [np.argsort(frames.ids if shuffle else np.arange(len(frames)), kind="stable") for frames in (whole, parts)]
    whole, parts = (frames.select(order) for frames, order in zip((whole, parts), orders, strict=True))
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-14)
    for column in ("trajectory", "frame", "split", "ids"):
        np.testing.assert_array_equal(getattr(parts, column), getattr(whole, column))
    if whole.weights is not None:
        np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-13)
        assert parts.weights.mean() == pytest.approx(1)


def test_names_are_the_text_of_the_file_and_say_the_sides(tmp_path, monkeypatch):
    monkeypatch.setattr("hae.data.readers.PIECE_BYTES", 8 * 6 * 7)
    table().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "out").mkdir()
    prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}, ("a", "b", "c"), group="walker", id="name"))
    frames = Frames.read(tmp_path / "out" / "frames")
    assert set(frames.trajectory) == {"00", "01", "02", "03", "last"}
    assert frames.frame.tolist() == [i % 50 for i in range(200)] + list(range(100))
    assert frames.ids.tolist() == [f"{i}.0" for i in range(280)] + [f"{i}.5" for i in range(280, ROWS)]  # as one column of numbers reads
    np.testing.assert_array_equal(frames.split, split_rows(frames.trajectory, frames.frame, **RULE))
    np.testing.assert_array_equal(frames.values, table()[["a", "b", "c"]])


def test_a_shuffle_over_parts_moves_rows_between_them(tmp_path, monkeypatch):
    monkeypatch.setattr("hae.data.frames.PART_BYTES", 8 * 3 * 60)
    table().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "out").mkdir()
    prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}, ("a", "b", "c")), shuffle=True)
    frame = Frames.read(tmp_path / "out" / "frames").frame
    assert sorted(frame) == list(range(ROWS))
    assert abs(np.corrcoef(frame, np.arange(ROWS))[0, 1]) < 0.2


def test_faults_name_their_line_wherever_the_piece_begins_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("hae.data.readers.PIECE_BYTES", 8 * 6 * 7)
    (tmp_path / "out").mkdir()
    holed().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(BadInput, match=r"column 'b', row 4 \(line 5\): a missing value \(NaN\), the first in this column"):
        prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}, ("a", "b", "c")))
    wrong = table().astype({"a": object})
    wrong.loc[250, "a"] = "word"
    wrong.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(BadInput, match=r"column 'a', row 251 \(line 252\): 'word' is not a number"):
        prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}, ("a", "b", "c")))
    nothing = table().assign(a=np.nan)
    nothing.to_csv(tmp_path / "t.csv", index=False)
    for missing, words in (("drop", "every row lacks a feature or a label"), ("mean", "a has no value in any training row")):
        with pytest.raises(BadInput, match=words):
            prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}, ("a", "b", "c"), missing=missing))
    pd.DataFrame({"a": [1.0], "b": 1.0}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(BadInput, match="1 row; allowed: 2 rows or more"):
        prepared(tmp_path / "out", Tables({"t": tmp_path / "t.csv"}))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("shuffle", [False, True])
def test_memory_does_not_grow_with_the_rows_of_a_table(tmp_path, monkeypatch, shuffle):
    monkeypatch.setattr("hae.data.readers.PIECE_BYTES", 2**15)
    monkeypatch.setattr("hae.data.frames.NUMBERS_TOGETHER", 2**13)
    peaks = []
    for rows in (3000, 12_000):
        (tmp_path / str(rows)).mkdir()
        values = np.random.default_rng(0).normal(size=(rows, 8))
        pd.DataFrame(values, columns=list("abcdefgh")).assign(run="r").to_parquet(tmp_path / f"{rows}.parquet", row_group_size=500)
        del values
        tracemalloc.start()
        write_tables(Tables({"t": tmp_path / f"{rows}.parquet"}, group="run"), tmp_path / str(rows) / "frames", RULE, shuffle=shuffle,
                     check=lambda sides: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 150_000, peaks  # the rows that were added are 580 kB
