"""Files written whole or not at all, and files of lines of JSON, of which a kill may cut the last one short."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hae.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_line", "check_writable", "is_number", "newest_lines", "plain", "read_csv", "write_csv", "write_json",
           "written_in_pieces", "written_whole"]

BLOCK = 1 << 16  # bytes of a file of lines that are read at once
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet would compute


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`; it becomes `path` at the end of the block, or vanishes if the block fails.

    The folder is made. The temporary path ends like `path`. Raises BadInput where the folder can't be written to.
    """
    path = Path(path)
    # A name of its own: threads of one process may write side by side.
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"{path}: can't be written ({reason}); allowed: a folder that can be written to") from None


@contextmanager
def folder_made(folder: str | os.PathLike) -> Iterator[None]:
    """Make a folder; if the block fails, what was made of it and of its parents goes again where nothing stands in it.

    Raises BadInput where it can't be made.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: can't be made ({error.strerror or error}); allowed: a folder that can be written to") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something stands in it
            for path in made:
                path.rmdir()
        raise


def check_writable(folder: str | os.PathLike) -> None:
    """Make a folder and write to it, so that what can't be written is said before long work and not after.

    Raises BadInput where the folder can't be written to.
    """
    probe = Path(folder) / f".writable-{os.getpid()}-{secrets.token_hex(4)}"  # its own: others may ask at the same time
    with written_whole(probe) as partial:
        partial.touch()
    probe.unlink()


def write_json(path: str | os.PathLike, content) -> None:
    """Write a JSON file whole or not at all, one line for each entry, so that a difference can be read."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def write_csv(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all, without its index. People open it in a spreadsheet, and names come from data: text that
    begins as a formula does gets an apostrophe before it (as OWASP says), so that it stays text. Numbers stay as they are."""
    with written_whole(path) as partial:
        _cells(table).to_csv(partial, index=False)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    from pandas.api.types import is_numeric_dtype

    cells = table.copy()
    cells.columns = [_escaped(name) for name in table.columns]
    for place, kind in enumerate(table.dtypes):
        if not is_numeric_dtype(kind):
            cells.isetitem(place, [_escaped(value) for value in table.iloc[:, place]])
    return cells


@contextmanager
def written_in_pieces(path: str | os.PathLike) -> Iterator[Callable[[pd.DataFrame], None]]:
    """A function that takes the rows of a table piece by piece, each with the same columns. At the end of the block they are in the file,
    CSV as of `write_csv` or Parquet by its ending, all or nothing; one piece is in memory at a time. A column has one type in all pieces,
    the one that it has in the whole table, so pieces wait in a folder of their own till all are there."""
    import pandas as pd

    path = Path(path)
    with written_whole(path) as partial, tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        heads: list[pd.DataFrame] = []

        def add(table: pd.DataFrame) -> None:
            table.to_pickle(Path(folder, str(len(heads))))
            heads.append(table.iloc[:0])

        yield add
        types = pd.concat(heads).dtypes.to_dict()
        pieces = lambda: (pd.read_pickle(Path(folder, str(i))).astype(types) for i in range(len(heads)))  # noqa: E731
        if path.suffix.lower() == ".csv":
            for i, piece in enumerate(pieces()):
                _cells(piece).to_csv(partial, index=False, header=i == 0, mode="a")
        else:
            _parquet(partial, pieces)


def _parquet(path: Path, pieces: Callable[[], Iterator[pd.DataFrame]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.unify_schemas([pa.Schema.from_pandas(piece, preserve_index=False) for piece in pieces()], promote_options="permissive")
    with pq.ParquetWriter(path, schema) as writer:
        for piece in pieces():
            writer.write_table(pa.Table.from_pandas(piece, schema, preserve_index=False))


def read_csv(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `write_csv` wrote, with its names as they were."""
    import pandas as pd

    table = pd.read_csv(path)
    for column in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        table[column] = [_unescaped(value) for value in table[column]]
    return table.rename(columns=_unescaped)


def _escaped(value):
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not is_number(value) else value


def _unescaped(value):
    return value[1:] if isinstance(value, str) and value.startswith("'") and FORMULA.match(value) else value


def is_number(text: str) -> bool:
    """Whether a text reads as a number, such as "-1.5e3", "nan" or "inf"."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def plain(value):
    """A parameter or a fitted attribute as JSON has it."""
    if isinstance(value, np.ndarray | tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | None) else None  # a random state, for one: what it was is gone


def add_line(path: Path, entry: Mapping) -> None:
    """Add a line of JSON to a file, apart from what was cut short."""
    with open(path, "ab+") as file:
        torn = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n"
        file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")


def newest_lines(path: Path) -> Iterator[dict]:
    """The objects of a file of lines of JSON, newest first, of which no more is read than is asked for. A line cut short is left out."""
    rest = b""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(end - BLOCK, 0)
            file.seek(begin)
            first, *lines = (file.read(end - begin) + rest).split(b"\n")
            rest, end = (first, begin) if begin else (b"", 0)
            for line in reversed(lines if begin else [first, *lines]):
                with suppress(ValueError):
                    if isinstance(entry := json.loads(line), dict):
                        yield entry
