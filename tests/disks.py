"""Disks that are full, for tests: a small one that is filled, or, where none can be mounted, files that can't grow."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["files_end_at", "fill", "small_disk"]


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own at a folder; the test is skipped where none can be mounted."""
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here; root may")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, room: int) -> Path:
    """Fill a disk but for so many bytes: the file that does."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
    return ballast


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes inside the block: the write fails, as on a full disk."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
