"""Evaluate one variant on the test blocks, beside both baselines, and relate its CVs to the labels."""

from pathlib import Path

import numpy as np
import pandas as pd

from hae.devices import set_threads
from hae.errors import BadInput
from hae.estimator import HierarchicalAutoencoder
from hae.files import written_whole
from hae.frames import Frames
from hae.relations import correlation_ratio
from hae.scoring import score_frames
from hae.storage import load_networks
from pipelines import params
from pipelines.stages import run_stage
from pipelines.stages.train import write_json

__all__ = ["evaluate", "levels_table", "main"]


def evaluate(variant: str) -> None:
    """models/VARIANT, models/baseline, the test blocks -> results/VARIANT/{metrics.json, levels.csv, labels.csv}."""
    everything = params.load()
    everything.variant(variant)
    set_threads()
    frames = Frames.read("data/prepared/frames.parquet").select("test")
    if not len(frames):
        raise BadInput("data/prepared/frames.parquet: no test rows; allowed: prepare.split.shares that leave some")
    model = HierarchicalAutoencoder.load(Path("models", variant))
    networks, _, _ = load_networks("models/baseline")
    levels = levels_table(model, networks, frames)
    labels = pd.DataFrame(
        [
            {
                "cv": k + 1,
                "label": name,
                "explained": correlation_ratio(
                    column, frames.labels[name], period=period, bins=everything.evaluate.bins, weights=frames.weights
                ),
            }
            for k, column in enumerate(model.transform(frames.values).T)
            for name, period in zip(frames.labels.columns, frames.label_periods)
        ],
        columns=["cv", "label", "explained"],
    )
    folder = Path("results", variant)
    for name, table in (("levels.csv", levels), ("labels.csv", labels)):
        with written_whole(folder / name) as partial:
            table.to_csv(partial, index=False)
    metrics = {
        f"{name}_{level}": float(value) for name in levels.columns if name != "level" for level, value in zip(levels["level"], levels[name])
    }
    write_json(folder / "metrics.json", metrics | {"test_rows": len(frames)})


def levels_table(model: HierarchicalAutoencoder, baselines: dict, frames: Frames) -> pd.DataFrame:
    """A row a level: FVE and gain of the variant, FVE of PCA and of the plain autoencoder with as many CVs, on the rows given."""
    scores = score_frames(model.network_, frames.values, weights=frames.weights)
    n = len(scores.fve)
    pca = score_frames(baselines["pca"], frames.values, weights=frames.weights).fve[:n]
    plain = [score_frames(baselines[f"plain-{k}"], frames.values, weights=frames.weights).fve[-1] for k in range(1, n + 1)]
    return pd.DataFrame({"level": np.arange(1, n + 1), "fve": scores.fve, "gain": scores.gains, "pca_fve": pca, "plain_fve": plain})


def main() -> None:
    run_stage(evaluate)


if __name__ == "__main__":
    main()
