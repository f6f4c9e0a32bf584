"""Measurements that need a GPU.

    python -m benchmarks.gpu [--docs]

Wall seconds with the device synchronised, the least of some rounds that take turns.
"""

import time
from collections.abc import Callable

import torch

from benchmarks.peers import SeparateLoop
from benchmarks.sections import arguments, publish, table
from benchmarks.training import BATCH, HIDDEN, LEVELS, arithmetic, data, ours
from hae.network.hierarchy import VARIANTS

ROUNDS = 5
LARGE = {"d": 2000, "hidden": (1024, 1024), "n": 8, "batch": 8192, "rows": 65_536}


def wall(work: Callable) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def least(works: dict[str, Callable]) -> dict[str, float]:
    for work in works.values():
        work()  # an epoch to warm up, in which steps are captured
    found = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            found[name] = min(found[name], wall(work))
    return found


def kernel_seconds(work: Callable) -> float:
    """Sum of the times of the kernels that ``work`` runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as told:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in told.key_averages()) / 1e6


def matrix_rate() -> float:
    """Operations a second of a large product of matrices."""
    a = torch.randn(8192, 8192, device="cuda")
    a @ a
    return 2 * 8192**3 / min(wall(lambda: a @ a) for _ in range(ROUNDS))


def small_case() -> str:
    x = data().cuda()
    works, kernels = {}, {}
    for variant in VARIANTS:
        runs = {members: ours(x, variant, members) for members in (1, 16)}
        works[f"{variant}, captured"] = runs[1].train_epoch
        works[f"{variant}, captured, 16 members"] = runs[16].train_epoch
        works[f"{variant}, eager"] = ours(x, variant, step="plain").train_epoch
    works["PyTorch, separate decoders"] = SeparateLoop(x, HIDDEN, LEVELS, BATCH).epoch
    seconds = least(works)
    for variant in VARIANTS:
        kernels[f"{variant}, captured"] = kernel_seconds(works[f"{variant}, captured"])
    one = seconds["collective, captured"]
    rows = [
        [name, f"{1e3 * value:.1f}", f"{value / one:.2f}", f"{value / kernels[name]:.2f}" if name in kernels else ""]
        for name, value in seconds.items()
    ]
    return table(["an epoch", "ms", "to collective, captured", "to the sum of its kernels' times"], rows)


def large_case() -> str:
    rows = []
    x = data(LARGE["rows"], LARGE["d"]).cuda()
    for tf32 in (False, True):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        rate = matrix_rate()
        for variant in VARIANTS:
            run = ours(x, variant, hidden=LARGE["hidden"], n=LARGE["n"], batch=LARGE["batch"])
            run.train_epoch()
            seconds = min(wall(run.train_epoch) for _ in range(ROUNDS))
            rows_done = run.schedule.steps * run.schedule.batch_size
            done = arithmetic(LARGE["hidden"], LARGE["n"], LARGE["d"]) * rows_done / seconds
            rows.append(["TF32" if tf32 else "float32", variant, f"{done / 1e12:.1f}", f"{rate / 1e12:.1f}", f"{done / rate:.0%}"])
    torch.set_float32_matmul_precision("highest")
    return table(["large case", "variant", "Tflop/s", "of a large product", "share"], rows)


def section() -> str:
    large = f"D {LARGE['d']:,}, widths {LARGE['hidden'][0]:,}, n {LARGE['n']}, batch {LARGE['batch']:,}"
    return f"{torch.cuda.get_device_name()}.\n\n{small_case()}\n\nThe large case: {large}.\n\n{large_case()}"


def main() -> None:
    docs = arguments(__doc__).parse_args().docs
    publish("gpu", section(), docs)


if __name__ == "__main__":
    main()
