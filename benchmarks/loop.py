"""The loop from one basin, without knowing phi or psi: nanoseconds of simulation in all until a walker is at phi > 0.

    python -m benchmarks.loop DIR [--seeds 5] [--first 1] [--walkers 8] [--unbiased 0.1] [--ns 0.2] [--most 4] [--rule equal]

Alanine dipeptide at 300 K, raw coordinates, all walkers from the one conformation of the PDB file: an unbiased first round, then turns of
retraining and a round biased along the champion's CVs, until one is at phi > 0 or `most` nanoseconds are spent. Each seed is a project in
DIR/seed-N of its own (--first: the first N), with its own seed of simulation, training and split; one that stands there already goes on.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
from ruamel.yaml import YAML

from hae.data.rounds import RULES
from pipelines import params, settings
from pipelines.loop import sampling, starting
from pipelines.project.inspection import Choices
from pipelines.stages.simulate import TOPOLOGY

FAR = (0.0, 2.3)  # phi of the third basin, radians


def begin(folder: Path, seed: int, options) -> None:
    section = params.Sample(seed=seed, walkers=options.walkers, nanoseconds=options.unbiased)
    starting.start(folder, "alanine-dipeptide", None, Choices(()), section, lambda line: None)
    yaml = YAML()
    content = yaml.load((folder / "params.yaml").read_text())
    for variant in content["train"].values():
        variant["random_state"] = seed
    content["prepare"]["split"]["salt"] = str(seed)
    content["prepare"]["rounds"] = options.rule
    content["sample"]["nanoseconds"] = options.ns
    yaml.dump(content, folder / "params.yaml")


def first(folder: Path) -> float | None:
    """Nanoseconds from the start of a round, over all its walkers, until one is at phi > 0."""
    told = json.loads((folder / "round.json").read_text())["sampling"]
    times = []
    for path in sorted(folder.glob("walker-*.dcd")):
        phi = mdtraj.compute_phi(mdtraj.load(str(path), top=str(TOPOLOGY)))[1][:, 0]
        there = (phi > FAR[0]) & (phi < FAR[1])
        times += [float(np.argmax(there) + 1)] if there.any() else []
    return min(times) * told["save_ps"] * told["walkers"] / 1000 if times else None


def look(project: Path) -> tuple[float, float | None]:
    """Nanoseconds in all, and those until a walker was at phi > 0, None if none was."""
    spent = 0.0
    for folder in sampling.rounds(project):
        found = first(folder)
        if found is not None:
            return spent + found, spent + found
        spent += json.loads((folder / "round.json").read_text())["nanoseconds"]
    return spent, None


def go(project: Path, options) -> tuple[float, float | None]:
    while True:
        spent, found = look(project)
        if found is not None or spent >= options.most:
            return spent, found
        subprocess.run([sys.executable, "-m", "pipelines.cli", "--project", str(project), "retrain"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        settings.prepare_environment(project)
        sampling.sample(project)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--walkers", type=int, default=8)
    parser.add_argument("--unbiased", type=float, default=0.1, help="nanoseconds of each walker in the first round")
    parser.add_argument("--ns", type=float, default=0.2, help="of each walker in a biased round, as hae explore has it")
    parser.add_argument("--most", type=float, default=4.0)
    parser.add_argument("--first", type=int, default=1, help="seed to begin with")
    parser.add_argument("--rule", choices=RULES, default="equal", help="how frames of rounds count in training")
    options = parser.parse_args()
    print("| seed | phi > 0 after, ns | rounds |\n|---|---|---|")
    for seed in range(options.first, options.first + options.seeds):
        project = (options.folder / f"seed-{seed}").resolve()
        if not project.exists():
            begin(project, seed, options)
        spent, found = go(project, options)
        print(f"| {seed} | {f'{found:.2f}' if found else f'not in {spent:.1f}'} | {len(sampling.rounds(project))} |", flush=True)


if __name__ == "__main__":
    main()
