"""The field's table: held-out FVE by level of ordered autoencoders and of what else one would take.

    python -m benchmarks.field --out FOLDER [--seconds S] [--seeds N] [--data NAME,...] [--methods NAME,...] [--docs]

Every method has the same widths, batches, rows and S seconds of CPU for a training, on one thread. One of three settings is chosen with the
first seed by the mean FVE of its levels on validation rows. Fits are kept one by one in FOLDER/fits.jsonl, so the command goes on after an
interruption; with --docs the tables go into docs/field.md.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.field.data import DATA, Sides
from benchmarks.field.merits import fves, gradient, order_of
from benchmarks.field.methods import METHODS
from benchmarks.field.page import tables, write

NAMES = lambda known: lambda text: [name for name in known if name in text.split(",")]  # noqa: E731


def fit(sides: Sides, data: str, method: str, seed: int, setting: float, seconds: float) -> tuple[dict, np.ndarray]:
    """What one fit is worth, and its levels of the test rows."""
    start = time.process_time()
    fitted = METHODS[method].fit(sides, DATA[data].n, seed, setting, seconds)
    spent = time.process_time() - start
    levels = fitted.levels(sides.test)
    return {
        "data": data, "method": method, "seed": seed, "setting": setting, "cpu_s": round(spent, 2),
        "validation": fves(fitted.levels(sides.validation), sides.validation),
        "test": fves(levels, sides.test),
        "gradient": gradient(fitted, sides.test, sides.train),
        "order": None if sides.factors is None else order_of(fitted.cvs(sides.test), sides.factors),
    }, levels


class Fits:
    """Fits kept line by line; each is made once."""

    def __init__(self, folder: Path, seconds: float):
        self.seconds, self.folder, self.file = seconds, folder, folder / "fits.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.rows = {self.key(row): row for row in map(json.loads, lines)}

    @staticmethod
    def key(row: dict) -> tuple:
        return row["data"], row["method"], row["seed"], row["setting"]

    def get(self, sides: Sides, data: str, method: str, seed: int, setting: float) -> dict:
        key = data, method, seed, setting
        if key not in self.rows:
            row, levels = fit(sides, *key, self.seconds)
            np.save(self.levels(row), levels.astype(np.float16))
            with open(self.file, "a") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[key] = row
        return self.rows[key]

    def levels(self, row: dict) -> Path:
        name = "-".join(map(str, self.key(row))).replace(" ", "_")
        return self.folder / f"{name}.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=NAMES(DATA), default=list(DATA))
    parser.add_argument("--methods", type=NAMES(METHODS), default=list(METHODS))
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fits, chosen = Fits(options.out, options.seconds), []
    bar = tqdm([(data, method) for data in options.data for method in options.methods], unit="cell")
    for data, method in bar:
        bar.set_postfix_str(f"{data}, {method}")
        sides = DATA[data].sides()
        tried = [fits.get(sides, data, method, 0, setting) for setting in METHODS[method].settings]
        best = max(tried, key=lambda row: np.nanmean(np.array(row["validation"], float)))
        seeds = options.seeds if METHODS[method].random else 1
        chosen.append([best] + [fits.get(sides, data, method, seed, best["setting"]) for seed in range(1, seeds)])
    text = tables(chosen, fits.levels)
    print(text)
    if options.docs:
        write(text)


if __name__ == "__main__":
    main()
