"""kill -9 of a loop, 20 times, at moments chosen by what it writes: it ends with the bits of a loop that nobody killed."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress

import mdtraj
import numpy as np
import pytest
from ruamel.yaml import YAML
from waiting import wait_until

from hae.data.frames import Frames
from pipelines import params, paths
from pipelines.loop import energy, page, sampling, starting, turns
from pipelines.project.inspection import Choices
from pipelines.record import loops, registry
from pipelines.record.store import opened
from pipelines.stages.simulate import TOPOLOGY

WALKERS, FRAMES, HILLS = 4, 125, 250  # of a walker in a round of 0.1 ns
LOOP = [sys.executable, "-c", "from hae.sampling import round as r; r.CHECKPOINT_SECONDS = 0.2; from pipelines.cli import main; main()"]


def changed(pattern):
    """Once a file of this pattern is written, from now on."""
    def begin(folder):
        before = {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}
        return lambda: any(before.get(path) != path.stat().st_mtime_ns for path in folder.glob(pattern))
    return begin


def grown(file):
    """Once a file is longer than now."""
    def begin(folder):
        path = folder / file
        before = path.stat().st_size if path.exists() else 0
        return lambda: path.exists() and path.stat().st_size > before
    return begin


def checkpoints(number):
    """Once the round under way is so many checkpoints beyond where it stands now."""
    def begin(folder):
        before, seen = kept(folder), set()

        def holds():
            seen.update(kept(folder) - before)
            return len(seen) >= number
        return holds
    return begin


def kept(folder):
    """Of the round under way: the step of its checkpoint."""
    with suppress(OSError, ValueError):  # gone while it is read, as its round is done
        return {json.loads(path.read_text())["done"] for path in folder.glob(".hae/rounds/*/checkpoint.json")}
    return set()


def unfinished(folder):
    """While a checkpoint is written: walkers' states are there, the one file that makes them count says another folder."""
    def holds():
        for state in folder.glob(".hae/rounds/*/checkpoint-*/walker-0.chk"):
            with suppress(OSError, ValueError):
                if json.loads((state.parents[1] / "checkpoint.json").read_text())["folder"] != state.parent.name:
                    return True
        return False
    return holds


def versions(number):
    """Once the registry has so many versions more."""
    def begin(folder):
        before = count(folder)
        return lambda: count(folder) >= before + number
    return begin


def count(folder):
    path = folder / ".hae" / "mlflow.db"
    if not path.exists():
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        return database.execute("select count(*) from model_versions").fetchone()[0]
    return 0


TRAINING = [changed("data/prepared/frames/manifest.json"), changed("models/collective/*"), changed("results/variants/*/importance.json")]
RECORD = [versions(1), versions(1), grown(".hae/loop.jsonl")]
SAMPLING = [changed(".hae/rounds/*/plan.json"), checkpoints(1), unfinished, checkpoints(3), checkpoints(6)]
ROUND = changed("data/rounds/*/round.json")
MOMENTS = [*TRAINING, *RECORD, *SAMPLING, ROUND, TRAINING[1], RECORD[2], *SAMPLING[1:], SAMPLING[1], ROUND]
assert len(MOMENTS) == 20


def small(folder):
    """The smallest loop that is real: rounds of 500 frames, networks of 8 units and 5 epochs, which the gate lets pass."""
    starting.start(folder, "alanine-dipeptide", None, Choices(()), params.Sample(walkers=WALKERS, nanoseconds=0.1), lambda line: None)
    yaml = YAML()
    content = yaml.load((folder / "params.yaml").read_text())
    for section in (*content["train"].values(), content["baseline"]):
        section.update(max_epochs=5, n_seeds=1, hidden=[8])
    content["stability"]["replicas"] = 0
    content["promote"].update(pca=0.9, gain=0.9, worse=0.9, gradient=None)  # five epochs make no good CVs, and kills don't mind
    yaml.dump(content, folder / "params.yaml")


def killed_at(folder, moment):
    """Start the loop, end it by kill -9 at the moment, and say where it was."""
    holds = moment(folder)
    child = subprocess.Popen([*LOOP, "--project", str(folder), "explore", "--rounds", "2"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    assert wait_until(lambda: holds() or child.poll() is not None, 900, every=0.002) and child.poll() is None
    under_way = any(path.name for path in folder.glob(".hae/rounds/*/plan.json"))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return "sampling" if under_way else "retraining"


def whole(folder):
    last = subprocess.run([*LOOP, "--project", str(folder), "explore", "--rounds", "2"], capture_output=True, text=True, timeout=1800)
    assert last.returncode == 0, last.stderr
    return last.stdout


@pytest.mark.acceptance
@pytest.mark.timeout(5400)
def test_a_loop_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    folder, quiet = tmp_path / "peptide", tmp_path / "quiet"
    small(folder)
    shutil.copytree(folder, quiet)
    where = Counter(killed_at(folder, moment) for moment in MOMENTS)
    assert where.total() == 20 and where["sampling"] >= 6
    said = whole(folder)
    whole(quiet)
    done = sampling.rounds(folder)
    assert [home.name for home in done] == ["000", "001", "002"] == [turn.round for turn in turns.turns(folder)]
    for home in done:
        counted_once(home)
        for file in home.glob("[CHK]*"):  # COLVAR, HILLS: the same bits, so the same champions and the same walkers
            assert file.read_bytes() == (quiet / home.relative_to(folder) / file.name).read_bytes(), file
    assert not list((folder / ".hae" / "rounds").iterdir())
    frames = Frames.read(folder / paths.FRAMES)
    assert len(set(zip(frames.trajectory, frames.frame))) == len(frames.values) > 2 * WALKERS * FRAMES
    records(folder, done)
    html = (folder / page.PAGE).read_text()
    assert html.count("<svg") >= 5 and "METAD ARG=cv1,cv2" in html and said.count("page: ") >= 1
    found = energy.between(folder, "psi > 0", "psi <= 0").difference
    assert found.low <= found.value <= found.high


def counted_once(home):
    """Each moment of each walker has one frame, one row and one hill; the nanoseconds are those of the settings."""
    assert json.loads((home / "round.json").read_text())["nanoseconds"] == pytest.approx(WALKERS * 0.1)
    for i in range(WALKERS):
        rows = np.loadtxt(home / f"COLVAR.{i}")
        assert rows[:, 0] == pytest.approx(0.8 * np.arange(1, FRAMES + 1))
        xyz = mdtraj.load(str(home / f"walker-{i}.dcd"), top=str(TOPOLOGY)).xyz
        assert len(xyz) == FRAMES == len(np.unique(xyz.reshape(FRAMES, -1), axis=0))
    if home.name != "000":
        times = np.loadtxt(home / "HILLS")[:, 0]
        assert times == pytest.approx(np.repeat(0.4 * np.arange(1, HILLS + 1), WALKERS))


def records(folder, done):
    """One champion, no training twice among the versions, one metric a round."""
    store = opened(folder)
    assert registry.champion(store) is not None
    rows = registry.rows(store)
    assert sum(registry.CHAMPION in row.aliases for row in rows) == 1
    assert len({row.key for row in rows}) == len(rows) == 2 * len(done)
    assert {version.tags[loops.ROUND] for version in registry.versions(store)} <= {home.name for home in done}
    run = loops.note(store, folder, done[-1].name, {})
    steps = [metric.step for metric in store.client.get_metric_history(run, "cells")]
    assert steps == [int(home.name) for home in done]
