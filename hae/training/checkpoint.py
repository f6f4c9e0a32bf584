"""Checkpoints of a training: one file, replaced in one move, read without running any code from it."""

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hae.files import plain, written_whole
from hae.training.rows import Rows
from hae.version import __version__

__all__ = ["load_checkpoint", "remove_checkpoint", "save_checkpoint", "training_key"]

NO_MATTER = {"device", "verbose", "feature_weights"}  # W goes by its root


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a state of tensors and plain values; a kill at any moment leaves the old file or the new one."""
    with written_whole(path) as partial, open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict | None:
    """The state in a file, on the CPU; None where there is no file. A file that can't be read is removed: it is only a saving of time."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # torch raises many kinds for a damaged file
        path.unlink(missing_ok=True)
        return None


def remove_checkpoint(path: Path) -> None:
    """Remove the file, and what writes of it left that were killed halfway."""
    for file in (path, *path.parent.glob(f".{path.stem}.*{path.suffix}")):
        file.unlink(missing_ok=True)


def training_key(model, data: Rows, validation: Rows | None, seeds: Sequence[int]) -> str:
    """What a checkpoint belongs to: the parameters of a `hae.HierarchicalAutoencoder`, seeds, and the numbers it is trained on."""
    params = {name: source(value) for name, value in model.get_params(deep=False).items() if name not in NO_MATTER}
    digest = hashlib.sha256(json.dumps([__version__, torch.__version__, params, seeds], sort_keys=True, default=str).encode())
    tensors = [field for rows in (data, validation) if rows is not None for field in dataclasses.astuple(rows)]
    for tensor in [*tensors, model.metric_root_]:
        digest.update(b"-" if tensor is None else np.ascontiguousarray(torch.as_tensor(tensor).cpu().numpy()).data)
    return digest.hexdigest()[:32]


def source(value):
    """A parameter as its checkpoints know it: a function by its text."""
    if not callable(value):
        return plain(value)
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return getattr(value, "__qualname__", type(value).__qualname__)
