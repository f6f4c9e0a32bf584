"""How the cost of an epoch grows with rows, features, CVs and members: exponents of a power law.

    python -m benchmarks.growth [--docs]

Sizes of one sweep take turns; CPU seconds, one thread, the least of the rounds.
"""

import time

import numpy as np
import torch

from benchmarks.sections import DOCS, arguments, publish, table
from benchmarks.training import data, ours
from hae.network.hierarchy import VARIANTS

SWEEPS = {  # around N 10,000, D 30, n 3, one member, widths 40-40, batch 512
    "N": (5_000, 10_000, 20_000, 40_000),
    "D": (30, 60, 120, 240),
    "n": (1, 2, 4, 8),
    "members": (1, 2, 4, 8),
}
ROUNDS = 5


def run(variant: str, name: str, size: int):
    x = data(size if name == "N" else 10_000, size if name == "D" else 30)
    return ours(x, variant, size if name == "members" else 1, n=size if name == "n" else 3)


def sweep(variant: str, name: str) -> np.ndarray:
    """Least CPU seconds of an epoch at each size."""
    runs = [run(variant, name, size) for size in SWEEPS[name]]
    seconds = np.full((ROUNDS, len(runs)), np.inf)
    for r in range(ROUNDS):
        for i, training in enumerate(runs):
            start = time.process_time()
            training.train_epoch()
            seconds[r, i] = time.process_time() - start
    return seconds.min(0)


def exponent(sizes, seconds: np.ndarray) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def section(found: dict[tuple[str, str], np.ndarray]) -> str:
    rows = [
        [
            f"{name}: {', '.join(f'{size:,}' for size in SWEEPS[name])}",
            variant,
            ", ".join(f"{1e3 * value:.0f}" for value in seconds),
            f"{exponent(SWEEPS[name], seconds):.2f}",
        ]
        for (variant, name), seconds in found.items()
    ]
    return table(["sweep", "variant", "CPU ms of an epoch", "exponent"], rows)


def draw(found: dict[tuple[str, str], np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(9.5, 2.8), sharey=True, layout="constrained")
    for (variant, name), seconds in found.items():
        axis = axes[list(SWEEPS).index(name)]
        axis.loglog(SWEEPS[name], seconds / seconds[0], "o-", label=variant)
        axis.loglog(SWEEPS[name], np.array(SWEEPS[name]) / SWEEPS[name][0], color="silver", lw=0.8)
        axis.set_xlabel(name)
        axis.set_xticks(SWEEPS[name], [f"{size:,}" for size in SWEEPS[name]], fontsize="small")
        axis.set_yticks((1, 2, 4, 8), (1, 2, 4, 8))
        axis.minorticks_off()
    axes[0].set_ylabel("cost, smallest = 1")
    axes[0].legend()
    figure.savefig(DOCS.with_name("benchmarks-growth.svg"))


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    found = {(variant, name): sweep(variant, name) for name in SWEEPS for variant in VARIANTS}
    publish("growth", section(found), options.docs)
    if options.docs:
        draw(found)


if __name__ == "__main__":
    main()
