"""Stage prepare: from files to parts, a manifest and recipe.json, by params.yaml."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from raylets import raylets
from ruamel.yaml import YAML
from waiting import wait_until

from hae.data import making
from hae.data.frames import Frames
from hae.data.jacobian import featurise
from hae.data.molecules import Recipe
from hae.data.parts import Manifest, read_positions
from hae.data.patterns import find_files
from hae.data.trajectories import load_structure
from hae.errors import BadInput
from pipelines.stages.prepare import prepare

mdtraj = pytest.importorskip("mdtraj")
ROOT = Path(__file__).parents[3]
PDB = ROOT / "pipelines" / "stages" / "alanine-dipeptide.pdb"
PREPARED = ["frames", "recipe.json"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with two short trajectories; called with changes of the section prepare, it writes params.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    structure = load_structure(PDB)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    structure.save(str(raw / "topology.pdb"))
    rng = np.random.default_rng(0)
    for i, frames in enumerate((600, 400)):
        xyz = structure.xyz[0] + rng.normal(scale=0.01, size=(frames, 22, 3))
        mdtraj.Trajectory(xyz.astype(np.float32), structure.topology).save(str(raw / f"walker-{i}.dcd"))

    def write(split=None, **changes):
        yaml = YAML(typ="safe", pure=True)
        content = yaml.load((ROOT / "params.yaml").read_text())
        content["prepare"].update(changes)
        content["prepare"]["split"].update({"block_frames": 20, "gap_frames": 2, **(split or {})})
        with open(tmp_path / "params.yaml", "w") as file:
            yaml.dump(content, file)

    write()
    return write


def read() -> tuple[Frames, Recipe]:
    return Frames.read("data/prepared/frames"), Recipe.from_json(Path("data/prepared/recipe.json").read_text())


def contents() -> dict[str, bytes]:
    """All that was prepared."""
    assert sorted(os.listdir("data/prepared")) == PREPARED
    return {str(path): path.read_bytes() for path in Path("data/prepared").rglob("*") if path.is_file()}


def test_trajectories_become_frames_and_a_recipe(project, capsys):
    prepare()
    frames, recipe = read()
    manifest = Manifest.read("data/prepared/frames")
    assert [part.name for part in manifest.parts] == ["walker-0", "walker-1"] and [part.rows for part in manifest.parts] == [600, 400]
    assert set(contents()) == {"data/prepared/recipe.json", "data/prepared/frames/manifest.json",
                               *(f"data/prepared/frames/{part.file}" for part in manifest.parts)}
    assert manifest.split["block_frames"] == 20 and not Path(".hae/parts").exists()
    assert len(frames) == 1000 and frames.n_features == 30 and frames.units == ("nm",) * 30
    assert list(frames.labels.columns) == ["phi", "psi"] and frames.label_units == ("rad", "rad")
    assert set(frames.trajectory) == {"walker-0", "walker-1"} and frames.features == recipe.names
    counts = frames.counts()
    assert counts["gap"] == 200 and all(counts[side] > 0 for side in ("train", "validation", "test"))
    told = capsys.readouterr().out
    for words in ("1000 frames of 2 trajectories", "30 features (coordinates, nm)", "phi, psi", f"test {counts['test']}"):
        assert words in told


def test_the_same_data_and_params_give_the_same_bytes(project):
    prepare()
    before = contents()
    prepare()
    assert contents() == before
    shutil.rmtree("data/prepared")
    prepare()
    assert contents() == before


def worked_on(monkeypatch) -> list[str]:
    """The trajectories that are read from now on, in a list that grows."""
    read, real = [], making.frames_of
    monkeypatch.setattr(making, "frames_of", lambda recipe, files, *more, **said: read.extend(files) or real(recipe, files, *more, **said))
    return read


def test_what_did_not_change_is_not_read_again(project, monkeypatch):
    prepare()
    before = contents()
    read = worked_on(monkeypatch)
    prepare()
    assert read == [] and contents() == before
    mdtraj.load("data/raw/walker-0.dcd", top=str(PDB)).save("data/raw/walker-2.dcd")
    prepare()
    assert read == ["walker-2"] and before.keys() < contents().keys()
    part = Path("data/prepared/frames", Manifest.read("data/prepared/frames").parts[1].file)
    part.write_bytes(part.read_bytes()[:-1])  # damaged
    prepare()
    assert read == ["walker-2", "walker-1"] and contents()[str(part)] == before[str(part)]
    mdtraj.load("data/raw/walker-0.dcd", top=str(PDB))[:300].save("data/raw/walker-0.dcd")  # another content of the same name
    prepare()
    assert read[2:] == ["walker-0"] and [part.rows for part in Manifest.read("data/prepared/frames").parts] == [300, 400, 600]
    Path("data/raw/walker-2.dcd").unlink()
    prepare()
    assert len(read) == 3 and len(contents()) == 4
    project(split={"salt": "another"})
    prepare()
    assert read[3:] == ["walker-0", "walker-1"]
    project(split={"salt": "another"}, labels=[])
    prepare()
    assert read[5:] == ["walker-0", "walker-1"]


def test_what_was_made_before_a_fault_is_taken_up_and_nothing_of_it_is_seen_till_all_is_there(project, monkeypatch):
    mdtraj.load("data/raw/walker-0.dcd", top=str(PDB)).save("data/raw/walker-2.xtc")
    project(trajectories=["data/raw/*.dcd", "data/raw/*.xtc"])
    cut = Path("data/raw/walker-2.xtc")
    kept = cut.read_bytes()
    cut.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(BadInput, match=r"walker-2.xtc"):
        prepare()
    assert not Path("data/prepared").exists()
    cut.write_bytes(kept)
    read = worked_on(monkeypatch)
    prepare()
    assert read == ["walker-2"] and len(Manifest.read("data/prepared/frames").parts) == 3


@pytest.mark.acceptance
def test_two_processes_and_ray_make_the_bytes_of_one(project, monkeypatch, tmp_path):
    prepare()
    before = contents()
    monkeypatch.setattr("hae.engine.ALONE_SECONDS", 0)
    monkeypatch.setenv("HAE_THREADS", "2")
    for engine in ("local", "ray"):
        if engine == "ray" and importlib.util.find_spec("ray") is None:
            pytest.skip("Ray is not installed here (pip install 'hae[ray]')")
        monkeypatch.setenv("HAE_ENGINE", engine)
        shutil.rmtree("data/prepared")
        prepare()
        assert contents() == before, engine


def test_a_new_trajectory_moves_no_frame_to_another_side(project):
    prepare()
    before, _ = read()
    walker = mdtraj.load("data/raw/walker-0.dcd", top=str(PDB))
    walker.save("data/raw/walker-00.dcd")
    mdtraj.join([mdtraj.load("data/raw/walker-1.dcd", top=str(PDB)), walker]).save("data/raw/walker-1.dcd")
    prepare()
    after, _ = read()
    assert len(after) == 2200
    sides = dict(zip(zip(after.trajectory, after.frame, strict=True), after.split, strict=True))
    assert [sides[key] for key in zip(before.trajectory, before.frame, strict=True)] == before.split.tolist()


@pytest.mark.parametrize(("kind", "features"), [("distances", 45), ("torsions", 4)])
def test_other_features_of_molecules(project, kind, features):
    project(features=kind, labels=[])
    prepare()
    frames, recipe = read()
    assert frames.n_features == features and frames.labels.shape == (1000, 0)
    positions = read_positions("data/prepared/frames")  # of the test rows, which the features do not hold
    np.testing.assert_allclose(featurise(recipe, positions)[0], frames.select("test").values, atol=1e-5)
    project()
    prepare()
    assert sorted(os.listdir("data/prepared")) == PREPARED


def test_tables(project, capsys):
    rng = np.random.default_rng(1)
    for i in range(2):
        table = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "angle"])
        table["same"] = 1.5
        table.to_csv(f"data/raw/run-{i}.csv", index=False)
    tables = {"features": "columns", "topology": None, "trajectories": ["data/raw/run-*.csv"], "labels": ["angle"]}
    project(**tables, units={"a": "nm"}, periods={"angle": 6.25})
    prepare()
    frames, recipe = read()
    assert len(frames) == 600 and frames.values.dtype == np.float64 and frames.features == ("a", "b", "same")
    assert frames.label_periods == (6.25,) and set(frames.trajectory) == {""} and frames.counts()["gap"] == 0
    assert recipe.kind == "columns" and "constant features, which are kept and carry no information: same" in capsys.readouterr().out
    project(**tables, group="<file>")
    prepare()
    frames, _ = read()
    assert set(frames.trajectory) == {"run-0", "run-1"} and frames.counts()["gap"] == 120


def test_what_a_prepare_of_tables_left_when_it_was_killed_goes_with_the_next_one(project, tmp_path):
    """It is as large as the data."""
    pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)), columns=list("abc")).to_csv("data/raw/table.csv", index=False)
    project(trajectories=["data/raw/table.csv"], topology=None, features="columns", labels=[])
    code = ("import os, signal, pyarrow.parquet; from pipelines.stages.prepare import prepare; "
            "pyarrow.parquet.ParquetWriter.write_table = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL); prepare()")
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == -9
    assert [path for path in Path("data/prepared").iterdir() if path.name.startswith(".frames.")]
    prepare()
    assert sorted(path.name for path in Path("data/prepared").iterdir()) == PREPARED


def test_a_file_is_named_by_its_path_behind_the_fixed_part(tmp_path):
    for name in ("a/md.xtc", "b/md.xtc", "c.dcd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert set(find_files([f"{tmp_path}/*/md.xtc"])) == {"a/md", "b/md"}
    assert set(find_files([f"{tmp_path}/*.dcd", f"{tmp_path}/a/md.xtc"])) == {"c", "md"}
    assert set(find_files([f"{tmp_path}/**/*.xtc"])) == {"a/md", "b/md"}
    with pytest.raises(BadInput, match="would both be named 'md'"):
        find_files([f"{tmp_path}/a/md.xtc", f"{tmp_path}/b/md.xtc"])
    with pytest.raises(BadInput, match="matches no file"):
        find_files([f"{tmp_path}/*.trr"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trajectories": ["data/raw/*.xtc"]}, ["prepare.trajectories", "data/raw/*.xtc"]),
        ({"trajectories": ["data/raw/no.dcd"]}, ["data/raw/no.dcd", "no such file"]),
        ({"topology": "data/raw/no.pdb"}, ["data/raw/no.pdb", "no such file"]),
        ({"topology": None}, ["prepare.topology", "allowed: a file with the atoms"]),
        ({"labels": ["chi1"]}, ["chi1"]),
        ({"split": {"block_frames": 600}}, ["no frames for", "validation"]),
        ({"split": {"shares": [0.5, 0.5, 0.0]}}, ["no frames for test"]),
        ({"features": "columns"}, [".dcd", "allowed: .csv, .tsv"]),
    ],
)
def test_what_cannot_be_prepared_is_one_line_and_leaves_what_was_there(project, changes, words):
    prepare()
    before = contents()
    project(**changes)
    with pytest.raises(BadInput) as error:
        prepare()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert contents() == before


def test_one_trajectory_name_in_two_tables_is_refused(project):
    for i in range(2):
        pd.DataFrame({"a": np.arange(50.0), "run": "x"}).to_csv(f"data/raw/part-{i}.csv", index=False)
    project(features="columns", topology=None, trajectories=["data/raw/part-*.csv"], labels=[], group="run")
    with pytest.raises(BadInput, match=r"trajectory 'x' is in .*part-0\.csv too"):
        prepare()


def test_the_stage_ends_with_one_line_and_code_2(project, tmp_path):
    structure = load_structure(PDB)
    structure.atom_slice(range(15)).save("data/raw/topology.pdb")
    stage = subprocess.run(
        [sys.executable, "-m", "pipelines.stages.prepare"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert stage.returncode == 2 and stage.stdout == ""
    assert stage.stderr.count("\n") == 1 and "22 atoms, but the topology has 15" in stage.stderr
    assert not Path("data/prepared").exists()


def long_ones() -> None:
    """Eight trajectories that take seconds."""
    structure = load_structure(PDB)
    for i in range(8):
        xyz = structure.xyz[0] + np.random.default_rng(i).normal(scale=0.01, size=(20_000, 22, 3))
        mdtraj.Trajectory(xyz.astype(np.float32), structure.topology).save(f"data/raw/walker-{i}.dcd")


def in_parts(**environment: str) -> subprocess.Popen:
    """The stage as a process that does no part itself."""
    script = "import hae.engine; hae.engine.ALONE_SECONDS = 0; from pipelines.stages.prepare import prepare; prepare()"
    return subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT), "HAE_THREADS": "2", **environment})


@pytest.mark.acceptance
@pytest.mark.parametrize(("engine", "mark"), [("local", "spawn_main"), ("ray", "ray::")])
def test_a_worker_that_is_killed_changes_no_byte(project, engine, mark):
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed here (pip install 'hae[ray]')")
    long_ones()
    prepare()
    before = contents()
    shutil.rmtree("data/prepared")
    stage = in_parts(HAE_ENGINE=engine)
    assert wait_until(lambda: any(Path(".hae/parts").glob("*.json")) or stage.poll() is not None, 120)
    workers = [process for process in psutil.Process(stage.pid).children(recursive=True) if mark in " ".join(process.cmdline())]
    assert stage.poll() is None and workers, "it was done before anything could be killed"
    workers[0].kill()
    assert stage.wait(300) == 0
    assert contents() == before


@pytest.mark.acceptance
@pytest.mark.parametrize("killed", [False, True])
def test_three_raylets_make_the_bytes_of_one_process_and_one_may_be_killed(project, killed):
    pytest.importorskip("ray")
    long_ones()
    prepare()
    before = contents()
    shutil.rmtree("data/prepared")
    with raylets() as cluster:
        stage = in_parts(RAY_ADDRESS=cluster.address)
        assert wait_until(lambda: any(Path(".hae/parts").glob("*.json")) or stage.poll() is not None, 240)
        if killed:
            assert stage.poll() is None, "it was done before anything could be killed"
            psutil.Process(cluster.pids[0]).kill()
        assert stage.wait(300) == 0
    assert contents() == before
