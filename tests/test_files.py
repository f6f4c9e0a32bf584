"""Files written whole, by many at once."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from hae.errors import BadInput
from hae.files import check_writable, write_json, written_whole


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
