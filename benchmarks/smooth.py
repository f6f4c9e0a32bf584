"""The bargain of smooth CVs: what is explained against the steepest place, for `smooth=` and `linear_path=` of the estimator.

    python -m benchmarks.smooth [--docs] [--data data/prepared/frames] [--members 3]
    python -m benchmarks.smooth --cost [--docs]

Each point is one training of the project's params.yaml but for what the row says, with a member a seed. FVE_2 and the largest |ds/dx| of
every member are taken on the test frames: s over its standard deviation there, x in raw units (nm). ``--cost``: CPU seconds of an epoch
with smooth 5 against one without, in turns, one thread. ``--docs`` writes the table into docs/smooth.md, and the figure docs/smooth.svg.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import cpu_seconds
from benchmarks.sections import arguments, table
from benchmarks.training import data
from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.files import written_whole
from hae.network.hierarchy import VARIANTS, HierarchicalNetwork
from hae.network.objective import Objective
from hae.network.scoring import score_frames
from hae.training.loop import Training
from hae.training.rows import Rows
from hae.training.schedule import Settings
from pipelines import params

DOCS = Path(__file__).parents[1] / "docs"
SMOOTH = (0.0, 1.0, 5.0, 20.0, 40.0)
SHAPES = {"(64, 64)": ((64, 64), False), "(64, 64) and a linear path": ((64, 64), True), "(8,) and a linear path": ((8,), True)}
ROUNDS = 9


@dataclass(frozen=True)
class Point:
    """One setting: FVE_k (members, n) on test frames, and the largest |ds_k/dx| (members, n) over them, 1/nm."""

    variant: str
    shape: str
    smooth: float
    fve: np.ndarray
    steepest: np.ndarray
    seconds: float


def steepest(network: HierarchicalNetwork, X: np.ndarray) -> np.ndarray:
    """(n,): largest |ds_k/dx| over rows X (N, D) in raw units, s_k over its standard deviation; an angle in radians."""
    s = torch.from_numpy(X).double().requires_grad_()
    network = network.double()
    cvs = network.encode(s)
    found = []
    for k, kind in enumerate(network.bottleneck.kinds):
        (slope,) = torch.autograd.grad(cvs[:, k].sum(), s, retain_graph=True)
        spread = 1.0 if kind == "circular" else float(cvs[:, k].detach().std())
        found.append(float(slope.norm(dim=1).max()) / spread)
    return np.array(found)


def measure(frames: Frames, variant: str, shape: str, smooth: float, arguments: dict) -> Point:
    start = time.perf_counter()
    hidden, linear_path = SHAPES[shape]
    given = arguments | {"hidden": hidden, "linear_path": linear_path, "smooth": smooth, "variant": variant}
    learnt = frames.select(np.isin(frames.split, ("train", "validation")))
    model = HierarchicalAutoencoder(**given, device="cpu")
    model.fit(learnt.values, groups=learnt.trajectory, frame=learnt.frame, split=learnt.split, sample_weight=learnt.weights)
    X = frames.select("test").values.astype(np.float64)
    fve = np.array([score_frames(member, X).fve for member in model.members_])
    slopes = np.array([steepest(member, X) for member in model.members_])
    return Point(variant, shape, smooth, fve, slopes, time.perf_counter() - start)


def words(values: np.ndarray, form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def rows(points: list[Point]) -> str:
    head = ["variant", "encoder", "smooth", "FVE_1", "FVE_2", "steepest place of CV 1 and 2, 1/nm", "of CV 3"]
    body = [
        [
            p.variant,
            p.shape,
            f"{p.smooth:g}",
            words(p.fve[:, 0], ".3f"),
            words(p.fve[:, 1], ".3f"),
            words(p.steepest[:, :2].max(1), ".0f"),
            words(p.steepest[:, 2], ".0f") if p.steepest.shape[1] > 2 else "",
        ]
        for p in points
    ]
    return table(head, body)


def draw(points: list[Point], path: Path) -> None:
    """A panel a variant: each member a point, a line through the medians from the largest smooth to 0."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    variants = list(dict.fromkeys(p.variant for p in points))
    figure, axes = plt.subplots(
        1, len(variants), figsize=(4.8 * len(variants), 4.2), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axis, variant in zip(axes[0], variants):
        for colour, shape, below in zip(("tab:blue", "tab:orange", "tab:green"), SHAPES, (True, False, True)):
            of = [p for p in points if p.variant == variant and p.shape == shape]
            x, y = ([float(np.median(values)) for values in both] for both in zip(*((p.steepest[:, :2].max(1), p.fve[:, 1]) for p in of)))
            axis.plot(x, y, color=colour, lw=1.2, label=shape)
            for p, a, b in zip(of, x, y):
                axis.plot(p.steepest[:, :2].max(1), p.fve[:, 1], "o", ms=3, color=colour, alpha=0.5)
                axis.plot(a, b, "s", ms=4, color=colour)
                axis.annotate(
                    f"{p.smooth:g}",
                    (a, b),
                    textcoords="offset points",
                    xytext=(0, -13 if below else 8),
                    ha="center",
                    fontsize=8,
                    color=colour,
                )
        axis.axvline(120, color="grey", lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="steepest place of CV 1 and 2, 1/nm", title=variant)
        axis.set_xticks([30, 60, 120, 240, 480, 960], ["30", "60", "120", "240", "480", "960"])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("FVE_2 on test frames")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path)


def epochs(x: torch.Tensor, variant: str, cv: tuple[str, ...], hidden: tuple[int, ...], members: int, smooth: float) -> Training:
    network = HierarchicalNetwork.mlp(x.shape[1], cv, variant, hidden, members=members)
    for m in range(members):
        network.reset(m, m)
    settings = Settings(max_epochs=1000, patience=None, learning_rate=1e-3)
    return Training(network, Rows(x, x), Rows(x[:2000], x[:2000]), Objective(smooth=smooth), settings, list(range(members)))


def cost() -> str:
    """Table of CPU seconds of an epoch, the least of some rounds, and the median ratio within rounds."""
    torch.set_num_threads(1)
    x, body = data(9000), []
    for variant in VARIANTS:
        for cv in (("linear",) * 3, ("linear", "circular", "tanh")):
            for hidden, members in (((64, 64), 1), ((64, 64), 4), ((8,), 4)):
                both = [epochs(x, variant, cv, hidden, members, smooth) for smooth in (0.0, 5.0)]
                for run in both:
                    run.train_epoch()
                turns = np.array([[cpu_seconds(run.train_epoch) for run in both] for _ in range(ROUNDS)])
                ratio = np.median(turns[:, 1] / turns[:, 0])
                body.append(
                    [variant, ", ".join(dict.fromkeys(cv)), str(hidden), members, *(f"{s:.3f}" for s in turns.min(0)), f"{ratio:.2f}"]
                )
                print(*body[-1], flush=True)
    return table(["variant", "CVs", "hidden", "members", "smooth 0, s", "smooth 5, s", "ratio"], body)


def publish(name: str, text: str) -> None:
    """Put a table between its marks in docs/smooth.md."""
    begin, end, page = f"<!-- {name}: begin -->", f"<!-- {name}: end -->", DOCS / "smooth.md"
    before, rest = page.read_text().split(begin)
    with written_whole(page) as partial:
        partial.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cost", action="store_true", help="what an epoch costs instead")
    parser.add_argument("--data", type=Path, default=Path("data/prepared/frames"))
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=["collective", "boosted"])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--smooth", nargs="+", type=float, default=list(SMOOTH))
    parser.add_argument("--seed", type=int, help="random_state in place of that of params.yaml")
    options = parser.parse_args()
    if options.cost:
        text = cost()
        if options.docs:
            publish("cost", text)
        return
    frames, sections = Frames.read(options.data), params.load().train
    points = []
    for variant in options.variants:
        section = sections[variant].arguments() | {"n_seeds": options.members}
        section |= {} if options.seed is None else {"random_state": options.seed}
        for shape in options.shapes:
            for smooth in options.smooth:
                point = measure(frames, variant, shape, smooth, section)
                points.append(point)
                print(f"{point.seconds:.0f} s\n{rows([point])}", flush=True)
    text = rows(points)
    print(text)
    if options.docs:
        publish("front", text)
        draw(points, DOCS / "smooth.svg")


if __name__ == "__main__":
    main()
