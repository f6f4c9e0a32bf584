"""Files written whole, by many at once."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from hae.errors import BadInput
from hae.files import add_line, check_writable, folder_made, newest_lines, write_csv, write_json, written_in_pieces, written_whole


def test_asking_for_a_writable_folder_does_not_race_with_itself(tmp_path):
    """Each asks with a file of its own: two stages of one wave look at the same folder."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: check_writable(tmp_path / "folder"), range(2000)))
    assert list((tmp_path / "folder").iterdir()) == []


def test_writers_side_by_side_leave_one_whole_file(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: write_json(tmp_path / "a.json", {"i": [i] * 200}), range(500)))
    assert len(set(json.loads((tmp_path / "a.json").read_text())["i"])) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "a") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_can_t_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be written"):
        check_writable(tmp_path / "file" / "folder")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_that_comes_in_pieces_is_the_file_that_it_would_be_as_a_whole(tmp_path, ending):
    """Types are those of the whole table, text that a spreadsheet would compute is escaped, and a fault leaves nothing."""
    table = pd.DataFrame({"n": [1, 2, 3.5, 4], "name": ["a", "=b", "c", None], "cv1": np.linspace(0, 1, 4).astype(np.float32)})
    pieces = [table.iloc[:2].astype({"n": int}).reset_index(drop=True), table.iloc[2:].reset_index(drop=True)]
    whole, parts = tmp_path / f"whole{ending}", tmp_path / f"parts{ending}"
    write_csv(whole, table) if ending == ".csv" else table.to_parquet(whole, index=False)
    with written_in_pieces(parts) as add:
        for piece in pieces:
            add(piece)
    if ending == ".csv":
        assert parts.read_bytes() == whole.read_bytes()
    else:
        pd.testing.assert_frame_equal(pd.read_parquet(parts), pd.read_parquet(whole))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError), written_in_pieces(tmp_path / f"other{ending}") as add:
        add(pieces[0])
        raise RuntimeError
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_was_made_in_vain_goes_again_and_one_with_something_in_it_stays(tmp_path):
    with pytest.raises(BadInput, match="in vain"), folder_made(tmp_path / "a" / "b"):
        raise BadInput("in vain")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="in vain"), folder_made(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept").touch()
        raise BadInput("in vain")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
    with folder_made(tmp_path / "c"):
        pass
    assert (tmp_path / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be made"), folder_made(tmp_path / "file" / "c"):
        pass


def test_the_last_lines_are_read_without_those_before(tmp_path, monkeypatch):
    """Looks at wide tables are long lines, and hae serve asks for the last one every ten seconds for months."""
    path = tmp_path / "lines.jsonl"
    monkeypatch.setattr("hae.files.BLOCK", 7)
    assert list(newest_lines(path)) == []
    for number in range(5):
        add_line(path, {"number": number, "words": "ü" * number})
    path.write_bytes(path.read_bytes() + b'{"number": 9')
    add_line(path, {"number": 5})
    assert [entry["number"] for entry in newest_lines(path)] == [5, 4, 3, 2, 1, 0]
    with open(path, "r+b") as file:
        file.write(b"nonsense")
    assert [entry["number"] for entry in newest_lines(path)] == [5, 4, 3, 2, 1]
