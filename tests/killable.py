"""A training in a process of its own, for tests that kill it."""

import multiprocessing
import os
import time
from pathlib import Path

import torch
from generators import curve

import hae.training
from hae import HierarchicalAutoencoder

__all__ = ["CHILDREN", "train_and_save"]

# One process imports torch and is forked for every child: ten starts cost as much as one.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["killable"])


def train_and_save(checkpoints: Path, model: Path, begun=None) -> None:
    """Train two members for some two seconds, with checkpoints in between; `begun` (an Event) is set after the first epoch."""
    torch.set_num_threads(1)
    os.environ["HAE_THREADS"] = "1"
    hae.training.CHECKPOINT_SECONDS = 0.02

    def slowly(rows):
        time.sleep(0.01)
        if begun is not None:
            begun.set()

    settings = dict(n_cvs=2, hidden=(16,), n_seeds=2, batch_size=32, max_epochs=60, patience=None, learning_rate=0.02, device="cpu")
    HierarchicalAutoencoder(**settings).fit(curve(400), checkpoints=checkpoints, on_epoch=slowly).save(model)
