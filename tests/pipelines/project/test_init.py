"""hae init: what it finds is what is there, and what it writes runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.data.frames import Frames
from hae.data.molecules import Recipe
from hae.data.readers import load_table
from hae.data.trajectories import load_structure
from hae.errors import BadInput
from pipelines import params
from pipelines.flow import versioning
from pipelines.project import suggest
from pipelines.project.init import Choices, init
from pipelines.stages.prepare import prepare

ROOT = Path(__file__).parents[3]
PDB = ROOT / "pipelines" / "stages" / "alanine-dipeptide.pdb"


def autoregressive(n, time, columns=3, seed=0):
    """Series (n, columns) whose integrated autocorrelation time is `time`: rho = (time - 1) / (time + 1)."""
    rng = np.random.default_rng(seed)
    rho = (time - 1) / (time + 1)
    x = np.zeros((n, columns))
    noise = rng.normal(size=(n, columns)) * np.sqrt(1 - rho**2)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + noise[i]
    return x


def series(folder, n=6000, time=15, name="series.csv", **columns):
    table = pd.DataFrame(autoregressive(n, time), columns=list("abc")).assign(**columns)
    table.to_csv(folder / name, index=False)
    return folder / name


def section(folder):
    return params.load(folder / "params.yaml").prepare


def test_a_table_becomes_a_project_that_prepares(tmp_path, monkeypatch):
    path = series(tmp_path, 2000, time=1, species=["x", "y"] * 1000, row=range(2000), same=1.0, target=np.arange(2000) % 3)
    said = "\n".join(init(tmp_path / "project", Choices((path,), labels=("target",))))
    for words in ("2000 rows", "3 columns (a, b, c)", "species (not numbers)", "row (counts the rows)", "same (one value", "hae retrain"):
        assert words in said
    made = section(tmp_path / "project")
    assert made.columns == ("a", "b", "c") and made.labels == ("target",) and made.group is None and made.split.gap_frames == 0
    everything = params.load(tmp_path / "project" / "params.yaml")
    assert {variant.scale for variant in everything.train.values()} == {"feature"} and everything.record.model_name == "project"
    assert {learning.hidden for learning in (*everything.train.values(), everything.baseline)} == {"auto"}
    monkeypatch.chdir(tmp_path / "project")
    prepare()
    frames = Frames.read("data/prepared/frames")
    assert np.allclose(frames.values, load_table(path)[["a", "b", "c"]])
    assert min(frames.counts()[side] for side in ("train", "validation", "test")) > 100


def test_dvc_takes_what_init_writes(tmp_path):
    """Every file that the project reads is covered, and the graph has all stages but the simulation."""
    path = series(tmp_path, 500)
    folder = tmp_path / "project"
    init(folder, Choices((path,), group="<file>"))
    assert versioning.snapshot(folder, params.load(folder / "params.yaml")) == ["data/raw"]
    graph = versioning.read_graph(folder)
    names = [f"{stage}@{variant}" for stage in ("train", "evaluate", "stability") for variant in ("boosted", "collective")]
    assert set(graph.stages) == graph.stale == {"prepare", "baseline", "report", *names}


def test_its_graph_is_the_repositorys_without_simulation_and_code(tmp_path):
    """What is added to dvc.yaml in the repository must be in new projects too; code goes by hae.json there, see test_code.py."""
    init(tmp_path / "project", Choices((series(tmp_path, 500),), group="<file>"))
    ours, theirs = (YAML(typ="safe").load((folder / "dvc.yaml").read_text())["stages"] for folder in (ROOT, tmp_path / "project"))
    del ours["simulate"]
    for stage in ours.values():
        body = stage.get("do", stage)
        body["deps"] = [path for path in body["deps"] if not path.startswith(("hae/", "pipelines/"))]
        body["params"] = [key for key in body["params"] if not key.startswith("simulate")]
    for stage in theirs.values():
        body = stage.get("do", stage)
        body["params"] = [key for key in body["params"] if not isinstance(key, dict)]
    assert theirs == ours


def test_its_parameters_are_the_repositorys_without_simulation(tmp_path):
    """Every key is there to be changed, under the same names."""
    init(tmp_path / "project", Choices((series(tmp_path, 500),), group="<file>"))
    ours, theirs = (YAML(typ="safe").load((folder / "params.yaml").read_text()) for folder in (ROOT, tmp_path / "project"))
    del ours["simulate"], ours["sample"]
    assert {name: list(part) for name, part in theirs.items()} == {name: list(part) for name, part in ours.items()}
    assert list(theirs["train"]["boosted"]) == list(ours["train"]["boosted"])


@pytest.mark.parametrize("time", [5, 40])
def test_blocks_and_gaps_follow_the_memory_of_the_data(tmp_path, time):
    path = series(tmp_path, 20_000, time)
    said = "\n".join(init(tmp_path / "project", Choices((path,), group="<file>")))
    split = section(tmp_path / "project").split
    assert 0.6 * time < split.gap_frames < 1.7 * time and split.block_frames >= 4 * split.gap_frames and 20_000 // split.block_frames >= 70
    assert f"{split.gap_frames} frames cut" in said


def test_data_of_few_independent_frames_are_called_that(tmp_path):
    said = "\n".join(init(tmp_path / "project", Choices((series(tmp_path, 2000, time=100),), group="<file>")))
    assert "perhaps too few for intervals" in said
    said = "\n".join(init(tmp_path / "other", Choices((series(tmp_path, 20_000, time=3),), group="<file>")))
    assert "enough for verdicts" in said


def test_rows_that_look_like_a_series_are_pointed_out(tmp_path):
    assert "--series" in "\n".join(init(tmp_path / "one", Choices((series(tmp_path, 3000, time=30),))))
    assert "--series" not in "\n".join(init(tmp_path / "two", Choices((series(tmp_path, 3000, time=1),))))


def test_trajectories_with_a_topology(tmp_path, monkeypatch):
    mdtraj = pytest.importorskip("mdtraj")
    structure = load_structure(PDB)
    for name, number in (("a", 300), ("b", 200)):
        (tmp_path / name).mkdir()
        xyz = structure.xyz[0] + np.random.default_rng(number).normal(scale=0.02, size=(number, 22, 3))
        mdtraj.Trajectory(xyz.astype(np.float32), structure.topology).save(str(tmp_path / name / "md.xtc"))
    folder, topology = tmp_path / "project", tmp_path / "a-md.pdb"  # often named as the trajectory is
    topology.write_text(PDB.read_text())
    said = "\n".join(init(folder, Choices((tmp_path / "a/md.xtc", tmp_path / "b/md.xtc"), topology, temperature=300.0)))
    for words in ("500 frames in 2 trajectories", "a-md 300", "22 atoms", "30 (coordinates, nm", "labels: phi, psi"):
        assert words in said
    made = section(folder)
    assert made.trajectories == ("data/raw/*.xtc",) and made.temperature == 300
    monkeypatch.chdir(folder)
    prepare()
    frames = Frames.read("data/prepared/frames")
    assert set(frames.trajectory) == {"a-md", "b-md"} and frames.n_features == 30


COLVAR = "#! FIELDS time phi d metad.rbias\n#! SET min_phi -pi\n#! SET max_phi pi\n"


def write_colvar(path, n=1000, seed=0):
    x = autoregressive(n, 3, 2, seed)
    phi = np.mod(2 * x[:, 0] + np.pi, 2 * np.pi) - np.pi
    bias = 2 + x[:, 1]
    lines = (f"{0.2 * i:.3f} {phi[i]:.9f} {x[i, 1]:.9f} {bias[i]:.9f}" for i in range(n))
    path.write_text(COLVAR + "\n".join(lines) + "\n")
    return phi, x[:, 1], bias


def test_colvars_are_series_with_periods_and_a_bias(tmp_path, monkeypatch):
    """An angle becomes sine and cosine, several files several trajectories, a bias weights: exp(bias / kT)."""
    truth = [write_colvar(tmp_path / f"COLVAR.{i}", seed=i) for i in range(2)]
    paths = tuple(tmp_path / f"COLVAR.{i}" for i in range(2))
    said = "\n".join(init(tmp_path / "plain", Choices(paths)))
    for words in ("2 trajectories", "periodic: phi", "time (counts the rows)", "metad.rbias (a bias)", "--bias metad.rbias"):
        assert words in said
    folder = tmp_path / "weighted"
    init(folder, Choices(paths, bias="metad.rbias", temperature=300.0))
    monkeypatch.chdir(folder)
    prepare()
    frames = Frames.read("data/prepared/frames")
    phi, d, bias = np.concatenate([np.stack(part, axis=1) for part in truth]).T
    assert frames.features == ("sin(phi)", "cos(phi)", "d") and set(frames.trajectory) == {"COLVAR.0", "COLVAR.1"}
    assert np.allclose(frames.values, np.stack([np.sin(phi), np.cos(phi), d], axis=1), atol=1e-8)
    weights = np.exp(bias / (0.0083144626 * 300))
    assert np.allclose(frames.weights, weights / weights.mean(), rtol=1e-5)
    recipe = Recipe.from_json(Path("data/prepared/recipe.json").read_text())
    again = recipe.features(load_table(paths[1]), "COLVAR.1")
    assert np.allclose(again.values, frames.values[1000:]) and recipe.columns == ("phi", "d")


def test_a_bias_needs_a_temperature(tmp_path):
    write_colvar(tmp_path / "COLVAR")
    with pytest.raises(BadInput, match="temperature"):
        init(tmp_path / "project", Choices((tmp_path / "COLVAR",), bias="metad.rbias"))


@pytest.mark.parametrize("kind", ["npy", "npz of one array", "npz of columns", "structured npy"])
def test_arrays_with_and_without_names(tmp_path, kind):
    values = np.random.default_rng(0).normal(size=(50, 3))
    path = tmp_path / f"data.{'npz' if kind.startswith('npz') else 'npy'}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz of one array":
        np.savez(path, X=values, columns=["a", "b", "c"])
    elif kind == "npz of columns":
        np.savez(path, a=values[:, 0], b=values[:, 1], c=values[:, 2])
    else:
        np.save(path, np.array(list(map(tuple, values)), dtype=[(name, float) for name in "abc"]))
    table = load_table(path)
    assert np.array_equal(table.to_numpy(), values)
    assert list(table.columns) == (["x0", "x1", "x2"] if kind == "npy" else ["a", "b", "c"])


def test_data_in_the_project_stay_where_they_are(tmp_path):
    path = series(tmp_path, 500)
    said = "\n".join(init(tmp_path, Choices((path,), group="<file>")))
    assert section(tmp_path).trajectories == ("series.csv",) and "copy" not in said
    assert versioning.snapshot(tmp_path, params.load(tmp_path / "params.yaml")) == ["series.csv"]


def test_a_pattern_in_quotes_is_the_files_that_it_matches(tmp_path):
    (tmp_path / "runs").mkdir()
    paths = [series(tmp_path / "runs", 400, name=f"run-{i}.csv") for i in range(3)]
    init(tmp_path / "project", Choices((tmp_path / "run*/run-*.csv",), group="<file>"))
    assert sorted(path.name for path in (tmp_path / "project/data/raw").iterdir()) == [path.name for path in paths]
    series(tmp_path, 400, name="run-[1].csv").rename(tmp_path / "runs/run-[1].csv")  # and a name with brackets is a name
    init(tmp_path / "other", Choices((tmp_path / "runs/run-[1].csv",), group="<file>"))
    assert [path.name for path in (tmp_path / "other/data/raw").iterdir()] == ["run-[1].csv"]


def test_refusals(tmp_path):
    path = series(tmp_path, 500)
    init(tmp_path / "project", Choices((path,), group="<file>"))
    (tmp_path / "walker.dcd").write_bytes(b"any")
    before = (tmp_path / "project" / "params.yaml").read_text()
    with pytest.raises(BadInput, match="a project already"):
        init(tmp_path / "project", Choices((path,)))
    assert (tmp_path / "project" / "params.yaml").read_text() == before
    for choices, words in (
        (Choices((tmp_path / "no.csv",)), "no such file"),
        (Choices((tmp_path / "no-*.csv",)), "matches no file"),
        (Choices((path,), topology=PDB), "not allowed with tables"),
        (Choices((path,), labels=("q",)), "no column 'q'"),
        (Choices((PDB,)), "too few"),
        (Choices((tmp_path / "walker.dcd",)), "--topology FILE"),
        (Choices((path, PDB)), "not a table"),
        (Choices((PDB,), PDB, weights="w"), "not allowed with trajectories"),
        (Choices((series(tmp_path, 2, name="two.csv"),)), "too few"),
    ):
        with pytest.raises(BadInput, match=words):
            init(tmp_path / "new", choices)
        assert not (tmp_path / "new").exists()


def test_a_column_with_one_wrong_word_is_a_fault_and_not_left_out(tmp_path):
    path = series(tmp_path, 500)
    lines = path.read_text().splitlines()
    lines[100] = "1.0,oops,2.0"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInput, match=r"column 'b', row 100 \(line 101\): 'oops'"):
        init(tmp_path / "project", Choices((path,)))


def test_the_command_takes_several_files_after_one_data(tmp_path):
    paths = [series(tmp_path, 400, name=f"run{i}.csv") for i in range(3)]
    command = [sys.executable, "-m", "pipelines.cli", "init", str(tmp_path / "my project"), "--data", *map(str, paths), "--series"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "1200 rows in 3 tables, 3 trajectories" in done.stdout
    assert params.load(tmp_path / "my project" / "params.yaml").record.model_name == "my-project"


@pytest.mark.parametrize("rows", [50, 400, 5000, 200_000])
def test_small_data_get_small_batches_and_enough_steps(rows):
    made = suggest.training_for(rows)
    steps = -(-rows // made["batch_size"]) * made["max_epochs"]
    assert 16 <= made["batch_size"] <= 512 and made["max_epochs"] <= 200 and (steps >= 1000 or made["max_epochs"] == 200)


def test_a_clock_that_starts_anew_in_every_trajectory_is_no_feature(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(np.cumsum(rng.normal(size=(1200, 3)), axis=0) * 0.1 + rng.normal(size=(1200, 3)), columns=list("abc"))
    table["batch"], table["minute"] = np.repeat([f"b{i}" for i in range(12)], 100), np.tile(np.arange(100), 12)
    table.to_csv(tmp_path / "table.csv", index=False)
    said = init(tmp_path / "project", Choices((tmp_path / "table.csv",), group="batch"))
    assert "left out: minute (counts the rows)" in said
    assert params.load(tmp_path / "project" / "params.yaml").prepare.columns == ("a", "b", "c")
    with pytest.raises(BadInput, match=r"no column 'mintue'; .* \(did you mean minute\?\)"):
        init(tmp_path / "other", Choices((tmp_path / "table.csv",), group="batch", labels=("mintue",)))
