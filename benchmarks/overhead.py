"""Where the wall time of `hae retrain` goes: a small project from nothing, and again with nothing to do.

    python -m benchmarks.overhead [--docs] [--params] [--rounds N]

In a fresh clone of this repository with a short simulation and short trainings (so that what does not depend on their length stands out);
``--params`` keeps params.yaml as it is. Times are those at which lines of the flow's log arrive. Then N times a table of one's own, 2,000
rows by 10 columns, from `hae init` to the report and a champion: stages as forks of one process, and as new processes (HAE_WARM=0).
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks.sections import arguments, publish, table

ROOT = Path(__file__).parents[1]
TASK = re.compile(r"Task run '([^']+)'")


def shorten(path: Path) -> None:
    yaml = YAML()
    content = yaml.load(path.read_text())
    content["simulate"]["nanoseconds"] = 0.4
    for section in (*content["train"].values(), content["baseline"]):
        section.update(max_epochs=5, n_seeds=1)
    yaml.dump(content, path)


def retrain(project: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """(first line, end) of each task of `hae retrain` in seconds since the command, and its whole wall time."""
    start, spans = time.perf_counter(), dict[str, tuple[float, float]]()
    command = [sys.executable, "-m", "pipelines.cli", "retrain"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            now = time.perf_counter() - start
            if found := TASK.search(line):
                spans[found[1]] = (spans.get(found[1], (now,))[0], now)
    return spans, time.perf_counter() - start


def parts(spans: dict[str, tuple[float, float]], total: float) -> list[tuple[str, float]]:
    """Wall seconds to the first line of a task, in which some task ran, of each, between and after tasks."""
    if not spans:
        return [("whole (nothing stale: Prefect is not started)", total)]
    busy, reached = 0.0, min(first for first, _ in spans.values())
    begin = reached
    for name, (first, last) in sorted(spans.items(), key=lambda item: item[1][1]):
        if first == last:  # a task that says nothing but that it has ended: since the one before it
            spans[name] = first, last = reached, last
        busy += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    rows = [("before the first stage says something (imports, Prefect, look at the graph)", begin)]
    rows += [
        (f"{name}: from its first line to its end", last - first) for name, (first, last) in sorted(spans.items(), key=lambda item: item[1])
    ]
    rows += [
        ("between tasks (DVC, start of processes)", reached - begin - busy),
        ("after the last task", total - reached),
        ("whole", total),
    ]
    return rows


def write_table(path: Path) -> None:
    """2,000 rows of 10 columns: two factors, one of them bent, and some noise."""
    rng = np.random.default_rng(0)
    t, u = rng.normal(size=(2, 2000, 1))
    k = np.arange(1, 11)
    columns = np.sin(t * k / 3) + u * np.cos(k) + 0.1 * rng.normal(size=(2000, 10))
    pd.DataFrame(columns, columns=[f"x{i}" for i in k]).to_csv(path, index=False)


def own_table(folder: Path, warm: str) -> tuple[float, float]:
    """Wall and CPU seconds of `hae init` and `hae retrain`."""
    write_table(folder / "table.csv")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    hae = [sys.executable, "-m", "pipelines.cli"]
    environment = os.environ | {"HAE_WARM": warm, "PYTHONPATH": str(ROOT)}
    for command, place in (([*hae, "init", "project", "--data", "table.csv"], folder), ([*hae, "retrain"], folder / "project")):
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def from_table(rounds: int) -> str:
    took: dict[str, list[tuple[float, float]]] = {"1": [], "0": []}
    for _ in range(rounds):
        for warm, times in took.items():
            with tempfile.TemporaryDirectory() as folder:
                times.append(own_table(Path(folder), warm))
    names = {"1": "forks of one process", "0": "new processes"}
    return table(["a table, from `hae init` to the champion", "wall s", "CPU s"], [
        [names[warm], *(f"{statistics.median(column):.0f} ({min(column):.0f} to {max(column):.0f})" for column in zip(*times, strict=True))]
        for warm, times in took.items()
    ])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--params", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
        if not options.params:
            shorten(project / "params.yaml")
        first = parts(*retrain(project))
        again = parts(*retrain(project))
    text = table(["from nothing, a short project", "wall s"], [[name, f"{seconds:.1f}"] for name, seconds in first])
    text += "\n\n" + table(["again, nothing stale", "wall s"], [[name, f"{seconds:.1f}"] for name, seconds in again])
    if options.rounds:
        text += "\n\n" + from_table(options.rounds)
    publish("overhead", text, options.docs)


if __name__ == "__main__":
    main()
