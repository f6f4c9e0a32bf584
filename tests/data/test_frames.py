"""Frames: the split by blocks, and what is written is what is read."""

import os

import numpy as np
import pandas as pd
import pytest

from hae.data.frames import Frames, concatenate, constant, read_parts, read_pieces
from hae.data.parts import Manifest
from hae.data.split import split_rows
from hae.errors import BadInput

RULE = {"block_frames": 50, "gap_frames": 5, "shares": (0.5, 0.2, 0.3)}


def walkers(*lengths):
    """Names and frame numbers of trajectories of these lengths."""
    names = np.concatenate([np.full(length, f"walker-{i}") for i, length in enumerate(lengths)])
    return names, np.concatenate([np.arange(length) for length in lengths])


def small(n=40, dtype=np.float32, **more):
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"phi": rng.uniform(-3, 3, n), "a": rng.normal(size=n)})
    return Frames(
        values=rng.normal(size=(n, 3)).astype(dtype),
        features=("a", "b_x", "ψ"),
        units=("nm", "", "nm"),
        trajectory=np.repeat(["left", "right"], n // 2),
        frame=np.tile(np.arange(n // 2), 2),
        labels=labels,
        label_units=("rad", ""),
        label_periods=(2 * np.pi, None),
        **more,
    )


def test_a_block_has_one_side_and_sides_keep_their_distance():
    name, frame = walkers(1000, 1000)
    side = split_rows(name, frame, **RULE)
    for walker in ("walker-0", "walker-1"):
        rows = side[name == walker].reshape(-1, 50)
        assert all(len(set(block[5:-5])) == 1 and "gap" not in block[5:-5] for block in rows)
        assert np.all(rows[:, :5] == "gap") and np.all(rows[:, -5:] == "gap")
        used = [np.flatnonzero(side[name == walker] == s) for s in ("train", "test")]
        assert np.abs(used[0][:, None] - used[1]).min() > 2 * RULE["gap_frames"]


def test_no_frame_changes_sides_when_data_grow():
    name, frame = walkers(730, 410)
    longer_name, longer_frame = walkers(2000, 900, 500)
    before = dict(zip(zip(name, frame, strict=True), split_rows(name, frame, **RULE), strict=True))
    after = dict(zip(zip(longer_name, longer_frame, strict=True), split_rows(longer_name, longer_frame, **RULE), strict=True))
    assert all(after[key] == side for key, side in before.items())


def test_shares_are_reached_with_many_blocks_and_the_salt_moves_blocks():
    name, frame = walkers(*[5000] * 20)
    side = split_rows(name, frame, **RULE)
    kept = side[side != "gap"]
    for wanted, expected in zip(("train", "validation", "test"), RULE["shares"], strict=True):
        assert np.mean(kept == wanted) == pytest.approx(expected, abs=0.05)
    other = split_rows(name, frame, **RULE, salt="another")
    assert 0.3 < np.mean(other[side != "gap"] != kept) < 0.9


def test_rows_without_a_trajectory_go_by_id_or_else_by_value():
    values = np.random.default_rng(1).normal(size=(400, 4))
    nowhere, frame = np.full(400, ""), np.arange(400)
    side = split_rows(nowhere, frame, **RULE, values=values)
    assert "gap" not in side and np.mean(side == "train") == pytest.approx(0.5, abs=0.1)
    order = np.random.default_rng(2).permutation(400)
    assert np.array_equal(split_rows(nowhere, frame, **RULE, values=values[order]), side[order])
    values[7] = values[300]
    values[300, 0] = values[7, 0] = 0.0
    values[7, 0] = -0.0
    again = split_rows(nowhere, frame, **RULE, values=values)
    assert again[7] == again[300], "equal rows on two sides would leak"
    ids = np.repeat(np.arange(100), 4)
    by_id = split_rows(nowhere, frame, **RULE, values=values, ids=ids).reshape(100, 4)
    assert np.all(by_id == by_id[:, :1])


@pytest.mark.parametrize(
    "wrong",
    [{"shares": (0.5, 0.2, 0.2)}, {"shares": (1.2, -0.2, 0)}, {"shares": (0.5, 0.5)}, {"gap_frames": 25}, {"gap_frames": -1}],
)
def test_a_split_that_cannot_be_is_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong)) + "|block_frames"):
        split_rows(*walkers(100), **{**RULE, **wrong})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_written_and_read_are_the_same(tmp_path, dtype):
    frames = small(dtype=dtype, weights=np.linspace(1, 2, 40), split=np.repeat(["train", "test"], 20))
    manifest = frames.write(tmp_path / "new folder" / "frames")
    again = Frames.read(tmp_path / "new folder" / "frames")
    assert again.values.dtype == dtype
    for name in ("values", "trajectory", "frame", "weights", "split"):
        assert np.array_equal(getattr(again, name), getattr(frames, name)), name
    for name in ("features", "units", "label_units", "label_periods"):
        assert getattr(again, name) == getattr(frames, name), name
    pd.testing.assert_frame_equal(again.labels, frames.labels)
    assert os.listdir(tmp_path / "new folder") == ["frames"]
    assert sorted(os.listdir(tmp_path / "new folder" / "frames")) == ["manifest.json", manifest.parts[0].file]
    assert Manifest.read(tmp_path / "new folder" / "frames") == manifest and manifest.rows == 40


def test_the_same_frames_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        small().write(tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and len(one) == 2


def test_tables_are_cut_in_parts_and_rows_are_the_same_whole_by_part_and_in_pieces(tmp_path, monkeypatch):
    split = np.where(np.arange(40) % 3 == 0, "validation", "train")
    frames = small(weights=np.linspace(1, 2, 40), split=split)
    monkeypatch.setattr("hae.data.frames.PART_BYTES", 7 * 3 * 4)  # of 7 rows
    manifest = frames.write(tmp_path / "frames", {"block_frames": 7})
    assert [part.rows for part in manifest.parts] == [7, 7, 7, 7, 7, 5] and manifest.split == {"block_frames": 7}
    assert manifest.sides == {**dict.fromkeys(("test", "gap"), 0), "train": 26, "validation": 14} == frames.counts()
    for again in (Frames.read(tmp_path / "frames"), concatenate(list(read_pieces(tmp_path / "frames", 3)))):
        for name in ("values", "trajectory", "frame", "weights", "split"):
            assert np.array_equal(getattr(again, name), getattr(frames, name)), name
        pd.testing.assert_frame_equal(again.labels, frames.labels)
    assert max(len(piece) for piece in read_pieces(tmp_path / "frames", 3)) == 3
    assert [len(part) for _, part in read_parts(tmp_path / "frames")] == [7, 7, 7, 7, 7, 5]


def test_a_data_set_changes_in_one_move_and_keeps_no_part_that_nobody_names(tmp_path, monkeypatch):
    small().write(tmp_path / "frames")
    before = {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    other = small().select(np.arange(30))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "to_json", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))  # killed before the manifest
        other.write(tmp_path / "frames")
    assert len(Frames.read(tmp_path / "frames")) == 40
    assert before.items() <= {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}.items()
    manifest = other.write(tmp_path / "frames")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["manifest.json", manifest.parts[0].file]
    assert len(Frames.read(tmp_path / "frames")) == 30


def test_frames_without_labels_weights_or_split(tmp_path):
    frames = small()
    bare = Frames(frames.values, frames.features, frames.units, frames.trajectory, frames.frame, pd.DataFrame(index=range(40)))
    bare.write(tmp_path / "bare")
    again = Frames.read(tmp_path / "bare")
    assert again.labels.shape == (40, 0) and again.weights is None and again.split is None


def test_select_takes_the_same_rows_of_everything():
    frames = small(weights=np.arange(1.0, 41), split=np.where(np.arange(40) % 3 == 0, "test", "train"))
    test = frames.select("test")
    assert len(test) == 14 and np.array_equal(test.weights, np.arange(1.0, 41, 3))
    assert np.array_equal(test.labels["phi"], frames.labels["phi"][::3]) and list(test.labels.index) == list(range(14))
    assert np.array_equal(frames.select(np.arange(0, 40, 3)).values, test.values)
    both = concatenate([test, frames.select("train")])
    assert len(both) == 40 and sorted(both.weights) == sorted(frames.weights)


def test_constant_features_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("hae.data.frames.PART_BYTES", 7 * 3 * 4)
    frames = small()
    frames.values[:, 1] = 3.5
    frames.values[:7, 2] = 1.0  # in one part alone
    frames.write(tmp_path / "frames")
    assert constant(tmp_path / "frames") == ("b_x",)


def test_reading_what_is_not_there_or_not_frames(tmp_path):
    with pytest.raises(BadInput, match=r"nothing: no data there; allowed: a folder that the stage prepare wrote"):
        Frames.read(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BadInput, match=r"text: no data there"):
        Frames.read(tmp_path / "text")
    manifest = small().write(tmp_path / "frames")
    part = tmp_path / "frames" / manifest.parts[0].file
    small().select(np.arange(3)).write(tmp_path / "other")
    other = next((tmp_path / "other").glob("*.parquet")).read_bytes()
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "foreign.parquet")
    for content, words in ((b"hello", "not a part that"), ((tmp_path / "foreign.parquet").read_bytes(), "not a part that"),
                           (other, "not the part that")):
        part.write_bytes(content)
        with pytest.raises(BadInput, match=f"{part.name}: {words}") as told:
            Frames.read(tmp_path / "frames")
        assert "\n" not in str(told.value)
    part.unlink()
    with pytest.raises(BadInput, match=f"{part.name}: no such file, and manifest.json names it"):
        list(read_pieces(tmp_path / "frames"))
    for text in ("{", "[]", '{"parts": []}'):
        (tmp_path / "frames" / "manifest.json").write_text(text)
        with pytest.raises(BadInput, match=r"manifest.json: not a manifest that the stage prepare wrote"):
            Frames.read(tmp_path / "frames")


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("here before")
    with pytest.raises(BadInput, match="can't be written"):
        small().write(tmp_path / "file" / "frames")
    assert (tmp_path / "file").read_text() == "here before"
