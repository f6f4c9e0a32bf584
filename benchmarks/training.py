"""Cost of an epoch, side by side: this library, plain PyTorch loops, and mlcolvar's plain autoencoder.

    python -m benchmarks.training [--docs] [--rounds 9] [--device cpu]

All take turns, an epoch each, so that what else the machine does meets all alike; ratios are taken within a round. CPU seconds, one thread.
On CUDA see `benchmarks.gpu`, which this calls.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import DataLoaderLoop, Mlcolvar, SeparateLoop, cpu_seconds
from benchmarks.sections import DOCS, arguments, publish, table
from hae.network.hierarchy import VARIANTS, HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import Training
from hae.training.rows import Rows
from hae.training.schedule import Settings

N, D, HIDDEN, LEVELS, BATCH = 40_000, 30, (40, 40), 3, 512
PEER = "mlcolvar AutoEncoderCV (one decoder)"
LOADER = "PyTorch, separate decoders, DataLoader"
RESIDENT = "PyTorch, separate decoders, data in memory"
RARE = 3  # what takes long takes its turn in every third round


def data(n: int = N, d: int = D) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=generator) @ torch.randn(5, d, generator=generator)
    return (x - x.mean(0)) / x.std()


def ours(x: torch.Tensor, variant: str, members: int = 1, hidden=HIDDEN, n: int = LEVELS, batch: int = BATCH) -> Training:
    """A training of this library, to be stepped by epochs."""
    network = HierarchicalNetwork.mlp(x.shape[1], ["linear"] * n, variant, hidden, members=members)
    for m in range(members):
        network.reset(m, m)
    settings = Settings(batch, max_epochs=1000, patience=None, learning_rate=1e-3)
    return Training(network.to(x.device), Rows(x, x), None, Objective(), settings, list(range(members)))


def arithmetic(hidden=HIDDEN, n: int = LEVELS, d: int = D) -> int:
    """Operations of a training step a row: 6 for every weight (2 forward, 4 backward), less the input's slope."""
    widths = [d, *hidden, n]
    decoders = sum(k * hidden[-1] for k in range(1, n + 1)) + n * sum(a * b for a, b in zip(widths[1:-1], widths[:-2]))
    return 6 * (sum(a * b for a, b in pairwise(widths)) + decoders) - 2 * d * hidden[0]


def rates() -> tuple[float, float]:
    """Measured on this machine, one thread: operations a second of a large matrix product, and bytes a second of a large copy."""
    a, big = torch.randn(1024, 1024), torch.randn(2**25)
    out, copy = torch.empty_like(a), torch.empty_like(big)
    return 2 * 1024**3 / best(lambda: torch.mm(a, a, out=out), 15), 2 * 4 * len(big) / best(lambda: copy.copy_(big), 10)


def best(work, times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def measure(rounds: int) -> dict[str, np.ndarray]:
    """CPU seconds of an epoch of each, (rounds,), NaN where it had no turn."""
    x = data()
    frequent = {f"hae {variant}": ours(x, variant).train_epoch for variant in VARIANTS}
    frequent[RESIDENT] = SeparateLoop(x, HIDDEN, LEVELS, BATCH).epoch
    rare = {f"hae {variant}, {m} members": ours(x, variant, m).train_epoch for variant in VARIANTS for m in (4, 16)}
    rare[LOADER] = DataLoaderLoop(x, HIDDEN, LEVELS, BATCH).epoch
    peer = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            peer = Mlcolvar(x, HIDDEN, LEVELS, BATCH, Path(folder) / "x.pt")
            frequent[PEER] = peer.epoch
        except RuntimeError as error:
            print(f"benchmarks: {error}: left out")
        for work in frequent.values():
            work()  # an epoch to warm up
        turns = {name: np.full(rounds, np.nan) for name in (*frequent, *rare)}
        for r in range(rounds):
            for name, work in frequent.items() if r % RARE else {**frequent, **rare}.items():
                turns[name][r] = cpu_seconds(work)
    if peer is not None:
        print(f"benchmarks: mlcolvar {peer.version}")
        peer.close()
    return turns


def ratios(turns: dict[str, np.ndarray], name: str, to: str) -> str:
    """Median ratio within rounds, and the middle half of them."""
    if to not in turns:
        return ""
    ratio = turns[name] / turns[to]
    low, middle, high = np.nanpercentile(ratio, (25, 50, 75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def section(turns: dict[str, np.ndarray]) -> str:
    members = {name: int(name.split(", ")[1].split()[0]) if name.endswith("members") else 1 for name in turns}
    rows = [
        [
            name,
            f"{np.nanmin(of):.3f}",
            f"{np.nanmedian(of):.3f}",
            f"{np.nanmin(of) / members[name]:.3f}",
            ratios(turns, name, PEER),
            ratios(turns, name, LOADER),
        ]
        for name, of in turns.items()
    ]
    matrix, copy = rates()
    flops = arithmetic() * N
    head = ["an epoch", "CPU s, least", "CPU s, median", "least a member", "to mlcolvar", "to the DataLoader loop"]
    return "\n".join(
        [
            f"N {N:,}, D {D}, widths {'-'.join(map(str, HIDDEN))}, n {LEVELS}, batch {BATCH}, one thread, no validation. Ratios: median "
            "and middle half over rounds.",
            "",
            table(head, rows),
            "",
            f"The floor for one member: {flops / 1e9:.1f} Gflop at the {matrix / 1e9:.0f} Gflop/s of a large matrix product is "
            f"{flops / matrix:.3f} s; the {N * D * 4 / 1e6:.1f} MB of rows, read and written once at {copy / 1e9:.1f} GB/s, are "
            f"{2 * N * D * 4 / copy * 1e3:.1f} ms.",
        ]
    )


def draw(turns: dict[str, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    to = PEER if PEER in turns else RESIDENT
    names = [name for name in turns if not name.endswith("members")]
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    for i, name in enumerate(reversed(names)):
        low, middle, high = np.nanpercentile(turns[name] / turns[to], (25, 50, 75))
        axis.barh(i, middle, color="tab:blue" if name.startswith("hae") else "silver")
        axis.plot([low, high], [i, i], color="black")
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.axvline(1, color="black", lw=0.5)
    axis.set_xlabel("cost of an epoch against that of " + to.split(" ")[0].rstrip(","))
    figure.savefig(DOCS.with_name("benchmarks-training.svg"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.device == "cuda":
        from benchmarks import gpu

        publish("gpu", gpu.section(), options.docs)
        return
    turns = measure(options.rounds)
    publish("training", section(turns), options.docs)
    if options.docs:
        draw(turns)


if __name__ == "__main__":
    main()
