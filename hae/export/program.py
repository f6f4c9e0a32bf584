"""A trained network as a program that runs with torch alone, without this library."""

from __future__ import annotations

import copy
import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["load_program", "write_program"]


def write_program(network: nn.Module, n_features: int, path: str | os.PathLike) -> None:
    """Write `network` by torch.export: ``cvs, levels = program(s)``, s (N, D), cvs (N, n), levels (n, N, D), all float64.

    Float64, since a float32 network is exact in it: whoever loads the program gets the same CVs on any machine to rounding.
    N is free. The network itself is left as it is, on its device. `torch.export.load(path).module()` runs it.
    """
    network = copy.deepcopy(network).to("cpu", torch.float64).eval()
    rows = torch.zeros(2, n_features, dtype=torch.float64)  # one row would be taken for a constant
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},))
        with written_whole(path) as partial:
            torch.export.save(program, partial)


def load_program(path: str | os.PathLike) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The function that `write_program` wrote. Raises BadInput where there is none."""
    path, log = Path(path), logging.getLogger("torch.export")
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: a program that hae.export.program wrote")
    level = log.level
    log.setLevel(logging.CRITICAL)  # torch says in thirty lines that a file is damaged
    try:
        if zipfile.is_zipfile(path):
            return torch.export.load(path).module()
    except Exception:  # whatever a damaged archive leads torch to
        pass
    finally:
        log.setLevel(level)
    raise BadInput(f"{path}: not an exported network, or a damaged one; allowed: a program that hae.export.program wrote")
