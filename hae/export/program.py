"""A trained network as a program that runs with torch alone, without this library."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn

from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["load_program", "write_program"]

# What an archive of torch.export may hold: the program and tables in JSON, numbers as they are, words about the archive.
PLAIN = re.compile(r"(models/\w+\.json|data/(weights|constants)/\w+\.json|archive_format|archive_version|byteorder|\.data/\w+)")
NUMBERS, SAMPLES = re.compile(r"data/(weights|constants)/(weight|tensor)_\d+"), re.compile(r"data/sample_inputs/\w+\.pt")
# Expressions of sizes, which torch hands to a reader that can run code: Mul(Integer(5), Symbol('s75', positive=True, integer=True)).
SIZE = re.compile(r"((Mul|Add|Max|Min|Integer|Symbol|positive|integer|True)\b|'[su]\d+'|[\d=,() -])*")


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
    """The function that `write_program` wrote.

    torch.export.load unpickles what an archive asks it to, which can run anything. So the archive is looked through first, and refused
    where reading any part of it needs more than ``torch.load(..., weights_only=True)``.

    Raises:
        BadInput: no such file, no program, a damaged one, or one that could run code; nothing of it has run.
    """
    path, log = Path(path), logging.getLogger("torch.export")
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: a program that hae.export wrote")
    level = log.level
    log.setLevel(logging.CRITICAL)  # torch says in thirty lines that a file is damaged
    try:
        if zipfile.is_zipfile(path):
            content = path.read_bytes()  # looked through and loaded from the same bytes
            unsafe = next(_unsafe(content), None)
            if unsafe is None:
                return torch.export.load(io.BytesIO(content)).module()
            raise BadInput(f"{path}: its part {unsafe} could run code, so nothing of it was loaded; allowed: a program of hae.export")
    except BadInput:
        raise
    except Exception:  # whatever a damaged archive leads torch to
        pass
    finally:
        log.setLevel(level)
    raise BadInput(f"{path}: not an exported network, or a damaged one; allowed: a program that hae.export wrote")


def _unsafe(content: bytes) -> Iterator[str]:
    """Names of the parts of an archive that torch could run code of."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len({PurePosixPath(name).parts[0] for name in names}) != 1 or len(set(names)) != len(names):
            yield "(parts of the same name)"
        for full in names:
            name, part = full.partition("/")[2], archive.read(full)
            if SAMPLES.fullmatch(name):
                harmless = _weights_only(part)
            elif PLAIN.fullmatch(name):
                harmless = not name.endswith(".json") or _plain_json(name, part)
            else:
                harmless = NUMBERS.fullmatch(name) is not None
            if not harmless:
                yield name


def _weights_only(part: bytes) -> bool:
    try:
        torch.load(io.BytesIO(part), weights_only=True)
    except Exception:  # it needs more, or is damaged
        return False
    return True


def _plain_json(name: str, part: bytes) -> bool:
    """Whether a table asks for no unpickling and no program has expressions beyond sums and products of sizes."""
    content = json.loads(part)
    if name.startswith("models/"):
        return all(isinstance(size, str) and SIZE.fullmatch(size) for size in _sizes(content))
    return not any(entry.get("use_pickle", True) for entry in content.get("config", {}).values())


def _sizes(content) -> Iterator[object]:
    """All expressions of sizes in a program's JSON."""
    if isinstance(content, dict):
        yield from (value for key, value in content.items() if key == "expr_str")
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _sizes(value)
