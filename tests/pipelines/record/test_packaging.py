"""A registered model: plain files, checked before anything of them runs, and whole without this library."""

import json
import pickletools
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from hae.data.frames import Frames
from hae.errors import BadInput
from hae.network.hierarchy import HierarchicalNetwork
from pipelines import paths
from pipelines.gate.promotion import promote, promote_version, rollback
from pipelines.record import digests, packaging, recording, registry
from pipelines.record.store import Passing, opened
from pipelines.transform import transform


def model_of(store, version: str) -> Path:
    return Path(next(row.source for row in registry.versions(store) if str(row.version) == version).removeprefix("file://"))


def is_pickle(content: bytes) -> bool:
    try:
        return content[:1] == b"\x80" and any(True for _ in pickletools.genops(content))
    except ValueError:
        return False


def test_no_file_of_it_is_a_pickle_and_all_are_on_the_version(recorded):
    store = opened(recorded.folder)
    for row in registry.versions(store):
        folder = model_of(store, str(row.version))
        found = digests.digests(folder)
        assert row.tags[digests.TAG] == digests.to_tag(folder)
        endings = {Path(name).suffix for name in found}
        assert {".safetensors", ".json", ".py"} <= endings <= {".safetensors", ".json", ".py", ".parquet", ".yaml", ".txt", ""}
        assert not any(is_pickle((folder / name).read_bytes()) or zipfile.is_zipfile(folder / name) for name in found)


def test_cvs_are_matched_on_rows_that_count_by_their_weights(recorded, tmp_path, monkeypatch):
    champion, frames = packaging.load(opened(recorded.folder), "1"), recorded.frames()
    frames = replace(frames, weights=np.arange(1.0, len(frames) + 1))
    frames.write(tmp_path / "frames")
    monkeypatch.setattr(packaging, "MATCH_ROWS", 50)
    with mock.patch("hae.network.canonical.match", side_effect=InterruptedError) as match, pytest.raises(InterruptedError):
        packaging.pack(tmp_path, champion.network, tmp_path / "frames", tmp_path, champion, {}, None)
    _, rows, _, _, weights = match.call_args.args
    place = [int(np.flatnonzero((frames.values == row).all(1))[0]) for row in rows.astype(frames.values.dtype)]
    assert len(place) == 50 and weights.tolist() == frames.weights[place].tolist()


def test_ranges_are_of_all_training_rows_and_spreads_count_their_weights(recorded, tmp_path, monkeypatch):
    network, frames = packaging.load(opened(recorded.folder), "1").network, recorded.frames()
    frames = replace(frames, weights=np.random.default_rng(0).exponential(size=len(frames)))
    frames.write(tmp_path / "frames")
    monkeypatch.setattr(packaging, "MATCH_ROWS", 20)
    packaging.pack(tmp_path / "model", network, tmp_path / "frames", recorded.folder / paths.RECIPE, None, {}, None)
    about = json.loads((tmp_path / "model/artifacts/about.json").read_text())
    train = frames.select("train")
    with torch.no_grad():
        cvs = network.encode(torch.from_numpy(train.values.astype(float))).numpy()
    for low, high, rows in (("low", "high", train.values), ("cv_low", "cv_high", cvs)):
        np.testing.assert_allclose([about[low], about[high]], [rows.min(0), rows.max(0)])
    spread = np.sqrt(np.average((cvs - np.average(cvs, axis=0, weights=train.weights)) ** 2, axis=0, weights=train.weights))
    np.testing.assert_allclose(about["cv_std"], spread)


def test_the_spread_of_an_angle_is_that_of_its_point_and_of_what_never_varies_0(tmp_path):
    network = HierarchicalNetwork.mlp(2, ("circular", "linear"), hidden=(4,)).reset(0).double()
    values = np.random.default_rng(0).normal(size=(3000, 2))
    several = Frames(values, ("x", "y"), ("", ""), np.full(3000, ""), np.arange(3000), pd.DataFrame(index=range(3000)),
                     split=np.where(np.arange(3000) % 3, "train", "test"))
    several.write(tmp_path / "several")
    with torch.no_grad():
        cvs = network.encode(torch.from_numpy(several.select("train").values)).numpy()
    want = [np.exp(1j * cvs[:, 0]).std(), cvs[:, 1].std()]
    np.testing.assert_allclose(packaging._ranges(network, tmp_path / "several")["cv_std"], want)
    replace(several, values=np.tile([1e3, 0.1], (3000, 1))).write(tmp_path / "one")
    assert packaging._ranges(network, tmp_path / "one")["cv_std"] == [0, 0]


def test_it_is_built_by_the_code_that_it_carries(recorded):
    """Its own package, named by its content, beside the library's and not in its place."""
    loaded = packaging.load(opened(recorded.folder), "1")
    module = type(loaded.network).__module__
    assert module == f"{loaded.about['code']}.network.hierarchy" and loaded.about["code"].startswith("hae_")
    from hae.network.hierarchy import HierarchicalNetwork

    assert not isinstance(loaded.network, HierarchicalNetwork)
    values = recorded.frames().values.astype(float)
    assert (loaded.encode(values) == loaded.program(values)[0]).all()


def append(line: str):
    def change(path: Path, marker: Path) -> None:
        path.write_text(path.read_text() + line.format(marker=marker))

    return change


def flip(path: Path, marker: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def remove(path: Path, marker: Path) -> None:
    path.unlink()


RUN = "\nopen('{marker}', 'w')\n"
FAULTS = [
    ("code/*/network/weights.py", append(RUN), "has changed"),
    ("code/*/__init__.py", append(RUN), "has changed"),
    ("pyfunc.py", append(RUN), "has changed"),
    ("MLmodel", append("\n# more\n"), "has changed"),
    ("artifacts/about.json", append(" "), "has changed"),
    ("artifacts/weights.safetensors", flip, "has changed"),
    ("artifacts/recipe.json", remove, "is missing"),
]


@pytest.fixture(scope="module")
def two_versions(recorded, trained_folder, tmp_path_factory):
    """A project with versions 1 and 2, both once champion; 2 is it now."""
    folder = tmp_path_factory.mktemp("poisoned") / "project"
    shutil.copytree(trained_folder, folder)
    project = type(recorded)(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(packaging, "check", lambda store, version: "")
        recording.record(folder, project.facts(), "first")
        promote_version(folder, "1")
        promote_version(folder, "2")
    return project


@pytest.mark.parametrize(("pattern", "change", "word"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_byte_changed_is_refused_before_anything_runs(two_versions, tmp_path, monkeypatch, pattern, change, word):
    """By transform, promote, rollback and the gate, each in one line that names the file."""
    monkeypatch.chdir(two_versions.folder)
    store, marker = opened(two_versions.folder), tmp_path / "marker"
    path = next(model_of(store, "1").glob(pattern))
    before, table = path.read_bytes(), tmp_path / "table.csv"
    two_versions.table().to_csv(table, index=False)
    change(path, marker)
    try:
        for act in (
            lambda: transform(two_versions.folder, [table], tmp_path / "cvs.csv", version="1"),
            lambda: promote_version(two_versions.folder, "1"),
            lambda: rollback(two_versions.folder),  # back to version 1
        ):
            with pytest.raises(BadInput, match=word) as caught:
                act()
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(Passing, match=word):
            packaging.check(store, "1")  # what the gate asks of a candidate
        assert registry.champion(store).version == "2"
    finally:
        path.write_bytes(before)
    assert not marker.exists()
    transform(two_versions.folder, [table], tmp_path / "cvs.csv", version="1")
    assert list(pd.read_csv(tmp_path / "cvs.csv").columns[-2:]) == ["cv1", "cv2"]


def test_a_file_that_came_later_is_refused_and_a_cache_of_python_is_never_read(two_versions, tmp_path, monkeypatch):
    monkeypatch.chdir(two_versions.folder)
    store = opened(two_versions.folder)
    folder = model_of(store, "1")
    cache = next(folder.glob("code/*/network")) / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "weights.cpython-311.pyc").write_bytes(b"anything")
    (folder / "registered_model_meta").write_text("what MLflow writes into a model that it loads where it lies")
    packaging.load(store, "1")
    assert packaging.intact(store, store.client.get_model_version(store.name, "1"))
    new = folder / "code" / "sitecustomize.py"
    new.write_text(f"open('{tmp_path / 'marker'}', 'w')")
    try:
        with pytest.raises(BadInput, match=r"sitecustomize\.py was not there"):
            packaging.load(store, "1")
    finally:
        new.unlink()
    assert not (tmp_path / "marker").exists()


def test_a_version_without_digests_is_not_run(two_versions, monkeypatch):
    monkeypatch.chdir(two_versions.folder)
    store = opened(two_versions.folder)
    tag = store.client.get_model_version(store.name, "1").tags[digests.TAG]
    store.client.delete_model_version_tag(store.name, "1", digests.TAG)
    try:
        with pytest.raises(BadInput, match="no digests of its files"):
            packaging.load(store, "1")
    finally:
        store.client.set_model_version_tag(store.name, "1", digests.TAG, tag)


def test_a_poisoned_champion_is_refused_by_the_gate(trained, monkeypatch):
    """The next retraining compares with it: nothing of it runs, and the candidate is not crowned over it unseen."""
    recording.record(trained.folder, trained.facts("collective"), "first")
    with monkeypatch.context() as patch:
        patch.setattr(packaging, "check", lambda store, version: "")
        promote(trained.folder, trained.facts("collective"))
    store, marker = opened(trained.folder), trained.folder / "marker"
    path = next(model_of(store, "1").glob("code/*/network/hierarchy.py"))
    append(RUN)(path, marker)
    trained.change("train", "collective", random_state=1)  # the files of models/ serve: nothing else is asked of the candidate
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "second")
    promote(trained.folder, facts)
    assert not marker.exists() and registry.champion(store).version == "1"


def test_a_record_whose_files_are_gone_is_made_whole_again(trained, monkeypatch):
    """models/ is intact, so nothing is trained; the champion stays and loads."""
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "first")
    with monkeypatch.context() as patch:
        patch.setattr(packaging, "check", lambda store, version: "")
        promote(trained.folder, facts)
    store, values = opened(trained.folder), trained.frames().values.astype(float)
    before = packaging.load(store, "1").encode(values)
    assert recording.complete(trained.folder, facts)

    def one_file():
        (model_of(store, "1") / "artifacts/weights.safetensors").unlink()

    def all_of_them():
        shutil.rmtree(trained.folder / ".hae/artifacts")

    for lose in (one_file, all_of_them):
        lose()
        assert not recording.complete(trained.folder, facts)
        records = recording.record(trained.folder, facts, lose.__name__)
        assert records.added and records.versions == {"collective": "1"} and recording.complete(trained.folder, facts)
        assert (packaging.load(store, "1").encode(values) == before).all() and registry.champion(store).version == "1"
    assert packaging.check(store, "1") == ""
