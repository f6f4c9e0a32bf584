"""What is published: a wheel and an sdist that hold every file the code reads, and a library that imports without the extras."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import hae

ROOT = Path(__file__).parents[1]
READ_BY_CODE = {"hae/py.typed", "hae/data/alanine-dipeptide.npz", "pipelines/page/page.html", "pipelines/page/page.css",
                "pipelines/page/movie.js", "pipelines/page/3Dmol-min.js", "pipelines/page/3Dmol-LICENSE", "pipelines/project/dvc.yaml.j2",
                "pipelines/project/params.yaml.j2", "pipelines/stages/alanine-dipeptide.pdb"}
EXTRAS = ("prefect", "mlflow", "dvc", "pydantic", "ruamel", "click", "psutil", "mdtraj", "openmm")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist of a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "copy"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    for kind in ("sdist", "wheel"):
        make = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
        subprocess.run([sys.executable, "-c", make, str(folder)], cwd=copy, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return folder


def test_wheel_and_sdist_hold_all_modules_and_what_they_read(built):
    modules = {str(path.relative_to(ROOT)) for top in ("hae", "pipelines") for path in (ROOT / top).rglob("*.py")}
    wheel = zipfile.ZipFile(next(built.glob("*.whl")))
    assert modules | READ_BY_CODE <= set(wheel.namelist())
    assert not any(name.startswith("tests/") for name in wheel.namelist())
    about = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert f"Version: {hae.__version__}\n" in about and "License-Expression: MIT" in about
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert modules | READ_BY_CODE | {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_wheel_works_away_from_the_checkout_and_without_the_extras(built, tmp_path):
    """As after `pip install hae`: the extras can't be imported, and no file of the checkout is in reach."""
    place = tmp_path / "place"
    alone = {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    zipfile.ZipFile(next(built.glob("*.whl"))).extractall(place)
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import numpy as np
import hae
assert hae.__file__.startswith({str(place)!r}), hae.__file__
t = np.random.default_rng(0).uniform(-2, 2, 400)
model = hae.HierarchicalAutoencoder(n_cvs=1, n_seeds=1, max_epochs=2, batch_size=64, device="cpu").fit(np.stack([t, t**2], 1))
model.save("model")
assert hae.HierarchicalAutoencoder.load("model").transform(np.zeros((2, 2))).shape == (2, 1)
assert model.importance_.sentence()
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=alone,
                         stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stderr
    named = subprocess.run([sys.executable, "-m", "pipelines.cli", "--help"], cwd=tmp_path, capture_output=True, text=True,
                           env=alone, stdin=subprocess.DEVNULL)
    assert named.returncode == 0 and "retrain" in named.stdout
