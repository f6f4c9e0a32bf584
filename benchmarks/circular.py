"""Circular CVs against linear ones on the default data: FVE of every level over seeds, and what the CVs are in phi and psi.

    python benchmarks/circular.py [--data data/prepared/frames] [--seeds 4] [--epochs 120]

Writes the table between the markers of docs/circular.md, and docs/circular.png.
"""

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames
from hae.importance.intervals import Sampling
from hae.importance.relation import relations
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components

DOCS = Path(__file__).parents[1] / "docs"
KINDS = {"linear": "linear", "circular": "circular", "circular, circular, linear": ["circular", "circular", "linear"], "tanh": "tanh"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/prepared/frames")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=120)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = Frames.read(arguments.data)
    train, test = frames.select("train"), frames.select("test")
    learned = frames.select(np.isin(frames.split, ("train", "validation")))
    pca = score_frames(principal_components(train.values, 3), test.values).fve
    rows = [{"variant": "PCA", "CVs": "linear", **{f"FVE {k + 1}": f"{value:.3f}" for k, value in enumerate(pca)}}]
    shown = {}
    for variant in ("collective", "boosted"):
        for name, cv in KINDS.items():
            model = HierarchicalAutoencoder(
                3, variant=variant, cv=cv, n_seeds=arguments.seeds, max_epochs=arguments.epochs, learning_rate=0.01
            )
            model.fit(learned.values, groups=learned.trajectory, frame=learned.frame, split=learned.split)
            fve = np.array([score_frames(member, test.values).fve for member in model.members_])
            cvs = [model.transform(side.values) for side in (train, test)]
            kinds = model.network_.bottleneck.kinds
            told = relations(
                cvs, kinds, [train.labels, test.labels], test.label_periods, Sampling.of(len(test), test.trajectory, test.frame)
            )
            r2 = {(row.cv, row.label): row.r2 for row in told.itertuples()}
            rows.append(
                {"variant": variant, "CVs": name}
                | {f"FVE {k + 1}": f"{fve[0, k]:.3f} ({fve[:, k].min():.3f} to {fve[:, k].max():.3f})" for k in range(3)}
                | {f"CV{k} tells phi, psi": f"{r2[k, 'phi']:.2f}, {r2[k, 'psi']:.2f}" for k in (1, 2)}
            )
            print(rows[-1], flush=True)
            shown[variant, name] = cvs[1], kinds
    table = pd.DataFrame(rows).fillna("")
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [table.columns, ["---"] * table.shape[1], *table.to_numpy()])
    page = DOCS / "circular.md"
    page.write_text(re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", lambda m: m[1] + text + m[2], page.read_text(), flags=re.S))
    draw(shown, np.degrees(test.labels.to_numpy()), DOCS / "circular.png")


def draw(shown: dict, angles: np.ndarray, path: Path) -> None:
    """Ramachandran plots coloured by CV 1 and CV 2, linear and circular, both variants."""
    cases = [(variant, name) for variant in ("collective", "boosted") for name in ("linear", "circular")]
    figure, axes = plt.subplots(2, 4, figsize=(11.5, 5.6), layout="constrained", sharex=True, sharey=True)
    for column, (variant, name) in enumerate(cases):
        cvs, kinds = shown[variant, name]
        for row in range(2):
            axis = axes[row, column]
            circular = kinds[row] == "circular"
            value = np.degrees(cvs[:, row]) if circular else cvs[:, row]
            limits = (-180, 180) if circular else tuple(np.quantile(value, [0.01, 0.99]))
            dots = axis.scatter(
                *angles.T, c=value, s=2, cmap="twilight" if circular else "viridis", vmin=limits[0], vmax=limits[1], rasterized=True
            )
            axis.set(xlim=(-180, 180), ylim=(-180, 180), xticks=(-180, 0, 180), yticks=(-180, 0, 180))
            axis.set_title(f"{variant}, {name}: CV{row + 1}", fontsize=9)
            figure.colorbar(dots, ax=axis, ticks=(-180, 0, 180) if circular else None).ax.tick_params(labelsize=7)
            axis.tick_params(labelsize=8)
    figure.supxlabel("phi (degrees)", fontsize=10)
    figure.supylabel("psi (degrees)", fontsize=10)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
