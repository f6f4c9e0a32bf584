"""A disk that is full, for real: whoever meets it first, a retraining ends in one line, and the next one completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disks import fill, small_disk

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", megabytes=40):
        yield tmp_path / "disk"


def retrain(folder: Path) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run([sys.executable, "-m", "pipelines.cli", "retrain"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=own | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"})


# By the lock of the checkout; by Prefect's database; by DVC's cache or a checkpoint; by the record.
@pytest.mark.parametrize("room", [0, 100_000, 1_000_000, 3_000_000])
def test_a_retraining_is_one_line_and_the_next_one_completes(disk, run_project, room):
    folder = Path(shutil.copytree(run_project(), disk / "project"))
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("max_epochs: 60", "max_epochs: 30"))
    ballast = fill(disk, room)
    told = retrain(folder)
    assert told.returncode == 2, told.stdout + told.stderr
    last = told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stdout + told.stderr
    assert any(word in last for word in ("disk is full", "No space left", "Prefect: its server")), told.stderr
    ballast.unlink()
    told = retrain(folder)
    assert told.returncode == 0 and "champion: version" in told.stdout, told.stdout + told.stderr
