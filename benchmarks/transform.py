"""Frames a second a core from raw features to CVs, from memory.

python -m benchmarks.transform [--docs]
"""

import tempfile
import time

import numpy as np
import torch

from benchmarks.sections import arguments, publish, table
from hae.estimator import HierarchicalAutoencoder
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import encode

FRAMES, D, HIDDEN, ROUNDS = 400_000, 30, (64, 64), 5


def least(work) -> float:
    """CPU seconds of ``work()``, the least of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    x = np.random.default_rng(0).normal(size=(FRAMES, D)).astype(np.float32)
    network = HierarchicalNetwork.mlp(D, ["linear"] * 3, "collective", HIDDEN).reset(0).requires_grad_(False)
    model = HierarchicalAutoencoder(n_cvs=3, hidden=HIDDEN, n_seeds=1, max_epochs=1, device="cpu").fit(x[:2000])
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        model = HierarchicalAutoencoder.load(folder)
    rates = {
        "network, CVs": FRAMES / least(lambda: encode(network, x)),
        "estimator, transform (checks its input)": FRAMES / least(lambda: model.transform(x)),
        "estimator, reconstruct (all levels)": FRAMES / least(lambda: model.reconstruct(x)),
    }
    text = f"D {D}, widths {'-'.join(map(str, HIDDEN))}, float32, {FRAMES:,} frames in memory, one thread.\n\n"
    publish("transform", text + table(["", "frames a second"], [[name, f"{rate:,.0f}"] for name, rate in rates.items()]), options.docs)


if __name__ == "__main__":
    main()
