"""What a command waits for before it does anything: processes started anew, the least of some rounds.

python -m benchmarks.startup [--docs] [--project DIR]
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.sections import arguments, publish, table

ROUNDS = 3
ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "mlflow", "prefect", "dvc")


def least(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(cpus)


def imported(arguments: list[str], folder: Path) -> str:
    """Which of the heavy packages a command imports."""
    code = (
        "import sys, runpy\nsys.argv = ['hae', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('pipelines.cli', run_name='__main__')\n"
        f"except BaseException: pass\nprint('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True).stdout
    return ", ".join(told.split("loaded")[-1].split()) or "none"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--project", type=Path, default=ROOT)
    options = parser.parse_args()
    rows = []
    for words in (["--help"], ["status"]):
        wall, cpu = least([sys.executable, "-m", "pipelines.cli", *words], options.project)
        rows.append([f"hae {' '.join(words)}", f"{wall:.2f}", f"{cpu:.2f}", imported(words, options.project)])
    for module in ("hae", "hae.estimator", "mlflow", "prefect"):
        wall, cpu = least([sys.executable, "-c", f"import {module}"], options.project)
        rows.append([f"import {module}", f"{wall:.2f}", f"{cpu:.2f}", ""])
    publish("startup", table(["", "wall s", "CPU s", "heavy packages it imports"], rows), options.docs)


if __name__ == "__main__":
    main()
