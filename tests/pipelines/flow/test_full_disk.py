"""A disk that is full, for real: a small one is mounted for each test, where that is allowed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of 40 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here; root may")
    yield place
    os.chdir(tmp_path)
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, room: int) -> Path:
    """Fill the disk but for so many bytes: the file that does."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
    return ballast


def run(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, env=own | {"PATH": path}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=800)


def lines(told: subprocess.CompletedProcess) -> list[str]:
    """What was said on stderr, less the progress bars and what Prefect says."""
    return [line for line in told.stderr.splitlines() if line.strip() and "\r" not in line and "| INFO" not in line]


@pytest.mark.timeout(2000)
@pytest.mark.acceptance
@pytest.mark.parametrize("room", [0, 100_000, 1_000_000, 4_000_000])
def test_a_retraining_is_one_line_and_the_next_one_completes(disk, run_project, room):
    """Wherever it is met: by Prefect, a training, DVC's cache, the record."""
    folder = Path(shutil.copytree(run_project(), disk / "project"))
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("max_epochs: 60", "max_epochs: 30"))
    ballast = fill(disk, room)
    told = run("pipelines.cli", "retrain", folder=folder)
    print(told.stdout[-3000:], "\n=====\n", told.stderr[-6000:])
    assert told.returncode == 2
    assert "Traceback" not in told.stdout + told.stderr
    assert "full" in lines(told)[-1] or "No space left" in lines(told)[-1], lines(told)
    ballast.unlink()
    told = run("pipelines.cli", "retrain", folder=folder)
    assert told.returncode == 0 and "champion: version" in told.stdout, told.stdout + told.stderr
