"""How a table of text is written: its encoding, separator, decimal sign and thousands, told from its first lines."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from hae.errors import BadInput

__all__ = ["DAMAGED", "MISSING", "Form", "form_of", "line_of", "names_in", "opened", "rows_of"]

PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what unpacking raises
LOOKED_AT = 1_000_000  # bytes of the beginning
SEPARATORS = ("\t", ";", "|", ",")
SPACES = r"\s+"
MISSING = ("?", "-", "--", ".", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "missing", "NAN")  # beside those that pandas knows
GROUPED = re.compile(r"[+-]?\d{1,3}(?:([.,' ’\u00a0\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")  # 1.234.567,8
PLAIN = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")
WORDS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", SPACES: "spaces"}


@dataclass(frozen=True)
class Form:
    """How a table is written; None: not known, or nothing of the kind. sheet: of a workbook, or the key of an HDF5 file.

    Example:
        >>> Form(separator=";", decimal=",").words()
        "separated by semicolons, decimal sign ','"
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    sheet: str | None = None

    def known(self) -> dict[str, str]:
        """What is not as in a plain CSV file."""
        usual = asdict(Form(",", ".", None, "utf-8", None))
        return {name: value for name, value in asdict(self).items() if value is not None and value != usual[name]}

    def words(self) -> str:
        """The same for people; "" of a plain CSV file."""
        said = self.known()
        parts = [f"separated by {WORDS.get(self.separator or '', repr(self.separator))}"] if "separator" in said else []
        parts += [f"decimal sign '{self.decimal}'"] if "decimal" in said else []
        parts += [f"thousands by '{self.thousands}'"] if "thousands" in said else []
        parts += [f"text in {self.encoding}"] if "encoding" in said else []
        parts += [f"sheet '{self.sheet}'"] if "sheet" in said else []
        return ", ".join(parts)


def opened(path: str | os.PathLike) -> IO[bytes]:
    """The bytes of a file, unpacked where it is packed by gzip, bzip2 or xz."""
    with open(path, "rb") as file:
        head = file.read(6)
    unpack = next((unpack for mark, unpack in PACKED.items() if head.startswith(mark)), open)
    return cast(IO[bytes], unpack(path, "rb"))


def form_of(path: Path, given: Form | None = None) -> Form:
    """The form of a table of text; what is given is taken, the rest is told from the first lines. Raises BadInput for no text."""
    given = given or Form()
    with opened(path) as file:
        head = file.read(LOOKED_AT)
    encoding = given.encoding or _encoding(path, head)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except (LookupError, UnicodeError):
        raise BadInput(f"{path}: not a table that can be read (its text is not {encoding}); allowed: the name of its encoding") from None
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines[: max(len(lines) - (len(head) == LOOKED_AT), 1)]  # the last one may be cut
    if not lines:
        raise BadInput(f"{path}: empty; allowed: names of columns and rows of numbers")
    lines[:1] = [names_in(line) for line in lines[:1]]
    separator = given.separator or _separator(lines)
    decimal, thousands = _signs([cell for row in rows_of(lines[1:], separator) for cell in row], separator)
    return replace(given, separator=separator, decimal=given.decimal or decimal, encoding=encoding,
                   thousands=given.thousands or (thousands if given.decimal is None else None))


def names_in(line: str) -> str:
    """The line of names without the mark of a comment that NumPy writes before it."""
    return re.sub(r"^\s*#\s*", "", line)


def rows_of(lines: Iterable[str], separator: str) -> Iterable[list[str]]:
    """The cells of each line, without spaces around them."""
    if separator == SPACES:
        lines, separator = (" ".join(line.split()) for line in lines), " "
    return ([cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True))


def line_of(path: str | os.PathLike, form: Form, row: int) -> int | None:
    """The line in which a row, counted from 0, of a table of text begins: names and empty lines count, a cell may have several lines."""
    with opened(path) as file:
        lines = codecs.getreader(form.encoding or "utf-8")(file)
        reader = csv.reader(lines, delimiter="," if form.separator in (None, SPACES) else form.separator, skipinitialspace=True)
        before, found = 0, -2  # the names are row -1
        for cells in reader:
            found += any(cell.strip() for cell in cells)
            if found == row:
                return before + 1
            before = reader.line_num
    return None


def _encoding(path: Path, head: bytes) -> str:
    """UTF-16 by its mark, UTF-8, or what Windows writes in the west of Europe."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in head:
        raise BadInput(f"{path}: not a table that can be read (it is binary); allowed: a table of text")
    for encoding in ("utf-8", "cp1252"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else encoding
    raise BadInput(f"{path}: not a table that can be read (its text is not UTF-8); allowed: UTF-8")


def _separator(lines: Sequence[str]) -> str:
    """What cuts the names and most lines into as many cells (a name less where rows are named), most of them numbers."""
    best, most = ",", 0.5  # a table of one column has none
    for separator in (*SEPARATORS, SPACES):
        names, *rows = rows_of(lines[:200], separator)
        if len(names) < 2 or not rows:
            continue
        whole = [row for row in rows if len(row) - len(names) in (0, 1)]
        cells = [cell for row in whole for cell in row]
        numbers = sum(PLAIN.fullmatch(cell) is not None or GROUPED.fullmatch(cell) is not None or not cell for cell in cells)
        score = len(whole) / len(rows) * (1 + numbers / max(len(cells), 1))
        if len(whole) > len(rows) / 2 and score > most:
            best, most = separator, score
    # A comma is also what is left where no separator fits most lines. Then the one in the names is taken, and the reader names the line
    # that is damaged.
    if best == "," and len(lines) > 1:
        best = next((separator for separator in (",", *SEPARATORS) if separator in lines[0]), ",")
    return best


def _signs(cells: Sequence[str], separator: str) -> tuple[str, str | None]:
    """Decimal sign and sign of thousands of cells, of which those that are no numbers say nothing."""
    cells = [cell for cell in cells if GROUPED.fullmatch(cell) or PLAIN.fullmatch(cell)]
    for cell in cells:
        signs = re.findall(r"[.,]", cell)
        if len(set(signs)) == 2:
            return signs[-1], signs[0]
    spaced = next((match[1] for cell in cells if (match := GROUPED.fullmatch(cell)) and match[1] not in ".,"), None)
    commas, dots = ([cell for cell in cells if sign in cell] for sign in ",.")
    if commas and (any(cell.count(",") > 1 for cell in commas) or (all(map(GROUPED.fullmatch, commas)) and (dots or separator == ","))):
        return ".", ","
    if dots and (any(cell.count(".") > 1 for cell in dots) or (commas and all(map(GROUPED.fullmatch, dots)))):
        return ",", "."
    return ("," if commas and not dots else "."), spaced
