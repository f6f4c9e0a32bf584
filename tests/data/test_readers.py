"""Tables as people have them: read, or refused in a line that names the place."""

import gzip

import numpy as np
import pandas as pd
import pytest

from hae.data.readers import is_table, load_table, table_pieces
from hae.errors import BadInput


def numbers(rows=5, columns=("a", "b")):
    return pd.DataFrame(np.arange(rows * len(columns), dtype=float).reshape(rows, -1), columns=list(columns))


def test_columns_of_two_levels_are_joined_by_a_dot(tmp_path):
    table = numbers()
    table.columns = pd.MultiIndex.from_tuples([("phi", "sin"), ("phi", "cos")])
    table.to_parquet(tmp_path / "t.parquet")
    assert load_table(tmp_path / "t.parquet").columns.tolist() == ["phi.sin", "phi.cos"]
    assert next(table_pieces(tmp_path / "t.parquet")).columns.tolist() == ["phi.sin", "phi.cos"]


def test_numbered_columns_go_by_their_numbers(tmp_path):
    numbers(columns=range(3)).to_parquet(tmp_path / "t.parquet")
    assert load_table(tmp_path / "t.parquet").columns.tolist() == ["0", "1", "2"]
    with pytest.raises(BadInput, match="line 1 has numbers only"):
        numbers(columns=range(3)).to_csv(tmp_path / "t.csv", index=False)
        load_table(tmp_path / "t.csv")


COLVAR = "#! FIELDS time phi\n#! SET min_phi -pi\n#! SET max_phi pi\n0 0.1\n1 0.2\n"


def test_a_gzipped_colvar_is_read_like_a_plain_one(tmp_path):
    (tmp_path / "COLVAR").write_text(COLVAR)
    (tmp_path / "COLVAR.gz").write_bytes(gzip.compress(COLVAR.encode()))
    plain, packed = (load_table(tmp_path / name) for name in ("COLVAR", "COLVAR.gz"))
    assert is_table(tmp_path / "COLVAR.gz") and packed.equals(plain) and packed.attrs == plain.attrs
    assert packed.attrs["periods"] == {"phi": pytest.approx(2 * np.pi)}


def test_a_damaged_gzip_is_no_colvar(tmp_path):
    (tmp_path / "COLVAR.gz").write_bytes(gzip.compress(COLVAR.encode())[:12])
    assert not is_table(tmp_path / "COLVAR.gz")


@pytest.mark.parametrize(("line", "word"), [("2 0.3 0.4", "line 6: 3 numbers for 2 fields"), ("2 x", "line 6: 'x' is not a number"),
                                            ("1 0.3", "line 6: time goes from 1 to 1"), ("#! FIELDS time psi", "line 6: other fields")])
def test_a_colvar_names_the_line_that_is_wrong(tmp_path, line, word):
    (tmp_path / "COLVAR").write_text(COLVAR + line + "\n")
    with pytest.raises(BadInput, match=word):
        load_table(tmp_path / "COLVAR")
