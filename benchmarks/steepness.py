"""How steep is too steep: time until metadynamics tears walkers apart, against the largest gradient of the CVs it acts along.

    python -m benchmarks.steepness DIR [--out steepness] [--ns 0.5] [--walkers 8]

DIR is a project whose data are prepared, as the default project after `make run`. One network of each kind below is trained on them, with
one member and a seed of its own. Walkers from phi < 0 then feel a bias each along CV 1 and CV 2: 300 K, 4 fs, no force cap, 1.2 kJ/mol
every 0.4 ps, factor 10, width 0.2 standard deviations. A walker is torn apart when its positions are no longer finite or it is four times
too hot. A kind's result stands in --out as a file and is not made again.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.biasing import STARTS, TEMPERATURE, edges, frames_of
from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.data.molecules import Recipe
from hae.export.cv import cv
from hae.files import write_json
from hae.importance.gradients import gradients
from hae.sampling.force import Walls
from hae.sampling.metadynamics import Axis, Grid
from hae.sampling.round import ROOM, WALL
from hae.sampling.system import Dynamics, Molecule
from hae.sampling.walker import Walker
from pipelines import params
from pipelines.stages.simulate import TOPOLOGY, alanine_dipeptide, starts

PACE, WIDTH, CVS = 0.4, 0.2, 2
KINDS = {
    "collective, smooth 0": {},
    "collective, smooth 0, other seed": {},
    "collective, smooth 0.1": {"smooth": 0.1},
    "collective, smooth 1": {"smooth": 1.0},
    "collective, smooth 5": {"smooth": 5.0},
    "collective, smooth 40": {"smooth": 40.0},
    "boosted, smooth 0": {"variant": "boosted"},
    "boosted, smooth 1": {"variant": "boosted", "smooth": 1.0},
    "boosted, smooth 40": {"variant": "boosted", "smooth": 40.0},
    "collective, linear path": {"linear_path": True},
    "collective, tanh CVs": {"cv": "tanh"},
    "collective, (32, 32)": {"hidden": (32, 32)},
    "collective, (8,)": {"hidden": (8,)},
    "boosted, (16,)": {"variant": "boosted", "hidden": (16,)},
}


def train(project: Path, frames: Frames, kind: str) -> HierarchicalAutoencoder:
    section = params.load(project / "params.yaml").variant("collective")
    own = {"variant": "collective", "smooth": 0.0, "n_seeds": 1, "random_state": list(KINDS).index(kind)}
    chosen = section.arguments() | own | KINDS[kind]
    part = frames.select(np.isin(frames.split, ("train", "validation")))
    return HierarchicalAutoencoder(**chosen).fit(part.values, groups=part.trajectory, frame=part.frame, split=part.split)


def trial(project: Path, frames: Frames, recipe: Recipe, kind: str, options) -> dict:
    """Largest gradients of the CVs at test frames, 1/nm, and of each walker the ps until it was torn apart, None if it was not."""
    model, test = train(project, frames, kind), frames.select(frames.split == "test")
    steep = [gradient.largest for gradient in gradients(model.network_, test.values, recipe).smoothness.gradients][:CVS]
    function, s = cv(model, recipe, CVS), model.transform(frames.values)
    ranges = np.array([edges(s[:, k]) for k in range(CVS)])
    axes = tuple(Axis(low - ROOM * WIDTH * spread, high + ROOM * WIDTH * spread, WIDTH * spread) for low, high, spread in ranges)
    walls = Walls(ranges[:, 0], ranges[:, 1], 2 * WALL / ranges[:, 2] ** 2, np.zeros(CVS))
    molecule = Molecule.of(alanine_dipeptide(), TOPOLOGY, starts()[[phi < 0 for phi, _ in STARTS]])
    dynamics, torn = Dynamics(TEMPERATURE), []
    stride = round(PACE / dynamics.step_ps)
    for number in range(options.walkers):
        grid = Grid(axes, 1.2, 10.0, TEMPERATURE)
        torn.append(until_torn(Walker(number, molecule, dynamics, function, grid, walls, 1, options.out, stride), grid, stride, options.ns))
        print(f"{kind}: walker {number} {'lives' if torn[-1] is None else f'torn apart after {torn[-1]:.0f} ps'}", flush=True)
    return {"kind": kind, "fve": [float(v) for v in model.validation_fve_], "steep": steep, "torn": torn}


def until_torn(walker: Walker, grid: Grid, stride: int, ns: float) -> float | None:
    """ps until the walker is torn apart under its bias, None if it is not."""
    for step in range(1, round(1000 * ns / PACE) + 1):
        place = walker.run(stride, False)
        if place.fault:
            return step * PACE
        grid.add(place.cvs)
    return None


def row(result: dict) -> str:
    torn = [ps for ps in result["torn"] if ps is not None]
    fve, steep = (", ".join(format(value, how) for value in result[what][:CVS]) for what, how in (("fve", ".3f"), ("steep", ".0f")))
    times = f"{min(torn):.0f} | {np.median(torn):.0f}" if torn else " | "
    return f"| {result['kind']} | {fve} | {steep} | {len(torn)} of {len(result['torn'])} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--out", type=Path, default=Path("steepness"))
    parser.add_argument("--ns", type=float, default=0.5, help="of each walker")
    parser.add_argument("--walkers", type=int, default=8)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frames, recipe = frames_of(options.project, None)
    results = []
    for number, kind in enumerate(KINDS):
        kept = options.out / f"{number:02d}.json"
        if not kept.exists():
            write_json(kept, trial(options.project, frames, recipe, kind, options))
        results.append(json.loads(kept.read_text()))
    print("| network | FVE_1, 2 (validation) | largest gradient of CV 1, CV 2, 1/nm | torn apart | first, ps | median, ps |")
    print("|---|---|---|---|---|---|")
    for result in sorted(results, key=lambda result: max(result["steep"])):
        print(row(result))


if __name__ == "__main__":
    main()
