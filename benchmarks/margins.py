"""How far both variants are above PCA on the default data, over five splits.

    python benchmarks/margins.py [--data data/prepared/frames] [--seeds 2] [--epochs 120]

Prints a markdown table: held-out FVE of each variant less that of PCA, level by level, for five salts of the split, and the median.
"""

import argparse

import numpy as np
import torch

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.data.split import split_rows
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components

SALTS = ("", "a", "b", "c", "d")
SPLIT = {"block_frames": 200, "gap_frames": 22, "shares": (0.45, 0.15, 0.4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/prepared/frames")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=120)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = Frames.read(arguments.data)
    margins: dict[str, list] = {"collective": [], "boosted": []}
    for salt in SALTS:
        split = split_rows(frames.trajectory, frames.frame, salt=salt, **SPLIT)
        train, test = frames.select(split == "train"), frames.select(split == "test")
        pca = score_frames(principal_components(train.values, 3), test.values).fve
        for variant, rows in margins.items():
            model = HierarchicalAutoencoder(3, variant=variant, n_seeds=arguments.seeds, max_epochs=arguments.epochs, learning_rate=0.01)
            known = np.isin(split, ("train", "validation"))
            model.fit(frames.values[known], groups=frames.trajectory[known], frame=frames.frame[known], split=split[known])
            rows.append(score_frames(model.network_, test.values).fve - pca)
    print("| variant | level | " + " | ".join(f"salt {salt!r}" for salt in SALTS) + " | median |")
    print("| --- " * (len(SALTS) + 3) + "|")
    for variant, rows in margins.items():
        for level, values in enumerate(np.array(rows).T, start=1):
            print(f"| {variant} | {level} | " + " | ".join(f"{value:.3f}" for value in values) + f" | {np.median(values):.3f} |")


if __name__ == "__main__":
    main()
