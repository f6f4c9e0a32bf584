"""Many retrainings on new data, each followed by a cleaning: whether what is kept, and a retraining with nothing new, stay as they are.

    python -m tests.soak.months --retrainings 200 --keep 3 --at FOLDER --record months.csv

goes on where it was when FOLDER is there already, so it can be done in pieces.
"""

from __future__ import annotations

import argparse
import csv
import resource
from pathlib import Path

import numpy as np

from tests.soak.place import PATIENCE, Place, make

__all__ = ["level", "one", "size"]

KEPT = {"hae_bytes": ".hae", "dvc_bytes": ".dvc"}


def size(folder: Path) -> int:
    """Bytes of all files in a folder, whatever their blocks take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def one(place: Place, number: int, keep: int) -> dict[str, float]:
    """A retraining on a new table of the same size, and a cleaning; what is kept, and CPU seconds of `hae retrain` with nothing new."""
    place.rows(np.random.default_rng(number), 300).to_csv(place.table, index=False)
    _done(place, "retrain")
    _done(place, "clean", "--keep", str(keep))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _done(place, "retrain")  # asks the registry, which the cleaning changed
    between = resource.getrusage(resource.RUSAGE_CHILDREN)
    _done(place, "retrain")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"retraining": number, **{name: size(place.folder / folder) for name, folder in KEPT.items()},
            "asked_s": _cpu(before, between), "nothing_s": _cpu(between, after)}


def _done(place: Place, *words: str) -> None:
    code = place.start(*words, server=False).wait(PATIENCE)
    assert code == 0, place.said()


def _cpu(before, after) -> float:
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def level(values: list[float]) -> float:
    """The last third's median over the middle third's: 1 where nothing grows any more."""
    third = len(values) // 3
    return float(np.median(values[-third:]) / np.median(values[third : 2 * third]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--retrainings", type=int, default=200)
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--at", type=Path, required=True, help="where the project is, or will be")
    parser.add_argument("--record", type=Path, required=True, help="a line is added for each retraining")
    given = parser.parse_args()
    place = Place(given.at / "project") if (given.at / "project").exists() else make(given.at / "project")
    lines = list(csv.DictReader(given.record.open())) if given.record.exists() else []
    for number in range(len(lines), given.retrainings):
        line = one(place, number, given.keep)
        lines.append(line)
        with open(given.record, "a", newline="") as file:
            writer = csv.DictWriter(file, line)
            if number == 0:
                writer.writeheader()
            writer.writerow(line)
        print(*line.values(), flush=True)
    for name in (*KEPT, "asked_s", "nothing_s"):
        values = [float(line[name]) for line in lines]
        print(f"{name}: {values[0]:.10g} at first, {values[-1]:.10g} at last; last third over middle third {level(values):.3f}")


if __name__ == "__main__":
    main()
