"""A training in a process of its own, for tests that kill it."""

import multiprocessing
import time
from pathlib import Path

import torch
from generators import curve

import hae.training.loop
from hae import HierarchicalAutoencoder

__all__ = ["CHILDREN", "train_and_save"]

# One process imports torch and is forked for every child: ten starts cost as much as one.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["hae.estimator"])


def train_and_save(checkpoints: Path | None, model: Path, begun=None) -> None:
    """Train two members and save them. With `begun` (an Event, set after the first epoch) slowly, and with many checkpoints."""
    torch.set_num_threads(1)
    if begun is not None:
        hae.training.loop.CHECKPOINT_SECONDS, hae.training.loop.CHECKPOINT_TIMES = 0.02, 0

    def slowly(rows):
        if begun is not None:
            begun.set()
            time.sleep(0.02)

    estimator = HierarchicalAutoencoder(
        n_cvs=2, hidden=(16,), n_seeds=2, batch_size=32, max_epochs=50, patience=None, learning_rate=0.02, device="cpu"
    )
    estimator.fit(curve(400), checkpoints=checkpoints, on_epoch=slowly).save(model)
