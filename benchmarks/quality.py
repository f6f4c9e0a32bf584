"""Held-out FVE against CPU seconds of training, side by side, on the rows of a prepared project.

    python -m benchmarks.quality [--docs] [--project DIR] [--longer]

The default settings of params.yaml, one member, one thread. Others train at a constant rate (1e-3, torch's and mlcolvar's default) for as
many CPU seconds as the longest of ours. ``--longer`` adds a run of ten times as many epochs, and the time to come within 0.005 of it.
"""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import DataLoaderLoop, Mlcolvar, SeparateLoop
from benchmarks.sections import DOCS, arguments, publish, table
from hae.data.frames import Frames
from hae.errors import BadInput
from hae.network.hierarchy import VARIANTS, HierarchicalNetwork
from hae.network.objective import Objective, standardisation
from hae.training.loop import train
from hae.training.rows import Rows
from hae.training.schedule import Settings
from pipelines import params

NEAR = 0.005
ROOT = Path(__file__).parents[1]


@dataclass
class Sides:
    """Training, validation and test rows, standardised."""

    train: Rows
    validation: Rows
    test: Rows

    @classmethod
    def read(cls, path: Path) -> "Sides":
        frames = Frames.read(path)
        mean, scale = standardisation(frames.select("train").values, "global")

        def rows(side):
            x = torch.from_numpy(((frames.select(side).values - mean) / scale).astype(np.float32))
            return Rows(x, x)

        return cls(rows("train"), rows("validation"), rows("test"))

    def fve(self, levels: torch.Tensor) -> float:
        """Of the last of levels (..., n, N, D) of the test rows."""
        y = self.test.inputs
        return float(1 - (levels[..., -1, :, :] - y).square().mean() / y.square().mean())


@dataclass
class Curve:
    """CPU seconds of training so far, and the held-out FVE of the last level; at the end that of the weights that are kept."""

    seconds: list[float] = field(default_factory=list)
    fve: list[float] = field(default_factory=list)
    kept: float = float("nan")
    epochs: int | None = None  # where not every epoch was looked at

    def until(self, fve: float) -> float:
        """Seconds until it is never lower again; inf where that is not reached."""
        low = [i for i, value in enumerate(self.fve) if value < fve]
        return self.seconds[low[-1] + 1 if low else 0] if not low or low[-1] + 1 < len(self.fve) else float("inf")


def ours(sides: Sides, section, variant: str, epochs: int) -> Curve:
    network = HierarchicalNetwork.mlp(sides.train.inputs.shape[1], ["linear"] * section.n_cvs, variant, section.hidden, members=1)
    network.reset(0, 0)
    curve, paused = Curve(epochs=epochs), 0.0
    start = time.process_time()

    def look(rows):
        nonlocal paused
        now = time.process_time()
        if len(curve.fve) < 60 or rows[0]["epoch"] % 10 == 0 or rows[0]["epoch"] == epochs:
            with torch.no_grad():
                curve.fve.append(sides.fve(network.standardised_levels(sides.test.inputs[None])))
            curve.seconds.append(now - start - paused)
        paused += time.process_time() - now

    settings = Settings(section.batch_size, epochs, None, section.learning_rate)
    train(network, sides.train, sides.validation, Objective(), settings, [0], on_epoch=look)
    with torch.no_grad():
        curve.kept = sides.fve(network.standardised_levels(sides.test.inputs[None]))
    return curve


def plain(loop, sides: Sides, budget: float) -> Curve:
    curve, spent = Curve(), 0.0
    while spent < budget:
        start = time.process_time()
        loop.epoch()
        spent += time.process_time() - start
        with torch.no_grad():
            curve.fve.append(sides.fve(loop.network.levels(sides.test.inputs)))
        curve.seconds.append(spent)
    return curve


def peer(sides: Sides, section, budget: float) -> Curve:
    curve, spent = Curve(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        worker = Mlcolvar(
            sides.train.inputs, section.hidden, section.n_cvs, section.batch_size, Path(folder) / "x.pt", held_out=sides.test.inputs
        )
        while spent < budget:
            cpu, _, fve = worker.epoch()
            spent += cpu
            curve.seconds.append(spent)
            curve.fve.append(fve)
        worker.close()
    return curve


def measure(project: Path, longer: bool) -> tuple[dict[str, Curve], dict[str, Curve]]:
    sides, parameters = Sides.read(project / "data/prepared/frames"), params.load(project / "params.yaml")
    curves, long = {}, {}
    for variant in VARIANTS:
        section = parameters.variant(variant)
        ours(sides, section, variant, 1)  # what torch imports at its first step is no part of a training
        curves[f"hae {variant}"] = ours(sides, section, variant, section.max_epochs)
        if longer:
            long[f"hae {variant}"] = ours(sides, section, variant, 10 * section.max_epochs)
    budget = max(curve.seconds[-1] for curve in curves.values())
    rest = sides.train.inputs, section.hidden, section.n_cvs, section.batch_size
    curves["PyTorch, separate decoders, data in memory"] = plain(SeparateLoop(*rest), sides, budget)
    curves["PyTorch, separate decoders, DataLoader"] = plain(DataLoaderLoop(*rest), sides, budget)
    try:
        curves["mlcolvar AutoEncoderCV (no order)"] = peer(sides, section, budget)
    except RuntimeError as error:
        print(f"benchmarks: {error}: left out")
    return curves, long


def section_of(curves: dict[str, Curve], long: dict[str, Curve], n: int) -> str:
    rows = []
    for name, curve in curves.items():
        kept = curve.kept if np.isfinite(curve.kept) else curve.fve[-1]
        row = [name, curve.epochs or len(curve.fve), f"{curve.seconds[-1]:.1f}", f"{kept:.4f}"]
        if long:
            aim = long[name].kept if name in long else float("nan")
            within = min(curve.until(aim - NEAR), long[name].until(aim - NEAR)) if name in long else float("nan")
            row += [f"{aim:.4f}", f"{within:.1f}"] if name in long else ["", ""]
        rows.append(row)
    head = ["", "epochs", "CPU s", f"test FVE_{n}"] + (
        [f"FVE_{n} of a run ten times longer", f"CPU s to within {NEAR} of it"] if long else []
    )
    return table(head, rows)


def draw(curves: dict[str, Curve], n: int) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for name, curve in curves.items():
        axis.plot(curve.seconds, curve.fve, label=name, lw=2 if name.startswith("hae") else 1)
    axis.set(xlabel="CPU seconds of training, one thread", ylabel=f"held-out FVE_{n}", ylim=(0.7, 1))
    axis.legend(fontsize="small")
    figure.savefig(DOCS.with_name("benchmarks-quality.svg"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--project", type=Path, default=ROOT)
    parser.add_argument("--longer", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        curves, long = measure(options.project, options.longer)
    except BadInput as error:
        raise SystemExit(f"benchmarks: {error}") from None
    n = params.load(options.project / "params.yaml").variant("collective").n_cvs
    publish("quality", section_of(curves, long, n), options.docs)
    if options.docs:
        draw(curves, n)


if __name__ == "__main__":
    main()
