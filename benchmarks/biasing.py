"""Metadynamics at 300 K along the CVs that the default project trains: do walkers live, cross, and give the free energy?

    python -m benchmarks.biasing DIR [--seeds 3] [--ns 5] [--walkers 8] [--cvs 2] [--smooth S] [--hidden 64,64] [--features torsions]

DIR is a project whose data are prepared. For each training seed: the collective network of its params.yaml but for what the options say;
then walkers from phi < 0, each with a bias of its own, 4 fs, no force cap. Rounds that stand in --out are not run again, so it can be
interrupted. Reference for dF, phi > 0 less the rest: 9.63 +- 0.07 kJ/mol, from 48 ns under a static bias along phi and psi.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.data.jacobian import atoms_read
from hae.data.molecules import Recipe, atom_names
from hae.data.units import BOLTZMANN
from hae.export.cv import cv
from hae.importance.gradients import gradients
from hae.sampling import plumed_files
from hae.sampling.round import CVRange, Sampling, run
from hae.sampling.system import Dynamics, Molecule
from pipelines import params
from pipelines.stages.simulate import STARTS, TOPOLOGY, alanine_dipeptide, starts

REFERENCE, NONE = 9.63, 20.0  # kJ/mol; what counts where a walker has seen one side alone
SETTLE = 0.3  # of the rows, left out: the bias grows fast there
TEMPERATURE = 300.0
TRANS = (0.0, 2.3)  # phi of the third basin, radians


def frames_of(project: Path, features: str | None) -> tuple[Frames, Recipe]:
    """Rows and recipe of a project, or other features of the same trajectories with the same sides."""
    prepared = project / "data/prepared"
    frames, recipe = Frames.read(prepared / "frames"), Recipe.from_json((prepared / "recipe.json").read_text())
    if features is None:
        return frames, recipe
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), features)
    values = {}
    for path in sorted((project / "data/raw").glob("*.dcd")):
        values[path.stem] = recipe.features(mdtraj.load(str(path), top=str(TOPOLOGY))).values
    rows = np.stack([values[Path(name).stem][int(at)] for name, at in zip(frames.trajectory, frames.frame)])
    return replace(frames, values=rows, features=recipe.names, units=("",) * len(recipe.names)), recipe


def positions_of(project: Path, frames: Frames, recipe: Recipe) -> np.ndarray:
    """(N, A, 3) in nm of the atoms that torsions are made of, at rows of the project's trajectories."""
    names = atom_names(mdtraj.load(str(TOPOLOGY)).topology)
    atoms = [names.index(name) for name in atoms_read(recipe)]
    files = (project / "data/raw").glob("*.dcd")
    positions = {path.stem: mdtraj.load(str(path), top=str(TOPOLOGY), atom_indices=atoms).xyz for path in files}
    order = np.argsort(np.argsort(atoms))  # mdtraj gives them in the order of the file
    return np.stack([positions[Path(name).stem][int(at)][order] for name, at in zip(frames.trajectory, frames.frame)])


def train(project: Path, frames: Frames, seed: int, options) -> HierarchicalAutoencoder:
    section = params.load(project / "params.yaml").variant("collective")
    chosen = section.arguments() | {"random_state": seed}
    chosen |= {"smooth": options.smooth} if options.smooth is not None else {}
    chosen |= {"hidden": tuple(map(int, options.hidden.split(",")))} if options.hidden else {}
    chosen |= {"cv": options.kind} if options.kind else {}
    model = HierarchicalAutoencoder(variant="collective", **chosen)
    kept = np.isin(frames.split, ("train", "validation"))
    part = frames.select(kept)
    return model.fit(part.values, groups=part.trajectory, frame=part.frame, split=part.split)


def looked_at(folder: Path, walkers: int, temperature: float) -> list[dict]:
    """Of each walker: first time at phi > 0 (ps), crossings back and forth, dF in kJ/mol."""
    rows = []
    for i in range(walkers):
        trajectory = mdtraj.load(str(folder / f"walker-{i}.dcd"), top=str(TOPOLOGY))
        table = plumed_files.read(folder / f"COLVAR.{i}")
        phi = mdtraj.compute_phi(trajectory)[1][:, 0][: len(table["time"])]
        far = (phi > TRANS[0]) & (phi < TRANS[1])
        core = np.where((phi > 0.6) & (phi < 1.6), 1, np.where((phi > -2.6) & (phi < -0.7), 0, -1))  # cores: no rapid return counts
        visits = core[core >= 0]
        first = float(table["time"][np.argmax(core == 1)]) if (core == 1).any() else None
        skip = int(SETTLE * len(far))
        weights = np.exp((table["metad.rbias"] - table["metad.rbias"].max()) / (BOLTZMANN * temperature))[skip : len(far)]
        inside = weights[far[skip:]].sum(), weights[~far[skip:]].sum()
        rows.append({"first": first, "crossings": int(np.abs(np.diff(visits)).sum()), "ns": len(far) * float(table["time"][0]) / 1000,
                     "dF": float(-BOLTZMANN * temperature * np.log(inside[0] / inside[1])) if min(inside) > 0 else None})
    return rows


def trial(project: Path, frames: Frames, recipe: Recipe, seed: int, options) -> dict:
    out = Path(options.out) / f"seed-{seed}"
    model_folder = Path(options.out) / f"model-{seed}"
    model = HierarchicalAutoencoder.load(model_folder) if model_folder.exists() else train(project, frames, seed, options)
    model.save(model_folder)
    test = frames.select(frames.split == "test")
    positions = None if recipe.kind == "coordinates" else positions_of(project, test, recipe)
    measured = gradients(model.network_, test.values, recipe, positions).smoothness.gradients
    function = cv(model, recipe, options.cvs)
    s = model.transform(frames.values)
    ranges = [CVRange(None, None, 1.0) if period else CVRange(*edges(s[:, k])) for k, period in enumerate(function.periods)]
    molecule = Molecule.of(alanine_dipeptide(), TOPOLOGY, starts()[[phi < 0 for phi, _ in STARTS]])
    sampling = Sampling(walkers=options.walkers, nanoseconds=options.ns, shared=False, seed=seed + 1)
    if not out.exists():
        run(out, molecule, Dynamics(TEMPERATURE), function, ranges, sampling, cores=options.cores, say=progress(seed))
    told = json.loads((out / "round.json").read_text())
    return {"seed": seed, "fve": [float(v) for v in model.validation_fve_],
            "gradient": [gradient.largest for gradient in measured][: options.cvs],
            "met": told["steepest"], "torn": len(told["faults"]), "walkers": looked_at(out, options.walkers, TEMPERATURE)}


def edges(s: np.ndarray) -> tuple[float, float, float]:
    low, high = float(s.min()), float(s.max())
    return low - 0.25 * (high - low), high + 0.25 * (high - low), float(s.std())


def progress(seed: int):
    said = [0.0]

    def say(done: float, words: str) -> None:
        if words or done - said[0] >= 2:
            said[0] = done
            print(f"seed {seed}: {done:.1f} ns {words}", flush=True)

    return say


def row(result: dict) -> str:
    walkers = result["walkers"]
    firsts = [w["first"] for w in walkers if w["first"] is not None]
    known = [w["dF"] for w in walkers if w["dF"] is not None]
    error = np.mean([NONE if w["dF"] is None else abs(w["dF"] - REFERENCE) for w in walkers])
    dF = f"{np.mean(known):.1f} +- {np.std(known):.1f}" if known else "none"
    back = sum(w["crossings"] for w in walkers) / sum(w["ns"] for w in walkers)
    return (f"| {result['seed']} | {', '.join(f'{v:.3f}' for v in result['fve'])} | {', '.join(f'{v:.0f}' for v in result['gradient'])} | "
            f"{result['torn']} of {len(walkers)} | {sum(f < 1000 for f in firsts)} of {len(walkers)} | "
            f"{np.median(firsts) if firsts else float('nan'):.0f} | {back:.1f} | {dF} | {error:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="of the seeds")
    parser.add_argument("--ns", type=float, default=5.0)
    parser.add_argument("--walkers", type=int, default=8)
    parser.add_argument("--cvs", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--smooth", type=float)
    parser.add_argument("--hidden")
    parser.add_argument("--kind")
    parser.add_argument("--features")
    parser.add_argument("--out", default="biasing")
    options = parser.parse_args()
    frames, recipe = frames_of(options.project, options.features)
    print("| seed | FVE (validation) | largest gradient at test frames, 1/nm | torn apart | crossed < 1 ns | first, ps | crossings a ns "
          "| dF | error |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in range(options.first, options.first + options.seeds):
        print(row(trial(options.project, frames, recipe, seed, options)), flush=True)


if __name__ == "__main__":
    main()
