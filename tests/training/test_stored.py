"""Data larger than memory: the same rows, the same figures, and no more memory for more rows."""

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from generators import torus

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.errors import BadInput
from hae.memory import memory_limit
from hae.network.scoring import score_frames
from hae.training.stored import READ_ROWS, StoredFrames, rows_bytes, store

SETTINGS = {
    "n_cvs": 2,
    "hidden": (16, 16),
    "cv": "circular",
    "n_seeds": 2,
    "batch_size": 256,
    "max_epochs": 12,
    "learning_rate": 1e-2,
    "device": "cpu",
}


def frames_of(values: np.ndarray, weights=None) -> Frames:
    n, d = values.shape
    frame = np.arange(n)
    trajectory = np.full(n, "walk")
    split = split_rows(trajectory, frame, block_frames=100, gap_frames=1, shares=(0.7, 0.15, 0.15))
    names = tuple(f"x{i}" for i in range(d))
    return Frames(values, names, ("",) * d, trajectory, frame, pd.DataFrame(index=range(n)), weights=weights, split=split)


@pytest.fixture(scope="module")
def frames():
    values = torus(20_000)
    values = values[np.lexsort((values[:, 2], values[:, 0]))] + 3.0  # neighbours are alike, as in a trajectory
    return frames_of(values, np.random.default_rng(0).uniform(0.5, 1.5, len(values)))


@pytest.fixture(scope="module")
def file(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "frames"
    frames.write(path)
    return path


def rows_of(file, folder, pool_bytes):
    stored, moments, *_ = store(file, folder, pool_bytes)
    mean, scale = moments.standard("feature")
    return stored["train"].standardise(mean, scale, moments.total / len(stored["train"]), torch.device("cpu"))


def test_one_pass_finds_mean_spread_and_rows(frames, file, tmp_path):
    assert len(frames) > READ_ROWS  # more than one part
    stored, moments, _, names, _ = store(file, tmp_path, 10_000)
    train = frames.select("train")
    mean = np.average(train.values, axis=0, weights=train.weights)
    variance = np.average((train.values - mean) ** 2, axis=0, weights=train.weights)
    found = moments.standard("feature")
    np.testing.assert_allclose(found[0], mean, rtol=1e-12)
    np.testing.assert_allclose(found[1], np.sqrt(variance), rtol=1e-12)
    np.testing.assert_allclose(moments.standard("global")[1], np.sqrt(variance.mean()), rtol=1e-12)
    assert names == frames.features
    assert {side: len(rows) for side, rows in stored.items()} == {side: len(frames.select(side)) for side in ("train", "validation")}


def test_an_epoch_shows_each_row_at_most_once_from_all_over_the_file(frames, file, tmp_path):
    rows = rows_of(file, tmp_path, 40_000)
    train = frames.select("train")
    scale = rows.scale
    batches = list(rows.batches([1, 2], 0, 128))
    assert len(batches) == len(train) // 128
    assert all(batch.inputs.shape == (2, 128, 4) and batch.weights.shape == (2, 128) for batch in batches)
    for m in range(2):
        seen = torch.cat([batch.inputs[m] for batch in batches]).numpy() * scale + rows.shift + rows.offset
        place = np.searchsorted(train.values[:, 0], seen[:, 0] - 1e-5)
        assert len(np.unique(seen.round(5), axis=0)) == len(seen)
        spread = [np.ptp(part) / len(train) for part in np.split(place, len(batches))]
        assert np.mean(spread) > 0.7  # a batch is not one stretch of the file
    assert not torch.equal(batches[0].inputs[0], batches[0].inputs[1])
    assert torch.equal(batches[0].inputs, next(rows.batches([1, 2], 0, 128)).inputs)
    assert torch.equal(batches[0].inputs[1], next(rows.batches([2], 0, 128)).inputs[0])  # in a stack as alone
    assert not torch.equal(batches[0].inputs, next(rows.batches([1, 2], 1, 128)).inputs)


@pytest.mark.parametrize("batch_size", [100, 128, 333, 1000])
@pytest.mark.parametrize("pool_bytes", [10_000, 25_000, 40_000])
def test_all_batches_are_full_whatever_is_left_for_the_last_pool(file, tmp_path, pool_bytes, batch_size):
    rows = rows_of(file, tmp_path, pool_bytes)
    sizes = [batch.inputs.shape[1] for batch in rows.batches([1], 0, batch_size)]
    assert sizes == [batch_size] * (len(rows) // batch_size)


def test_chunks_are_all_rows_in_order(frames, file, tmp_path):
    rows = rows_of(file, tmp_path, 40_000)
    train = frames.select("train")
    parts = list(rows.chunks(700))
    raw = torch.cat([part.inputs[0] for part in parts]).numpy() * rows.scale + rows.shift + rows.offset
    np.testing.assert_allclose(raw, train.values, atol=1e-5)
    weights = torch.cat([part.weights[0] for part in parts])
    np.testing.assert_allclose(weights, train.weights / train.weights.mean(), rtol=1e-5)


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_rows_four_times_the_limit_give_the_same_fve(frames, file, tmp_path, variant):
    whole = HierarchicalAutoencoder(variant=variant, **SETTINGS)
    whole.fit(frames.values, groups=frames.trajectory, frame=frames.frame, split=frames.split, sample_weight=frames.weights)
    limit = rows_bytes(file) // 4
    model = HierarchicalAutoencoder(variant=variant, **SETTINGS)
    told = []
    model.fit(StoredFrames(file, tmp_path / "rows", limit), checkpoints=tmp_path / "checkpoints", on_epoch=told.extend)
    np.testing.assert_allclose(model.validation_fve_, whole.validation_fve_, atol=0.005)
    held_out = frames.select("test")
    assert model.score(held_out.values) == pytest.approx(whole.score(held_out.values), abs=0.005)
    assert {row["epoch"] for row in told} == set(range(1, 13))
    assert not list((tmp_path / "rows").iterdir()) and not list((tmp_path / "checkpoints").glob("*"))
    model.save(tmp_path / "model")
    loaded = HierarchicalAutoencoder.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(held_out.values), model.transform(held_out.values))


def test_a_file_without_training_rows_is_said_and_leaves_nothing(tmp_path):
    frames = frames_of(np.random.default_rng(0).normal(size=(2000, 3)))
    replace(frames, split=np.full(2000, "validation")).write(tmp_path / "frames")
    with pytest.raises(BadInput, match=r"frames: no training rows; allowed: data with rows of the side train"):
        HierarchicalAutoencoder().fit(StoredFrames(tmp_path / "frames", tmp_path / "rows"))
    assert not list((tmp_path / "rows").iterdir())


def test_a_further_metric_counts_for_rows_in_a_file_too(frames, file, tmp_path):
    settings = {**SETTINGS, "cv": "linear", "n_seeds": 1, "feature_weights": [0.01, 0.01, 0.01, 100.0]}
    stored = HierarchicalAutoencoder(**settings).fit(StoredFrames(file, tmp_path / "rows", limit=rows_bytes(file) // 4))
    validation = frames.select("validation")
    expected = score_frames(stored.network_, validation.values, root=stored.metric_root_, weights=validation.weights).fve
    np.testing.assert_allclose(stored.validation_fve_, expected, atol=1e-5)
    assert stored.validation_fve_[0] > 0.95


PEAK = """
import sys
import torch
torch.set_num_threads(1)
from hae import HierarchicalAutoencoder
from hae.training.stored import StoredFrames
model = HierarchicalAutoencoder(n_cvs=2, hidden=(4,), n_seeds=1, max_epochs=1, device="cpu", batch_size=4096)
model.fit(StoredFrames(sys.argv[1], sys.argv[2], limit=int(sys.argv[3])))
print(next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_peak_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    peak, limit = {}, 4_000_000
    for n in (66_000, 528_000):  # two and sixteen times the limit
        path = tmp_path / f"{n}.parquet"
        frames_of(np.random.default_rng(0).normal(size=(n, 30)).astype(np.float32)).write(path)
        assert rows_bytes(path) == 4 * 30 * n
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / "rows"), str(limit)]
        peak[n] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # From run to run the peak differs by up to 10 MB; the rows that were added are 55 MB.
    assert peak[528_000] - peak[66_000] < 0.4 * (rows_bytes(path) - 4 * 30 * 66_000)


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("3K", 3072), ("2M", 2**21), ("1G", 2**30)])
def test_the_limit_is_said_in_bytes_or_larger_units(text, size, monkeypatch):
    monkeypatch.setenv("HAE_MEMORY_LIMIT", text)
    assert memory_limit() == size


@pytest.mark.parametrize("text", ["much", "-3G", "1.5G", "0", "G"])
def test_what_is_no_limit_is_said_in_a_line(text, monkeypatch):
    monkeypatch.setenv("HAE_MEMORY_LIMIT", text)
    with pytest.raises(BadInput, match=r"HAE_MEMORY_LIMIT: .* is not allowed; a whole number of bytes"):
        memory_limit()


def test_what_needs_all_rows_is_refused(file, tmp_path):
    with pytest.raises(BadInput, match="n_cvs: auto is not allowed for rows that stay in files"):
        HierarchicalAutoencoder(n_cvs="auto").fit(StoredFrames(file, tmp_path))
    with pytest.raises(BadInput, match="lag: 3 is not allowed for rows that stay in files; allowed: 0"):
        HierarchicalAutoencoder(lag=3).fit(StoredFrames(file, tmp_path))
    with pytest.raises(BadInput, match="split: not allowed beside rows that stay in files"):
        HierarchicalAutoencoder().fit(StoredFrames(file, tmp_path), split=np.full(3, "train"))


@pytest.mark.parametrize("spread", [1e-13, 0.0])
def test_rows_that_change_by_rounding_alone_have_an_fve_of_zero(tmp_path, spread):
    """And the same words as in memory: none for a column of one value."""
    frames = frames_of(1 + spread * np.random.default_rng(0).normal(size=(2000, 3)))
    frames.write(tmp_path / "frames")
    said = {}
    for place, rows, options in (("file", StoredFrames(tmp_path / "frames", tmp_path / "rows"), {}),
                                 ("memory", frames.values, {"split": frames.split})):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = HierarchicalAutoencoder(**SETTINGS | {"max_epochs": 1}).fit(rows, **options)
        assert (model.validation_fve_ == 0).all() and (model.train_fve_ == 0).all()
        said[place] = {str(warning.message) for warning in caught}
    expected = {"columns [0, 1, 2]: they change by rounding alone, count as constant, and nothing of them is explained"}
    assert said["file"] == said["memory"] == (expected if spread else set())


def test_rows_in_a_file_can_have_smooth_cvs_and_a_linear_path(frames, file, tmp_path):
    """The path starts where that of the rows in memory does."""
    settings = SETTINGS | {"cv": "linear", "smooth": 1.0, "linear_path": True, "max_epochs": 1, "learning_rate": 1e-9, "n_seeds": 1}
    stored = HierarchicalAutoencoder(**settings).fit(StoredFrames(file, tmp_path / "rows"))
    whole = {"groups": frames.trajectory, "split": frames.split, "sample_weight": frames.weights}
    rows = HierarchicalAutoencoder(**settings).fit(frames.values, **whole)
    torch.testing.assert_close(stored.network_.encoder.path, rows.network_.encoder.path, atol=0.05, rtol=0)


def test_weights_of_the_validation_rows_are_about_one_too(tmp_path):
    """As in memory: or the validation errors of a run are off by how much heavier those rows are."""
    frames = frames_of(torus(3000))
    frames = replace(frames, weights=np.where(frames.split == "validation", 3.0, 1.0))
    frames.write(tmp_path / "frames")
    model = HierarchicalAutoencoder(**SETTINGS | {"n_seeds": 1, "max_epochs": 1})
    source = StoredFrames(tmp_path / "frames", tmp_path / "rows", 2**22)
    model.fit(source)
    found = model.history_[["validation_error_1", "validation_error_2"]].to_numpy()[-1]
    rows = frames.select("validation").values
    truth = score_frames(model.network_, rows)
    np.testing.assert_allclose(found, truth.e.mean(1), rtol=1e-4)


def test_a_sample_of_a_pool_of_a_few_rows_is_not_empty(file, tmp_path):
    rows, weights = rows_of(file, tmp_path, pool_bytes=20 * 5 * 4).sample(1000)
    assert rows.shape == (20, 4) and weights.shape == (20,)
