"""What leads out of a basin: networks trained where phi < 0, judged by what they say of phi > 0 and by what a bias along them finds.

    python -m benchmarks.leading DIR [--seeds 7] [--first 1] [--most 4] [--kinds "linear;narrow+path"] [--own]
    python -m benchmarks.leading DIR --elsewhere FRAMES

Alanine dipeptide at 300 K, raw coordinates. A seed is 8 unbiased walkers of 0.1 ns from one conformation, and one network of each kind
trained on them. Then 8 walkers with one metadynamics bias along CV 1 and 2, widths and walls as of `hae sample`, until one is at phi > 0 or
`most` nanoseconds are spent by all together; no retraining between. --own: a bias for each walker, and all from the one conformation.
Results stand in DIR, one file a seed and kind, and are not made again.
--elsewhere prints the table: FRAMES are coordinates of all basins that no network has seen, the default project's
data/prepared/frames.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import mdtraj
import numpy as np

from benchmarks.loop import FAR
from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.data.jacobian import featurise
from hae.data.molecules import Recipe
from hae.data.trajectories import read_trajectories
from hae.export.cv import PositionsToCVs, cv
from hae.sampling.force import Walls
from hae.sampling.metadynamics import Axis, Grid
from hae.sampling.round import ROOM, WALL, CVRange
from hae.sampling.system import Dynamics, Molecule
from hae.sampling.walker import Walker
from pipelines.project.suggest import training_for
from pipelines.stages.simulate import TOPOLOGY, alanine_dipeptide, torsion

WALKERS, SAVE, PACE, WIDTH = 8, 0.8, 0.4, 0.2
BEYOND, WINDOW, IN_A_BASIN = 0.5, 20, 0.5  # as of hae sample
KINDS = {
    "wide, smooth": {"hidden": (64, 64), "smooth": 40.0},
    "wide+path, smooth": {"hidden": (64, 64), "smooth": 40.0, "linear_path": True},
    "narrow": {"hidden": (8,)},
    "narrow+path": {"hidden": (8,), "linear_path": True},
    "linear": {"hidden": (), "activation": "identity"},
}
PHI_ATOMS = (4, 6, 8, 14)  # ACE C, ALA N CA C
PHI = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), "torsions", torsions=["phi"])


def walk(
    folder: Path, starts: np.ndarray, seed: int, ps: float, function: PositionsToCVs | None = None, ranges: Sequence[CVRange] = (),
    own: bool = False,
) -> None:
    """Walkers side by side in one process, in turns, as `hae.sampling.round.run`; until one is at phi > 0 if biased. own: a bias each."""
    molecule, dynamics = Molecule.of(alanine_dipeptide(), TOPOLOGY, starts), Dynamics()
    axes = tuple(Axis(r.low - ROOM * WIDTH * r.spread, r.high + ROOM * WIDTH * r.spread, WIDTH * r.spread) for r in ranges)
    grids = [Grid(axes, 1.2, 10.0, dynamics.temperature) for _ in range(WALKERS if own else 1)] if function else []
    grids = grids if own else grids * WALKERS  # the same for all
    walls = Walls(*np.array([(r.low, r.high, 2 * WALL / r.spread**2, 0.0) for r in ranges]).reshape(-1, 4).T)
    folder.mkdir(parents=True)
    stride = round(PACE / dynamics.step_ps)
    crew = [Walker(i, molecule, dynamics, function, grids[i] if grids else None, walls, seed, folder, 2 * stride) for i in range(WALKERS)]
    for step in range(1, round(ps / PACE) + 1):
        places = [walker.run(stride, step % 2 == 0) for walker in crew]
        if any(place.fault for place in places):
            raise RuntimeError(next(place.fault for place in places if place.fault))
        for grid, place in zip(grids, places):
            grid.add(place.cvs)
        if grids and step % 10 == 0 and any(0 < phi < FAR[1] for phi in map(phi_now, crew)):
            break


def phi_now(walker: Walker) -> float:
    return torsion(*walker.simulation.context.getState(positions=True).getPositions(asNumpy=True)._value[list(PHI_ATOMS)])


def one_basin(folder: Path, seed: int) -> Path:
    """The unbiased walkers of a seed."""
    if not folder.exists():
        shutil.rmtree(work := folder.with_name(f".{folder.name}"), ignore_errors=True)
        walk(work, mdtraj.load(str(TOPOLOGY)).xyz, seed, 100.0)
        work.rename(folder)
    return folder


def rows_of(folder: Path) -> tuple[Frames, np.ndarray, Recipe]:
    """Rows of coordinates, all positions (N, A, 3) in nm, and the recipe."""
    structure = mdtraj.load(str(TOPOLOGY))
    recipe = Recipe.for_molecule(structure, "coordinates")
    files = {path.stem: path for path in sorted(folder.glob("walker-*.dcd"))}
    positions = np.concatenate([mdtraj.load(str(path), top=structure.topology).xyz for path in files.values()])
    return read_trajectories(recipe, files, structure), positions, recipe


def train(frames: Frames, kind: str, seed: int) -> HierarchicalAutoencoder:
    chosen = {"n_cvs": 3, "learning_rate": 0.01, "n_seeds": 2, "block_frames": 25, "gap_frames": 2, "shares": (0.8, 0.2, 0.0),
              **training_for(int(0.8 * len(frames))), **KINDS[kind]}  # fmt: skip
    return HierarchicalAutoencoder(variant="collective", random_state=seed, **chosen).fit(frames.values, groups=frames.trajectory)


def elsewhere(function: PositionsToCVs, seen: np.ndarray, positions: np.ndarray) -> dict:
    """What CV 1 and 2 say of frames at phi > 0 and on the way there. seen (N, 2): CVs of the training frames. positions (M, A, 3).

    beyond: share of the frames at phi > 0 that lie outside of the training range. left: median |ds/dx| there over that at phi < 0.
    apart: accuracy, balanced, of the nearest neighbour in the plane of both CVs, for phi > 0 against the rest. along: share of the
    direction of phi, in mass-less Cartesian space, that lies in the plane of both gradients: in the basin, and on the way out.
    """
    s, jacobian = function(positions)
    place = {name: number for number, name in enumerate(function.atoms)}
    at = [place[name] for name in PHI.torsions[0]]
    features, pull = featurise(PHI, positions[:, at])
    phi = np.arctan2(features[:, 0], features[:, 1])
    by_phi = np.zeros_like(positions)
    by_phi[:, at] = pull(np.stack([features[:, 1], -features[:, 0]], 1)[:, None])[:, 0]  # d sin cos - d cos sin
    far, home, way = (phi > 0.6) & (phi < 1.6), (phi > -2.6) & (phi < -0.7), (phi > -0.4) & (phi < 0.3)
    size = np.linalg.norm(jacobian.reshape(*jacobian.shape[:2], -1), axis=-1) / seen.std(0)
    low, high = seen.min(0), seen.max(0)
    span = np.linalg.qr(jacobian.reshape(*jacobian.shape[:2], -1).swapaxes(1, 2))[0]
    flat = by_phi.reshape(len(by_phi), -1)
    share = np.square(np.einsum("nd,ndk->nk", flat / np.linalg.norm(flat, axis=1, keepdims=True), span)).sum(1)
    return {
        "beyond": float(((s < low) | (s > high)).any(1)[far].mean()),
        "left": [float(np.median(size[way, k]) / np.median(size[home, k])) for k in range(2)],
        "left_far": [float(np.median(size[far, k]) / np.median(size[home, k])) for k in range(2)],
        "apart": nearest(s / seen.std(0), (phi > FAR[0]) & (phi < FAR[1])),
        "along": [float(np.median(share[where])) for where in (home, way)],
    }


def nearest(s: np.ndarray, there: np.ndarray) -> float:
    half = np.random.default_rng(0).random(len(s)) < 0.5
    away = ((s[~half, None] - s[None, half]) ** 2).sum(-1)
    said, true = there[half][away.argmin(1)], there[~half]
    return float((said[true].mean() + (~said[~true]).mean()) / 2)


def ranges_of(s: np.ndarray, trajectory: np.ndarray) -> list[CVRange]:
    """Walls and widths as of hae sample."""
    parts = [s[trajectory == name] for name in dict.fromkeys(trajectory)]
    stretches = [part[i : i + WINDOW].std(0) for part in parts for i in range(0, len(part) - WINDOW + 1, WINDOW)]
    spread = np.minimum(IN_A_BASIN / 0.2 * np.median(stretches, axis=0), s.std(0))
    room = BEYOND * np.ptp(s, axis=0)
    return [CVRange(float(a), float(b), float(w)) for a, b, w in zip(s.min(0) - room, s.max(0) + room, spread)]


def frontier(s: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of 8 rows that lie far apart in s (N, n), as hae sample starts."""
    place = s / s.std(0)
    chosen = [int(np.random.default_rng(seed).integers(len(s)))]
    away = np.full(len(s), np.inf)
    while len(chosen) < WALKERS:
        away = np.minimum(away, ((place - place[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(away.argmax()))
    return np.array(chosen)


def biased(
    folder: Path, function: PositionsToCVs, ranges: list[CVRange], starts: np.ndarray, seed: int, most: float, own: bool
) -> dict:
    """Nanoseconds in all until phi > 0 (None: not found), those spent, share of frames beyond the walls of each CV, and the range
    reached over that of the training frames."""
    shutil.rmtree(folder, ignore_errors=True)
    walk(folder, starts, seed, 1000 * most / WALKERS, function, ranges, own)
    parts = [mdtraj.load(str(path), top=str(TOPOLOGY)) for path in sorted(folder.glob("walker-*.dcd"))]
    there = np.array([(phi > FAR[0]) & (phi < FAR[1]) for phi in (mdtraj.compute_phi(part)[1][:, 0] for part in parts)]).any(0)
    s = np.concatenate([function(part.xyz[:, function.indices(part.topology)])[0] for part in parts])
    shutil.rmtree(folder)
    return {"found": float(np.argmax(there) + 1) * SAVE * WALKERS / 1000 if there.any() else None, "spent": len(s) * SAVE / 1000,
            "walls": [float(((s[:, k] < r.low) | (s[:, k] > r.high)).mean()) for k, r in enumerate(ranges)],
            "reached": [float(np.ptp(s[:, k]) / (r.high - r.low) * (1 + 2 * BEYOND)) for k, r in enumerate(ranges)]}


def model_of(folder: Path, kind: str, seed: int) -> HierarchicalAutoencoder:
    kept = folder / f"model-{slug(kind)}.{seed}"
    if not kept.exists():
        train(rows_of(one_basin(folder / f"basin-{seed}", seed))[0], kind, seed).save(kept)
    return HierarchicalAutoencoder.load(kept)


def trial(folder: Path, kind: str, seed: int, most: float, own: bool) -> dict:
    frames, positions, recipe = rows_of(one_basin(folder / f"basin-{seed}", seed))
    model = model_of(folder, kind, seed)
    s = model.transform(frames.values)[:, :2]
    starts = mdtraj.load(str(TOPOLOGY)).xyz if own else positions[frontier(s, seed)]
    ranges = ranges_of(s, frames.trajectory)
    return biased(folder / f"round-{seed}-{slug(kind)}", cv(model, recipe, 2), ranges, starts, seed, most, own)


def looked_at(folder: Path, kind: str, out: np.ndarray) -> list[dict]:
    """What the networks of a kind that there are explain where they were trained, and what `elsewhere` tells."""
    found = []
    for path in sorted(folder.glob(f"model-{slug(kind)}.*")):
        frames, _, recipe = rows_of(folder / f"basin-{path.suffix[1:]}")
        model = HierarchicalAutoencoder.load(path)
        told = elsewhere(cv(model, recipe, 2), model.transform(frames.values)[:, :2], out)
        found.append({"fve": float(model.validation_fve_[1]), **told})
    return found


def slug(kind: str) -> str:
    return kind.replace(", ", "-").replace("+", "-")


def table(folder: Path, out: np.ndarray) -> str:
    heads = ["network", "seeds", "FVE_2 in the basin", "phi > 0 outside the training range", "separated",
             "relative gradient on the way; at phi > 0", "phi in the plane: basin, way",
             "found phi > 0 after, ns", "with a bias each"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for kind in KINDS:
        found = looked_at(folder, kind, out)
        if not found:
            continue

        def of(name: str, found=found) -> str:
            return ", ".join(f"{value:.2f}" for value in np.atleast_1d(np.median([r[name] for r in found], axis=0)))

        lines.append(f"| {kind} | {len(found)} | {of('fve')} | {of('beyond')} | {of('apart')} | {of('left')}; {of('left_far')} | "
                     f"{of('along')} | {times(folder, slug(kind))} | {times(folder, 'own-' + slug(kind))} |")
    return "\n".join(lines)


def times(folder: Path, name: str) -> str:
    """Nanoseconds until phi > 0, of each trial."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}.[0-9]*.json"))]
    return ", ".join(f"none in {r['spent']:.1f}" if r["found"] is None else f"{r['found']:.1f}" for r in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--elsewhere", type=Path)
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--first", type=int, default=1, help="of the seeds")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--most", type=float, default=4.0, help="nanoseconds; 0: networks alone")
    parser.add_argument("--kinds", default=";".join(KINDS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.elsewhere:
        rows = Frames.read(options.elsewhere)
        print(table(options.folder, rows.values[:: max(1, len(rows) // 1000)].reshape(-1, rows.n_features // 3, 3).astype(float)))
        return
    for seed in range(options.first, options.first + options.seeds):
        for kind in options.kinds.split(";"):
            path = options.folder / f"{'own-' if options.own else ''}{slug(kind)}.{seed}.json"
            if options.most == 0:
                model_of(options.folder, kind, seed)
            elif not path.exists():
                path.write_text(json.dumps(trial(options.folder, kind, seed, options.most, options.own)))
                print(path.read_text(), flush=True)


if __name__ == "__main__":
    main()
