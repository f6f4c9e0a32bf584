"""Rows larger than the memory for them: the same figures, and no more memory for more rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.storage import load_networks
from pipelines.stages.baseline import baseline

ROOT = Path(__file__).parents[3]


def project(folder: Path, rows: int, features: int = 30) -> Path:
    """A project that has prepared so many rows of trajectories of a thousand rows each."""
    folder.mkdir()
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load((ROOT / "params.yaml").read_text())
    content["baseline"] |= {"n_cvs": 3, "hidden": [4], "n_seeds": 1, "max_epochs": 1, "min_steps": 0, "batch_size": 4096}
    with open(folder / "params.yaml", "w") as file:
        yaml.dump(content, file)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(rows, 3)) @ rng.normal(size=(3, features)) + 0.3 * rng.normal(size=(rows, features))).astype(np.float32)
    trajectory, frame = np.char.add("w", (np.arange(rows) // 1000).astype(str)), np.arange(rows) % 1000
    rule = {"block_frames": 100, "gap_frames": 1, "shares": [0.6, 0.2, 0.2], "salt": ""}
    frames = Frames(values, tuple(f"x{i}" for i in range(features)), ("nm",) * features, trajectory, frame, pd.DataFrame(index=range(rows)),
                    split=split_rows(trajectory, frame, **rule))
    frames.write(folder / "data" / "prepared" / "frames", rule)
    return folder


def test_baselines_of_rows_in_files_are_those_of_rows_in_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(project(tmp_path / "project", 6000))
    found = {}
    for limit in ("1G", "100K"):
        monkeypatch.setenv("HAE_MEMORY_LIMIT", limit)
        baseline()
        networks, _, _ = load_networks(Path("models/baseline"))
        found[limit] = networks["pca"].state_dict(), json.loads(Path("results/baseline/training.json").read_text())
    assert "stay in files" in capsys.readouterr().out
    for name, values in found["1G"][0].items():
        np.testing.assert_allclose(found["100K"][0][name], values, atol=1e-6, err_msg=name)  # float32
    for name, value in found["1G"][1].items():
        assert found["100K"][1][name] == pytest.approx(value, abs=1e-7 if "pca" in name else 0.02), name
    assert not list(Path(".hae/rows/baseline").iterdir())


PEAK = """
import sys
import torch
torch.set_num_threads(1)
from pipelines.stages import {stage}
{stage}.{stage}(*sys.argv[1:])
print(next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
STAGES = {"prepare": [], "baseline": [], "train": ["collective"], "evaluate": ["collective"], "stability": ["collective"], "report": []}
SMALL = {"n_cvs": 2, "hidden": [4], "n_seeds": 1, "max_epochs": 1, "min_steps": 0, "batch_size": 4096, "cv": "linear"}


def table(folder: Path, rows: int, features: int = 30) -> Path:
    """A project on a table of text, of trajectories of a thousand rows that come in turns."""
    folder.mkdir()
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load((ROOT / "params.yaml").read_text())
    content.pop("simulate")
    content["prepare"].update(trajectories=["table.csv"], topology=None, features="columns", labels=["label"], group="run")
    content["prepare"]["split"].update(block_frames=50, gap_frames=1)
    content["baseline"] |= SMALL
    content["train"] = {"collective": content["train"]["collective"] | SMALL}
    content["stability"]["replicas"] = 2
    with open(folder / "params.yaml", "w") as file:
        yaml.dump(content, file)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    rng, mixed = np.random.default_rng(0), np.random.default_rng(1).normal(size=(3, features))
    for first in range(0, rows, 50_000):
        values = np.tanh(rng.normal(size=(50_000, 3))) @ mixed + 0.3 * rng.normal(size=(50_000, features))
        piece = pd.DataFrame(values, columns=[f"x{j}" for j in range(features)]).assign(
            label=values[:, 0], run=[f"run{i % (rows // 1000)}" for i in range(first, first + 50_000)])
        piece.to_csv(folder / "table.csv", mode="a", header=not first, index=False, float_format="%.5f")
    return folder


@pytest.mark.acceptance
def test_peak_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    """From a table of text to the report, at 5 and 14 times what rows may take of memory: with fewer rows the allocator, which keeps some
    of what it has had, has not had all of it."""
    peaks: dict[str, list[int]] = {stage: [] for stage in STAGES}
    for rows in (400_000, 1_200_000):
        folder = table(tmp_path / str(rows), rows)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HAE_MEMORY_LIMIT": "10000000", "OMP_NUM_THREADS": "1", "HAE_THREADS": "1"}
        for stage, arguments in STAGES.items():
            command = [sys.executable, "-c", PEAK.format(stage=stage), *arguments]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            peaks[stage].append(int(done.stdout.split()[-1]))
    grown = {stage: after - before for stage, (before, after) in peaks.items()}
    assert max(grown.values()) < 0.4 * 4 * 30 * 800_000, peaks  # the rows that were added are 96 MB as float32, 192 MB as they are read
