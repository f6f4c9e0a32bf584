"""A disk that is full, for real: whoever meets it first, a retraining ends in one line, and the next one completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disks import fill, small_disk
from ruamel.yaml import YAML

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", megabytes=80):
        yield tmp_path / "disk"


def retrain(folder: Path) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run([sys.executable, "-m", "pipelines.cli", "retrain"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=own | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"})


@pytest.fixture
def project(disk, run_project):
    """On that disk, with trainings to do."""
    folder = Path(shutil.copytree(run_project(), disk / "project"))
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("max_epochs: 60", "max_epochs: 30"))
    return folder


def completes(folder: Path) -> bool:
    told = retrain(folder)
    assert told.returncode == 0, told.stdout + told.stderr
    return "champion: version" in told.stdout


# Where the disk is full from the beginning, the lock of the checkout or the log meets it first.
@pytest.mark.parametrize("room", [0, 100_000, 10_000_000])
def test_it_is_one_line_and_the_next_retraining_completes(project, disk, room):
    ballast = fill(disk, room)
    told = retrain(project)
    assert told.returncode == 2 and told.stdout == "", told.stdout + told.stderr
    assert told.stderr.count("\n") == 1 and "the disk is full" in told.stderr
    ballast.unlink()
    assert room or completes(project)


def test_where_it_fills_up_on_the_way_the_last_line_says_so_and_the_next_retraining_completes(project, disk):
    """By a stage; then stages, DVC, Prefect's server and the history of retrainings find no room. Prefect's server may say more."""
    graph = (project / "dvc.yaml").read_text()
    stage = {"cmd": f"dd if=/dev/zero of={disk}/ballast bs=4096 2>ballast.txt; echo filled", "outs": ["ballast.txt"]}
    yaml = YAML()
    content = yaml.load(graph)
    content["stages"]["fill"] = stage
    yaml.dump(content, project / "dvc.yaml")
    told = retrain(project)
    assert told.returncode == 2, told.stdout + told.stderr
    last = [line for line in told.stderr.splitlines() if "| INFO" not in line][-1]  # Prefect says last that its server stops
    assert any(word in last for word in ("disk is full", "No space left", "Prefect: its server")), told.stderr
    assert "sqlalchemy" not in told.stderr
    (disk / "ballast").unlink()
    (project / "dvc.yaml").write_text(graph)
    assert completes(project)
