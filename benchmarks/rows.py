"""Stages over tables of growing numbers of rows: CPU time and peak memory of each, and the exponents.

    HAE_MEMORY_LIMIT=100M HAE_THREADS=1 python -m benchmarks.rows [--rows 20000 200000 2000000] [--features 30] [--out FILE.json]

Each stage is a process of its own, as in a retraining; its peak is what the kernel says of it, the 0.3 GB or so of its libraries among it.
Networks are small and trained for one epoch: what is looked at is how figures grow. FILE.json keeps what was measured, so that a run that
was interrupted goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.sections import table
from hae.files import write_json

__all__ = ["main", "measured"]

ROOT = Path(__file__).parents[1]
STAGES = ("prepare", "baseline", "train", "evaluate", "report")
TRAJECTORIES = 100
SMALL = {"n_cvs": 2, "hidden": [16], "activation": "tanh", "cv": "linear", "scale": "global", "n_seeds": 1, "batch_size": 1024,
         "max_epochs": 1, "min_steps": 0, "patience": None, "learning_rate": 0.01, "random_state": 0}


def project(folder: Path, rows: int, features: int) -> None:
    """A table of trajectories of an autoregressive process in three hidden directions, and params.yaml."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load((ROOT / "params.yaml").read_text())
    del content["simulate"]
    content["prepare"].update(trajectories=["table.parquet"], topology=None, features="columns", labels=[], group="run")
    content["prepare"]["split"].update(block_frames=50, gap_frames=1)
    content["train"], content["baseline"] = {"collective": dict(SMALL)}, dict(SMALL)
    content["stability"]["replicas"] = 0
    with open(folder / "params.yaml", "w") as file:
        yaml.dump(content, file)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(3, features))
    writer = None
    for i in range(TRAJECTORIES):
        n = rows // TRAJECTORIES
        hidden, state = np.empty((n, 3)), rng.normal(size=3)
        for t, kick in enumerate(rng.normal(size=(n, 3))):
            state = 0.8 * state + 0.6 * kick
            hidden[t] = state
        values = np.tanh(hidden) @ mixed + 0.3 * rng.normal(size=(n, features))
        piece = pa.Table.from_pandas(pd.DataFrame(values, columns=[f"x{j}" for j in range(features)]).assign(run=f"run{i:03}"))
        writer = writer or pq.ParquetWriter(folder / "table.parquet", piece.schema)
        writer.write_table(piece)
    assert writer is not None
    writer.close()


def measured(stage: str, folder: Path) -> dict[str, float]:
    """Seconds of CPU and of the clock, and peak memory in bytes, of a stage in a project."""
    variant = ["collective"] if stage in ("train", "evaluate") else []
    with open(folder / f"{stage}.log", "w") as log:
        start = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", f"pipelines.stages.{stage}", *variant], cwd=folder, stdout=log, stderr=log,
                                   env=os.environ | {"PYTHONPATH": str(ROOT)})
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage}: {(folder / f'{stage}.log').read_text()[-2000:]}")
    return {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - start, "peak": 1024 * used.ru_maxrss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out and given.out.is_file() else {}
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="hae-rows-") as temporary:
            if set(STAGES) <= set(found.get(str(rows), {})):
                continue
            project(Path(temporary), rows, given.features)
            (Path(temporary) / "results/variants/collective").mkdir(parents=True)
            (Path(temporary) / "results/variants/collective/stability.json").write_text("{}")
            for stage in STAGES:
                found.setdefault(str(rows), {})[stage] = measured(stage, Path(temporary))
                print(rows, stage, found[str(rows)][stage], flush=True)
                if given.out:
                    write_json(given.out, found)
    print(section(found))


def section(found: dict) -> str:
    """The table: CPU seconds and peak memory by stage, and the exponent between the last two sizes."""
    sizes = sorted(found, key=int)
    lines = []
    for stage in STAGES:
        cpu, peak = ([found[size][stage][name] for size in sizes] for name in ("cpu", "peak"))
        grown = np.log(cpu[-1] / cpu[-2]) / np.log(int(sizes[-1]) / int(sizes[-2])) if len(sizes) > 1 else np.nan
        lines.append([stage, *(f"{seconds:.0f} s, {room / 1e6:,.0f} MB" for seconds, room in zip(cpu, peak, strict=True)), f"{grown:.2f}"])
    return table(["stage", *(f"{int(size):,} rows" for size in sizes), "exponent of time"], lines)


if __name__ == "__main__":
    main()
