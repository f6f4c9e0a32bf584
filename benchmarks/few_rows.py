"""What `hidden: auto` takes of few rows, beside the plain perceptron: FVE of each level on a fresh quarter of small tables.

    python -m benchmarks.few_rows [--docs] [--out FOLDER] [--splits 3] [--data wine,iris]

Five tables of scikit-learn, a curve and a torus. A quarter of the rows is taken away first, another one for each split; the rest trains as
in a project of `hae init`. What is measured already is read from FOLDER.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets

from benchmarks import sections
from benchmarks.files import OWN
from hae import HierarchicalAutoencoder
from hae.files import write_json
from hae.network.hierarchy import VARIANTS
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components
from pipelines.project.suggest import training_for

CVS = 3
NETWORKS: dict[str, dict] = {"64-64": {"hidden": (64, 64)}, "16 + path": {"hidden": (16,), "linear_path": True}, "auto": {"hidden": "auto"}}


def curve() -> np.ndarray:
    """(2000, 10): ten functions of one number, each of unit variance, with noise of a tenth."""
    rng = np.random.default_rng(5)
    t = rng.uniform(-1.5, 1.5, 2000)
    functions = t, np.sin(2 * t), t**2, np.cos(2 * t), t**3, np.tanh(2 * t), np.sin(3 * t), np.exp(t / 2), np.cos(3 * t), np.abs(t)
    x = np.stack(functions, 1)
    return x / x.std(0) + 0.1 * rng.normal(size=x.shape)


def torus() -> np.ndarray:
    """(2000, 10): two angles on circles of radii 2 and 1, ten mixtures of the four coordinates, with noise of a tenth."""
    rng = np.random.default_rng(5)
    a, b = rng.uniform(-np.pi, np.pi, (2, 2000))
    x = np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], 1) @ rng.normal(size=(4, 10))
    return x + 0.1 * rng.normal(size=x.shape)


OWN_SHAPES = {"curve": curve, "torus": torus}
SETS = ("iris", "wine", "diabetes", "breast_cancer", "digits", *OWN_SHAPES)


def measured(name: str, split: int, known: dict) -> dict:
    """FVE by level on the fresh rows of PCA and of every variant of every network; what is known stays."""
    X = OWN_SHAPES[name]() if name in OWN_SHAPES else getattr(datasets, f"load_{name}")().data
    order = np.random.default_rng(split).permutation(len(X))
    fresh, rest = X[order[: len(X) // 4]], X[order[len(X) // 4 :]]
    side = np.where(np.arange(len(rest)) < round(len(rest) * 15 / 85), "validation", "train")
    train = rest[side == "train"]
    how = {"n_seeds": 4, "learning_rate": 0.01, "scale": "feature", "random_state": split, "device": "cpu", **training_for(len(train))}
    found = {"rows": len(rest), "PCA": score_frames(principal_components(train, CVS, "feature"), fresh).fve.tolist()} | known
    for variant in VARIANTS:
        for words, network in NETWORKS.items():
            if f"{variant}, {words}" not in found:
                model = HierarchicalAutoencoder(CVS, variant=variant, **how, **network).fit(rest, split=side)
                found[f"{variant}, {words}"] = score_frames(model.network_, fresh).fve.tolist()
    return found


def rows(name: str, found: list[dict]) -> list[list]:
    """A row of the table for each variant: means over the splits."""
    said = lambda values: " ".join(f"{x:.3f}" for x in np.mean(values, 0))  # noqa: E731
    told = []
    for variant in VARIANTS:
        own = ([one[f"{variant}, {words}"] for one in found] for words in NETWORKS)
        told.append([name, found[0]["rows"], variant, said([one["PCA"] for one in found]), *map(said, own)])
    return told


def main() -> None:
    parser = sections.arguments(__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("few_rows"))
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--data", default=",".join(SETS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = []
    for name in arguments.data.split(","):
        files = [arguments.out / f"{name}-{split}.json" for split in range(arguments.splits)]
        for split, file in enumerate(files):
            write_json(file, measured(name, split, json.loads(file.read_text()) if file.exists() else {}))
        table += rows(name, [json.loads(file.read_text()) for file in files])
        print(*table[-2:], sep="\n", flush=True)
    sections.publish("few_rows", sections.table(["data", "rows", "variant", "PCA", *NETWORKS], table), arguments.docs, OWN)


if __name__ == "__main__":
    main()
