"""Checkpoints of a training: one file, replaced in one move, read without running any code from it."""

import os
from pathlib import Path

import torch

from hae.files import written_whole

__all__ = ["load_checkpoint", "remove_checkpoint", "save_checkpoint"]


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
