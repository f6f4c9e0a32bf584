"""Checkpoints of a training: one file, replaced in one move, read without running any code from it."""

import io
import os
import time
from pathlib import Path

import torch

from hae.files import written_whole

__all__ = ["Checkpoint", "load_checkpoint", "remove_checkpoint", "save_checkpoint"]


class Checkpoint:
    """The file of one training, and when to write it next.

    Args:
        path: of the file. seconds: between the ends of two writes, at least. times: and so many times what the last write took.

    Example:
        >>> import tempfile
        >>> checkpoint = Checkpoint(Path(tempfile.mkdtemp(), "training.pt"), seconds=0, times=20)
        >>> checkpoint.save({"epoch": 3})
        >>> checkpoint.load()
        {'epoch': 3}
        >>> checkpoint.remove()
    """

    def __init__(self, path: Path, seconds: float, times: float):
        self.path, self.seconds, self.times = path, seconds, times
        self.written, self.cost = time.monotonic(), 0.0

    def due(self) -> bool:
        return time.monotonic() - self.written >= max(self.seconds, self.times * self.cost)

    def save(self, state: dict) -> None:
        """See `save_checkpoint`."""
        start = time.monotonic()
        save_checkpoint(self.path, state)
        self.written = time.monotonic()
        self.cost = self.written - start

    def load(self) -> dict | None:
        """See `load_checkpoint`."""
        return load_checkpoint(self.path)

    def remove(self) -> None:
        """See `remove_checkpoint`."""
        remove_checkpoint(self.path)


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a state of tensors and plain values; a kill at any moment leaves the old file or the new one.

    Raises BadInput where it can't be written. torch's own writer would raise another error over that of a full disk.
    """
    content = io.BytesIO()
    torch.save(state, content)
    with written_whole(path) as partial, open(partial, "wb") as file:
        file.write(content.getbuffer())
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
