"""Whether the choice of hae holds on fresh rows: PCA where PCA is as good, a network where it is better.

    python benchmarks/verdicts.py [--out FOLDER] [--splits 3] [--data wine,iris]

Five data sets of scikit-learn. Of each a third is taken away first, at random, a third for each split; the rest goes end to end, as
`hae init` and the stages do it, to results/importance.json and its choice. Then PCA and both networks are asked for the third that nobody
has seen. Prints a markdown table; what is measured already is read from FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets

from benchmarks.stages import run_stages
from hae.files import write_json
from hae.network.hierarchy import VARIANTS
from hae.network.scoring import score_frames
from hae.storage import load_networks
from pipelines import params, paths
from pipelines.page.choice import TIE
from pipelines.project.init import Choices, init

SETS = ("wine", "iris", "diabetes", "breast_cancer", "digits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("verdicts"))
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--data", default=",".join(SETS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in range(arguments.splits):
        for name in arguments.data.split(","):
            file = arguments.out.resolve() / f"{name}-{split}.json"
            if not file.exists():
                write_json(file, measured(name, split))
            print(row(name, split, json.loads(file.read_text())), flush=True)


def measured(name: str, split: int) -> dict:
    """What was chosen on two thirds, and FVE of each level, with the differences from PCA, on the third that was taken away."""
    table = getattr(datasets, f"load_{name}")(as_frame=True).data
    order = np.random.default_rng(split).permutation(len(table))
    fresh, known = table.iloc[order[: len(table) // 3]], table.iloc[order[len(table) // 3 :]]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "project"
        known.to_csv(Path(place) / f"{name}.csv", index=False)
        with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            init(folder, Choices((Path(place) / f"{name}.csv",), columns=tuple(map(str, table.columns))))
            with contextlib.chdir(folder):
                stages()
                said = json.loads((paths.RESULTS / "importance.json").read_text())
                return {
                    "choice": said["choice"], "which": said["which"], "rows": len(known), "fresh_rows": len(fresh),
                    "status": {variant: said["variants"][variant]["status"] for variant in VARIANTS},
                    "n": {variant: said["variants"][variant]["n"] for variant in VARIANTS}, **on_fresh(fresh),
                }


def stages() -> None:
    """All of dvc.yaml but the replicas of stability, which no choice looks at."""
    file = Path("params.yaml")
    file.write_text(file.read_text().replace("replicas: 4", "replicas: 0"))
    run_stages()
    assert params.load().stability.replicas == 0


def on_fresh(fresh: pd.DataFrame) -> dict:
    """FVE by level of PCA and both networks, and of each network less PCA with its 90 % interval, paired over rows."""
    networks = {variant: load_networks(paths.model(variant))[0]["member-0"] for variant in VARIANTS}
    networks["PCA"] = load_networks(paths.model(paths.BASELINE))[0]["pca"]
    X = fresh.to_numpy(dtype=np.float64)
    errors = {name: score_frames(network, X) for name, network in networks.items()}
    v = errors["PCA"].v
    found: dict = {"fve": {name: own.fve.tolist() for name, own in errors.items()}, "above_pca": {}}
    for variant in VARIANTS:
        levels = []
        for theirs, ours in zip(errors["PCA"].e, errors[variant].e, strict=True):
            value = (theirs - ours).mean() / v.mean()
            influence = (theirs - ours - value * v) / v.mean()
            half = 1.645 * influence.std(ddof=1) / np.sqrt(len(X))
            levels.append([float(value), float(value - half), float(value + half)])
        found["above_pca"][variant] = levels
    return found


def level_of(found: dict) -> int:
    """The level at which the choice was made: the last CV that is surely alive, the last of all where there are no verdicts."""
    known = [n for n in found["n"].values() if n is not None]
    return max(*known, 1) if known else len(found["fve"]["PCA"])


def right(found: dict) -> str:
    """Whether the choice holds on fresh rows; "-" where none was made."""
    k = level_of(found) - 1
    best = max(found["fve"][variant][k] for variant in VARIANTS) - found["fve"]["PCA"][k]
    if found["choice"] == "PCA":
        return "yes" if best <= TIE else "no"
    if not found["choice"]:
        return "-"
    return "yes" if found["above_pca"][found["choice"]][k][0] > 0 else "no"


def row(name: str, split: int, found: dict) -> str:
    k = level_of(found) - 1
    fve = [f"{found['fve'][model][k]:.3f}" for model in ("PCA", *VARIANTS)]
    above = ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*found["above_pca"][variant][k]) for variant in VARIANTS]
    words = (name, str(split), str(found["rows"]), str(k + 1), *fve, *above, found["choice"] or "undecided", right(found))
    return "| " + " | ".join(words) + " |"


if __name__ == "__main__":
    main()
