"""Where to compute: an environment's matter, never a parameter of an experiment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hae.engine import cores
from hae.errors import BadInput

__all__ = ["one_thread", "resolve_device", "set_threads", "threads_for"]

FEW_ROWS = 4000  # up to which a second thread costs more than it brings: steps so small are over before it has come up


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """``device``, or for "auto" the environment's HAE_DEVICE, else CUDA where there is one, else the CPU.

    Raises:
        BadInput: a name torch does not know, or CUDA where there is none.
    """
    place, name = "device", str(device)
    if name == "auto":
        place, name = "HAE_DEVICE", os.environ.get("HAE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(name)
    except RuntimeError:
        raise BadInput(f"{place}: {name!r} is not a device; allowed: auto, cpu, cuda, cuda:0, ...") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise BadInput(
            f"{place}: {name!r} is asked for, but torch sees {torch.cuda.device_count()} CUDA devices; allowed here: cpu"
            + (", cuda" if torch.cuda.is_available() else "")
        )
    if resolved.type not in ("cpu", "cuda"):
        raise BadInput(f"{place}: {name!r} is not supported; allowed: auto, cpu, cuda, cuda:0, ...")
    return resolved


def set_threads() -> None:
    """Let torch use as many threads as HAE_THREADS says, if it says so.

    Raises:
        BadInput: HAE_THREADS is no number of 1 or more.
    """
    if "HAE_THREADS" in os.environ:
        torch.set_num_threads(cores())


@contextmanager
def threads_for(rows: float) -> Iterator[None]:
    """The threads that suit a training of so many rows, for the time of the block: what HAE_THREADS says, else one for few rows and
    torch's own number for more. Example:
        >>> with threads_for(178):
        ...     torch.get_num_threads()
        1
    """
    with one_thread(rows <= FEW_ROWS and "HAE_THREADS" not in os.environ):
        set_threads()
        yield


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """One thread of torch for the time of the block, where asked for; afterwards as many as before. Several threads wait for each other
    at each of thousands of small steps, and on a busy machine for long."""
    before = torch.get_num_threads()
    if when:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
