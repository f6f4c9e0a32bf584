"""Train one variant on the training blocks; early stopping and the choice of the member look at the validation blocks."""

import csv
import warnings
from pathlib import Path

import numpy as np

from hae.data.frames import Frames
from hae.devices import resolve_device, set_threads
from hae.errors import BadInput
from hae.estimator import HierarchicalAutoencoder
from hae.files import check_writable, write_json
from hae.memory import memory_limit
from hae.training.stored import StoredFrames, rows_bytes
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["main", "train", "write_history"]


def train(variant: str) -> None:
    """data/prepared/frames -> models/VARIANT, results/variants/VARIANT/{history.csv, training.json}."""
    section = params.load().variant(variant)
    path = paths.FRAMES
    set_threads()
    model = HierarchicalAutoencoder(variant=variant, verbose=True, **section.arguments())
    keep = {"checkpoints": settings.home() / "checkpoints", "on_epoch": write_history(paths.results(variant) / "history.csv")}
    size, limit = rows_bytes(path), memory_limit()
    if size > limit:
        print(f"train: the rows ({size / 1e6:,.1f} MB) stay in a file: they may take {limit / 1e6:,.1f} MB of memory (HAE_MEMORY_LIMIT)")
        model.fit(StoredFrames(path, settings.home() / "rows" / variant, limit), **keep)
    else:
        _fit(model, path, section, variant, keep)
    model.save(paths.model(variant))
    metrics = {f"validation_fve_{k + 1}": float(value) for k, value in enumerate(model.validation_fve_)}
    metrics |= {f"train_fve_{k + 1}": float(value) for k, value in enumerate(model.train_fve_)}
    metrics |= {"validation_loss": model.validation_loss_, "best_epoch": model.best_epoch_, "epochs": int(model.history_["epoch"].max())}
    words = {"device": str(resolve_device("auto"))}
    if section.hidden == "auto":
        words["hidden"] = model.network_.widths
        print(f"train {variant}: hidden: auto took {words['hidden']}")
    write_json(paths.results(variant) / "training.json", metrics | words)


def _fit(model: HierarchicalAutoencoder, path: Path, section, variant: str, keep: dict) -> None:
    """Fit a model to rows that are all in memory."""
    frames = Frames.read(path)
    assert frames.split is not None  # prepare gives every row a side
    rows = np.isin(frames.split, ("train", "validation"))  # test blocks serve evaluation alone
    frames = frames.select(rows)
    if section.n_cvs != "auto" and section.n_cvs > frames.n_features:
        raise BadInput(
            f"params.yaml: train.{variant}.n_cvs: {section.n_cvs} is not allowed; 1 to the number of features, here {frames.n_features}"
        )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        model.fit(
            frames.values,
            groups=frames.trajectory,
            frame=frames.frame,
            split=frames.split,
            sample_weight=frames.weights,
            **keep,
        )
    for text in dict.fromkeys(str(warning.message) for warning in told if issubclass(warning.category, UserWarning)):
        print(f"train {variant}: {text}")


def write_history(path: Path):
    """A function that appends rows to a CSV file as they come, so that others can follow a training. The first rows replace an old file."""
    check_writable(path.parent)
    begun = False

    def append(rows: list[dict]) -> None:
        nonlocal begun
        with open(path, "a" if begun else "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            if not begun:
                writer.writeheader()
            writer.writerows(rows)
        begun = True

    return append


def main() -> None:
    run_stage(train)


if __name__ == "__main__":
    main()
