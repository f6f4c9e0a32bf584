"""Where the wall time of `hae retrain` goes: a small project from nothing, and again with nothing to do.

    python -m benchmarks.overhead [--docs] [--params]

In a fresh clone of this repository with a short simulation and short trainings (so that what does not depend on their length stands out);
``--params`` keeps params.yaml as it is. Times are those at which lines of the flow's log arrive.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    start, spans = time.perf_counter(), {}
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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--params", action="store_true")
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
    publish("overhead", text, options.docs)


if __name__ == "__main__":
    main()
