"""COLVAR: PLUMED's lines of numbers, with what the file says of its columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.delimited import check_names
from hae.data.dialects import DAMAGED, opened
from hae.errors import BadInput
from hae.files import is_number

__all__ = ["FIELDS", "is_colvar", "read_colvar"]

FIELDS = "#! FIELDS"


def is_colvar(path: Path) -> bool:
    """Whether a file, packed or not, begins as PLUMED's do."""
    try:
        with opened(path) as file:
            return file.read(len(FIELDS)).decode("ascii", "replace") == FIELDS
    except DAMAGED:
        return False


def read_colvar(path: Path) -> pd.DataFrame:
    """PLUMED's lines of numbers under `#! FIELDS time phi ...`; `#! SET min_phi -pi` and max_phi say that phi is periodic."""
    names, rows, numbers, settings = _colvar_lines(path)
    check_names(path, names)
    try:
        values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    except ValueError:
        number, word = next((n, word) for n, row in zip(numbers, rows, strict=True) for word in row if not is_number(word))
        raise BadInput(f"{path}: line {number}: '{word[:40]}' is not a number; allowed: numbers") from None
    if "time" in names and (back := np.flatnonzero(np.diff(values[:, names.index("time")]) <= 0)).size:
        i = int(back[0])
        times = values[i : i + 2, names.index("time")]
        raise BadInput(f"{path}: line {numbers[i + 1]}: time goes from {times[0]:g} to {times[1]:g}, as after a restart; "
                       "allowed: time that grows, so that no frame counts twice")
    table = pd.DataFrame(values, columns=names)
    ends = {name: [_pi(settings.get(f"{end}_{name}", "")) for end in ("min", "max")] for name in names}
    periods = {name: high - low for name, (low, high) in ends.items() if low is not None and high is not None and high > low}
    table.attrs.update(periods=periods, units={name: "rad" for name, period in periods.items() if np.isclose(period, 2 * np.pi)})
    return table


def _colvar_lines(path: Path) -> tuple[list[str], list[list[str]], list[int], dict[str, str]]:
    """Names of the fields, the words of each line of numbers, the numbers of these lines, and what is SET."""
    names: list[str] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    settings: dict[str, str] = {}
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            words = line.decode("utf-8", "replace").split()
            if words[:2] == ["#!", "FIELDS"]:
                if names and words[2:] != names:
                    raise BadInput(f"{path}: line {number}: other fields than in line 1; allowed: the same columns in the whole file")
                names = words[2:]
            elif words[:2] == ["#!", "SET"] and len(words) == 4:
                settings[words[2]] = words[3]
            elif words and not words[0].startswith("#"):
                if len(words) != len(names):
                    raise BadInput(f"{path}: line {number}: {len(words)} numbers for {len(names)} fields; allowed: whole lines")
                rows.append(words)
                numbers.append(number)
    return names, rows, numbers, settings


def _pi(text: str) -> float | None:
    try:
        return {"pi": np.pi, "+pi": np.pi, "-pi": -np.pi}.get(text) or float(text)
    except ValueError:
        return None
