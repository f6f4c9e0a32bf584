"""Tables of text, as pandas, R, spreadsheets and instruments write them: read by pandas in the form that `hae.data.dialects` tells."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO

import pandas as pd

from hae.data.dialects import MISSING, Form, form_of, names_in, opened, rows_of
from hae.errors import BadInput
from hae.files import is_number

__all__ = ["check_names", "named", "text_pieces"]

WITHOUT = re.compile(r"|Unnamed: \d+(_level_\d+)?|\.\.\.\d+")  # names that pandas and R give to columns without one


def text_pieces(
    path: Path, rows: Callable[[int], int] | None, given: Form | None = None, words: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """The table of a file of text, rows(number of columns) rows at a time, or all at once; `attrs`, words: see `hae.data.readers`."""
    form = form_of(path, given)
    with opened(path) as file:
        names, records, lines = _names(file, form)
    extra = _names_of_rows(path, form, names, lines)
    if not extra:  # else R's, whose rows have a name more than the columns
        check_names(path, names)
    spread = len(form.thousands or "") == 1 and (form.thousands or "").isascii()
    together = None if rows is None else rows(len(names))

    def read(file: IO[bytes], **more):
        return pd.read_csv(
            file, sep=form.separator, decimal=form.decimal or ".", thousands=form.thousands if spread else None, encoding=form.encoding,
            header=None, names=range(len(names) + extra), skiprows=records, index_col=False, skipinitialspace=True, low_memory=False,
            na_values=list(MISSING), chunksize=together, **more,
        )

    places = [names.index(word) + extra for word in words if word in names and together is not None]
    types: dict[int, type] = {}
    if places:
        with opened(path) as file:
            types = _types(read(file, usecols=places), places)
    with opened(path) as file:
        for piece in [read(file)] if together is None else read(file, dtype=types):
            piece = named(path, piece, ["", *names] if extra else names, form)
            yield piece if spread or not form.thousands else _numbers_without(piece, form)


def named(path: Path, table: pd.DataFrame, names: Sequence[object], form: Form) -> pd.DataFrame:
    """The table with its names, without columns that have none: names of rows at the left, and what is empty. BadInput for others."""
    words = ["" if name is None or name != name else re.sub(r"\s*[\r\n\t]\s*", " ", str(name)).strip() for name in names]
    names = ["" if WITHOUT.fullmatch(word) else word for word in words]
    first = next((place for place, name in enumerate(names) if name), len(names))
    left = [place for place, name in enumerate(names) if not name and (place < first or table.iloc[:, place].isna().all())]
    kept = [place for place in range(len(names)) if place not in left]
    check_names(path, [names[place] for place in kept], [place + 1 for place in kept])
    told = [f"column {place + 1}, which has no name ({_what(table.iloc[:, place])})" for place in left]
    table = table.iloc[:, kept]
    table.columns = [names[place] for place in kept]
    table.attrs.update(form=asdict(form), source=str(path), left_out=told)
    return table


def check_names(path: Path, names: Sequence[object], places: Sequence[int] | None = None, numbered: bool = False) -> None:
    """Raises BadInput for columns without a name, two of one name, and, unless they may be numbered, numbers for names."""
    texts = [str(name).strip() for name in names]
    if not texts:
        raise BadInput(f"{path}: empty; allowed: a line of column names and rows of numbers")
    if not numbered and all(is_number(name) for name in texts):
        raise BadInput(f"{path}: line 1 has numbers only; allowed: the names of the columns in line 1")
    for place, name in zip(places or range(1, len(texts) + 1), texts, strict=True):
        if places is not None and not name:
            raise BadInput(f"{path}: column {place} has no name; allowed: a name for every column, except row names at the left")
        if name and texts.count(name) > 1:
            raise BadInput(f"{path}: two columns are named '{name}'; allowed: each name once")


def _types(pieces: Iterable[pd.DataFrame], places: Sequence[int]) -> dict[int, type]:
    """The type that a whole table gives to those columns whose pieces differ."""
    found: dict[int, set] = {place: set() for place in places}
    for piece in pieces:
        for place in places:
            found[place].add(piece[place].dtype)
    number = lambda kind: pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)  # noqa: E731
    return {place: float if all(map(number, kinds)) else str for place, kinds in found.items() if len(kinds) > 1}


def _names(file: IO[bytes], form: Form) -> tuple[list[str], int, int]:
    """The cells of the first line that has some, without a # before them; how many records that is, empty ones too, and how many lines."""
    lines = codecs.getreader(form.encoding or "utf-8")(file)
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            yield names_in(line) if taken == 1 else line

    for record, cells in enumerate(rows_of(counted(), form.separator or ","), 1):
        if any(cells):
            return cells, record, taken
    return [], taken, taken


def _names_of_rows(path: Path, form: Form, names: Sequence[str], lines: int) -> int:
    """1 where the first lines have a cell more than there are names, the first of them a word or a count: R's names of rows."""
    with opened(path) as file:
        text = codecs.getreader(form.encoding or "utf-8")(file, "replace")
        found = list(islice((line for line in islice(text, lines, None) if line.strip()), 20))
    rows = list(rows_of(found, form.separator or ","))
    if not rows or any(len(row) != len(names) + 1 for row in rows) or not rows[0][-1]:
        return 0
    heads = [row[0] for row in rows]
    return int(heads == [str(i + 1) for i in range(len(rows))] or not any(is_number(head) for head in heads))


def _what(column: pd.Series) -> str:
    if column.isna().all():
        return "empty"
    return "row numbers" if pd.api.types.is_integer_dtype(column) else "row names"


def _numbers_without(table: pd.DataFrame, form: Form) -> pd.DataFrame:
    """Numbers whose thousands stand apart by a sign that pandas takes for a letter, such as a narrow space."""
    for name in table.columns[[pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind) for kind in table.dtypes]]:
        text = table[name].astype(str).str.replace(form.thousands or "", "").str.replace(form.decimal or ".", ".")
        numeric = pd.to_numeric(text, errors="coerce")
        if (numeric.notna() | table[name].isna()).all():
            table[name] = numeric
    return table
