"""Where to compute: an environment's matter, never a parameter of an experiment."""

import os

import torch

from hae.engine import cores
from hae.errors import BadInput

__all__ = ["resolve_device", "set_threads"]


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
    """Let torch use as many threads as HAE_THREADS says, if it says so."""
    if "HAE_THREADS" in os.environ:
        torch.set_num_threads(cores())
