"""Malformed inputs: each gives one clear line and leaves nothing behind, and nothing becomes a wrong number in silence."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.data.frames import Frames
from hae.data.trajectories import load_structure
from hae.errors import BadInput
from pipelines.project.init import Choices, init
from pipelines.stages.prepare import prepare

mdtraj = pytest.importorskip("mdtraj")
ROOT = Path(__file__).parents[2]
PDB = ROOT / "pipelines" / "stages" / "alanine-dipeptide.pdb"
ROWS = 60


def rows(first="a,b,c", separator=",", number=ROWS):
    rng = np.random.default_rng(0)
    return [first, *(separator.join(f"{x:.6f}" for x in row) for row in rng.normal(size=(number, 3)))]


def text(name, lines, encoding="utf-8"):
    def make(folder):
        (folder / name).write_bytes(("\n".join(lines) + "\n").encode(encoding))
        return [folder / name], None

    return make


def changed(name, line, content, first="a,b,c", separator=","):
    lines = rows(first, separator)
    lines[line - 1] = content
    return text(name, lines)


def array(name, save):
    def make(folder):
        with open(folder / name, "wb") as file:
            save(file)
        return [folder / name], None

    return make


def cut(name, save, share):
    def make(folder):
        array(name, save)(folder)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])
        return [folder / name], None

    return make


def molecule(ending="dcd", share=1.0, topology=None, frames=80, spoil=None, content=None):
    """A trajectory of alanine dipeptide, cut to a share of its bytes, or other bytes; and its topology or another text."""

    def make(folder):
        structure = load_structure(PDB)
        xyz = structure.xyz[0] + np.random.default_rng(0).normal(scale=0.02, size=(frames, 22, 3))
        if spoil:
            spoil(xyz)
        path = folder / f"walker.{ending}"
        mdtraj.Trajectory(xyz.astype(np.float32), structure.topology, time=np.arange(frames)).save(str(path))
        path.write_bytes(content if content is not None else path.read_bytes()[: int(share * path.stat().st_size)])
        (folder / "topology.pdb").write_text(PDB.read_text() if topology is None else topology)
        return [path], folder / "topology.pdb"

    return make


def nan(xyz):
    xyz[33, 4] = np.nan


COLVAR = "#! FIELDS time a b"
ATOMS = [line for line in PDB.read_text().splitlines() if line[:4] in ("ATOM", "HETA")]
LESS_ATOMS = "\n".join(line for line in ATOMS if line[6:11].strip() != "22") + "\nEND\n"
VALUES = np.random.default_rng(0).normal(size=(ROWS, 3))

MALFORMED = {
    "empty file": (text("t.csv", [""]), ["empty"]),
    "header without rows": (text("t.csv", ["a,b"]), ["0 rows"]),
    "missing value": (changed("t.csv", 9, "1.0,,2.0"), ["'b'", "row 8 (line 9)", "missing", "--missing drop"]),
    "infinite value": (changed("t.csv", 9, "1.0,inf,2.0"), ["'b'", "row 8", "infinite"]),
    "huge value": (changed("t.csv", 9, "1.0,1e300,2.0"), ["'b'", "row 8", "1e+300"]),
    "fill value": (changed("t.csv", 9, "1.0,9.96921e36,2.0"), ["'b'", "row 8", "9.96921e+36"]),
    "word among numbers": (changed("t.csv", 9, "1.0,n/a?,2.0"), ["'b'", "row 8", "n/a?"]),
    "mixed separators": (changed("t.csv", 9, "1.0;3.0;2.0"), ["row 8", "1.0;3.0;2.0"]),
    "decimal commas": (text("t.csv", [line.replace(".", ",") for line in rows()]), ["t.csv"]),
    "row too long": (changed("t.csv", 9, "1,2,3,4"), ["line 9"]),
    "row too short": (changed("t.csv", 9, "1,2"), ["'c'", "row 8", "missing"]),
    "duplicate columns": (text("t.csv", rows("a,b,a")), ["two columns", "'a'"]),
    "no names": (text("t.csv", rows("1,2,3")), ["names of the columns"]),
    "a column without a name": (text("t.csv", rows("a,,b")), ["column 2 has no name"]),
    "an encoding that is none": (array("t.csv", lambda file: file.write(b"a,b\n1,\x81\n2,3\n")), ["t.csv", "can be read"]),
    "bytes of no text": (array("t.csv", lambda file: file.write(b"a,b\n1,\0\n2,3\n")), ["t.csv", "can be read"]),
    "damaged gzip": (cut("t.csv.gz", lambda file: file.write(gzip.compress("\n".join(rows()).encode())), 0.6), ["t.csv.gz", "can be read"]),
    "damaged workbook": (cut("t.xlsx", lambda file: pd.DataFrame(VALUES).to_excel(file), 0.6), ["t.xlsx", "can be read"]),
    "damaged Parquet": (cut("t.parquet", lambda file: pd.DataFrame(VALUES, columns=list("abc")).to_parquet(file), 0.7), ["can be read"]),
    "array of three dimensions": (array("t.npy", lambda file: np.save(file, np.zeros((5, 4, 3)))), ["(5, 4, 3)"]),
    "array of objects": (array("t.npy", lambda file: np.save(file, np.array([{}, {}], dtype=object))), ["can be read"]),
    "cut NPY": (cut("t.npy", lambda file: np.save(file, VALUES), 0.5), ["can be read"]),
    "NPZ of unequal columns": (array("t.npz", lambda file: np.savez(file, a=np.ones(5), b=np.ones(6))), ["a (5,)", "b (6,)"]),
    "NPZ with too few names": (array("t.npz", lambda file: np.savez(file, x=VALUES, columns=["a", "b"])), ["2 names for 3 columns"]),
    "cut NPZ": (cut("t.npz", lambda file: np.savez(file, x=VALUES), 0.6), ["can be read"]),
    "COLVAR with a broken line": (changed("COLVAR", 9, " 8.0 1.0", COLVAR, " "), ["line 9", "2 numbers for 3 fields"]),
    "COLVAR with stars": (changed("COLVAR", 9, " 8.0 ****** 1.0", COLVAR, " "), ["line 9", "******"]),
    "COLVAR that starts again": (
        text("COLVAR", [COLVAR, *(f"{i % 40} {i} {i * i}" for i in range(ROWS))]), ["line 42", "time goes from 39 to 0"]),
    "COLVAR whose fields change": (
        text("COLVAR", [COLVAR, *(f"{i} {i} {i * i}" for i in range(ROWS)), COLVAR + " c", "70 1 1 1"]), ["line 62", "other fields"]),
    "kind that is not known": (text("t.xls", rows()), ["t.xls"]),
    "DCD that is none": (molecule(content=b"hello, world" * 40), ["walker.dcd"]),
    "empty DCD": (molecule(content=b""), ["walker.dcd"]),
    "cut XTC": (molecule("xtc", share=0.77), ["walker.xtc"]),
    "cut TRR": (molecule("trr", share=0.77), ["walker.trr"]),
    "cut NetCDF": (molecule("nc", share=0.5), ["walker.nc"]),
    "positions that are not finite": (molecule(spoil=nan), ["frame 33", "not finite"]),
    "topology with another number of atoms": (molecule(topology=LESS_ATOMS), ["22 atoms", "topology has 21"]),
    "topology that is none": (molecule(topology="hello\n"), ["topology.pdb"]),
    "topology without atoms": (molecule(topology="REMARK nothing\nEND\n"), ["topology.pdb"]),
}


def write_params(folder, files, topology):
    """params.yaml as somebody would write it by hand, so that prepare reads what init refused."""
    content = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    tables = topology is None
    content["prepare"].update(trajectories=[str(path) for path in files], topology=None if tables else str(topology),
                              features="columns" if tables else "coordinates", labels=[])
    content["prepare"]["split"].update(block_frames=5, gap_frames=0)
    with open(folder / "params.yaml", "w") as file:
        YAML().dump(content, file)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_clear_line_and_nothing_left_behind(name, tmp_path, monkeypatch):
    make, words = MALFORMED[name]
    files, topology = make(tmp_path)
    folder = tmp_path / "project"
    folder.mkdir()
    messages = []
    with pytest.raises(BadInput) as error:
        init(folder, Choices(tuple(files), topology))
    messages.append(str(error.value))
    assert not list(folder.iterdir()), "nothing is left behind"
    monkeypatch.chdir(folder)
    write_params(folder, files, topology)
    with pytest.raises(BadInput) as error:
        prepare()
    messages.append(str(error.value))
    assert not (folder / "data").exists()
    for message in messages:
        assert "\n" not in message.strip() and len(message) < 500
        assert "allowed" in message or "can be read" in message
        for word in words:
            assert word in message, message


def prepared(tmp_path, monkeypatch, files, topology=None):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, files, topology)
    prepare()
    return Frames.read("data/prepared/frames")


def test_what_looks_odd_but_is_right_gives_the_right_numbers(tmp_path, monkeypatch):
    """Integer columns, a unicode header, a byte order mark, spaces, quotes, Windows line ends, numbers as 1e3."""
    lines = ["\ufeffφ , \"ψ, in rad\",n", *(f" {i / 7:.12f}, {i}e1 ,\"{i}\"" for i in range(1, ROWS + 1))]
    path = tmp_path / "odd.csv"
    path.write_bytes("\r\n".join(lines).encode())
    frames = prepared(tmp_path, monkeypatch, [path])
    assert frames.features == ("φ", "ψ, in rad", "n")
    i = np.arange(1, ROWS + 1)
    assert np.allclose(frames.values, np.stack([i / 7, 10 * i, i], axis=1), rtol=1e-12)


def test_a_dcd_that_ended_early_is_read_as_far_as_it_goes(tmp_path, monkeypatch):
    files, topology = molecule(share=0.77)(tmp_path)
    with pytest.warns(UserWarning, match="walker.dcd: ended early: 61 whole frames are there and are taken, its header says 80"):
        frames = prepared(tmp_path, monkeypatch, files, topology)
    (tmp_path / "reference").mkdir()
    files, topology = molecule()(tmp_path / "reference")
    monkeypatch.undo()
    whole = prepared(tmp_path / "reference", monkeypatch, files, topology)
    assert len(frames) == 61 and np.array_equal(frames.values, whole.values[:61])


@pytest.mark.parametrize("ending", ["dcd", "xtc", "trr", "nc", "pdb"])
def test_every_kind_of_trajectory_gives_the_same_frames(tmp_path, monkeypatch, ending):
    files, topology = molecule(ending)(tmp_path)
    frames = prepared(tmp_path, monkeypatch, files, topology)
    (tmp_path / "reference").mkdir()
    files, topology = molecule("dcd")(tmp_path / "reference")
    monkeypatch.undo()
    reference = prepared(tmp_path / "reference", monkeypatch, files, topology)
    assert len(frames) == 80 and np.allclose(frames.values, reference.values, atol=2e-3), "xtc and pdb round to 0.001 nm and 0.001 angstrom"


def test_the_command_says_one_line_and_no_traceback(tmp_path):
    files, _ = changed("t.csv", 9, "1.0,,2.0")(tmp_path)
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", "init", str(tmp_path / "project"), "--data", *map(str, files)],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "'b', row 8 (line 9)" in done.stderr
