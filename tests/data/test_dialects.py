"""Tables in the forms that programs write them: the same numbers come out of each, and what was guessed is said."""

import bz2
import gzip
import lzma
import sys

import numpy as np
import pandas as pd
import pytest

from hae.data.readers import Form, load_table, table_pieces
from hae.data.tables import read_table
from hae.errors import BadInput

TRUTH = pd.DataFrame({"Größe": [1234.5, 1.75, 12345.25], "b, kg": [1.0, -2.5, 3.125]})


def german(text, thousands=True):
    """1234.5 as 1.234,5."""
    signs = str.maketrans({",": "." if thousands else None, ".": ","})
    numbers = [[f"{x:,}".translate(signs) for x in row] for row in text.to_numpy()]
    return "\n".join(";".join(row) for row in [text.columns, *numbers]) + "\n"


R = '"","Größe","b, kg"\n"Mazda RX4",1234.5,1\n"Datsun 710",1.75,-2.5\n"Hornet",12345.25,3.125\n'
FORMS = {
    "plain": (TRUTH.to_csv(index=False), ""),
    "pandas with its index": (TRUTH.to_csv(), ""),
    "pandas twice": (TRUTH.to_csv().replace(",", "Unnamed: 0,", 1), ""),
    "semicolons": (TRUTH.to_csv(index=False, sep=";"), "separated by semicolons"),
    "tabs": (TRUTH.to_csv(index=False, sep="\t"), "separated by tabs"),
    "bars": (TRUTH.to_csv(index=False, sep="|"), "separated by bars"),
    "decimal commas": (german(TRUTH, thousands=False), "separated by semicolons, decimal sign ','"),
    "decimal commas and tabs": (german(TRUTH, thousands=False).replace(";", "\t"), "separated by tabs, decimal sign ','"),
    "thousands by dots": (german(TRUTH), "separated by semicolons, decimal sign ',', thousands by '.'"),
    "thousands by commas": ('Größe,"b, kg"\n"1,234.5",1\n1.75,-2.5\n"12,345.25",3.125\n', "thousands by ','"),
    "thousands by narrow spaces": ("Größe;b, kg\n1\u202f234,5;1\n1,75;-2,5\n12\u202f345,25;3,125\n", "thousands by '\u202f'"),
    "R's write.csv": (R, ""),
    "R's write.table": (R.replace('"",', "").replace(",", " ").replace('"b  kg"', '"b, kg"'), "separated by spaces"),
    "R's write.csv2": ('"";"Größe";"b, kg"\n"1";1234,5;1\n"2";1,75;-2,5\n"3";12345,25;3,125\n', "decimal sign ','"),
    "NumPy's savetxt": ("# Größe\tb, kg\n1234.5\t1\n1.75\t-2.5\n12345.25\t3.125\n", "separated by tabs"),
    "a comma at the end of each line": ('Größe,"b, kg",\n1234.5,1,\n1.75,-2.5,\n12345.25,3.125,\n', ""),
    "empty lines": ("\n" + TRUTH.to_csv(index=False).replace("\n", "\n\n"), ""),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_form_gives_the_same_numbers(tmp_path, name, encoding):
    text, words = FORMS[name]
    if encoding == "cp1252" and "\u202f" in text:
        text = text.replace("\u202f", "\u00a0")
        words = words.replace("\u202f", "\u00a0")
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    for table in (load_table(path), pd.concat(list(table_pieces(path, rows=2)))):
        assert list(table.columns) == list(TRUTH.columns) and np.array_equal(table.to_numpy(dtype=float), TRUTH.to_numpy())
    said = Form(**load_table(path).attrs["form"]).words()
    assert said.startswith(words) or words in said
    assert bool(said) == bool(words or encoding != "utf-8")


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_text_is_unpacked(tmp_path, ending, pack):
    (tmp_path / f"t.csv{ending}").write_bytes(pack(german(TRUTH).encode()))
    assert np.array_equal(load_table(tmp_path / f"t.csv{ending}").to_numpy(), TRUTH.to_numpy())


def test_what_is_given_is_not_guessed(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1,234;1\n2,345;2\n")
    assert load_table(tmp_path / "t.csv")["a"].tolist() == [1.234, 2.345]
    assert load_table(tmp_path / "t.csv", Form(decimal=".", thousands=","))["a"].tolist() == [1234, 2345]
    with pytest.raises(BadInput, match=r"not a table that can be read \(its text is not ascii"):
        (tmp_path / "t.csv").write_text("ä;b\n1;1\n2;2\n")
        load_table(tmp_path / "t.csv", Form(encoding="ascii"))


def test_columns_without_a_name_are_left_out_and_said(tmp_path):
    (tmp_path / "t.csv").write_text(R)
    assert load_table(tmp_path / "t.csv").attrs["left_out"] == ["column 1, which has no name (row names)"]
    (tmp_path / "t.csv").write_text("a,,b\n1,2,3\n4,5,6\n")
    with pytest.raises(BadInput, match="column 2 has no name"):
        load_table(tmp_path / "t.csv")


@pytest.mark.parametrize("mark", ["?", "-", "NA", "", "#DIV/0!", "n/a", "null"])
def test_words_for_missing_values(tmp_path, mark):
    (tmp_path / "t.csv").write_text(f"a,b\n1,2\n{mark},4\n5,6\n")
    with pytest.raises(BadInput, match=r"'a', row 2 \(line 3\): a missing value \(NaN\), 1 in this column; .*--missing drop"):
        read_table(tmp_path / "t.csv")
    assert np.isnan(read_table(tmp_path / "t.csv", missing="mask").values[1, 0])


def test_the_first_column_of_text_and_numbers_is_never_taken_for_names_of_rows(tmp_path):
    """A header that is too short is a fault where the first cells are measurements."""
    (tmp_path / "t.csv").write_text("a,b\n1.5,2,9\n3.5,4,5\n")
    with pytest.raises(BadInput, match="not a table"):
        load_table(tmp_path / "t.csv")


def test_workbooks(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        TRUTH.to_excel(book, sheet_name="of today")
        TRUTH.mul(2).to_excel(book, sheet_name="other", index=False)
    first, other = load_table(tmp_path / "t.xlsx"), load_table(tmp_path / "t.xlsx", Form(sheet="other"))
    assert np.array_equal(first.to_numpy(), TRUTH.to_numpy()) and np.array_equal(other.to_numpy(), 2 * TRUTH.to_numpy())
    assert first.attrs["form"]["sheet"] == "of today" and list(first.columns) == list(TRUTH.columns)
    with pytest.raises(BadInput, match="no sheet 'x'; allowed: of today, other"):
        load_table(tmp_path / "t.xlsx", Form(sheet="x"))


def test_feather(tmp_path):
    TRUTH.to_feather(tmp_path / "t.feather")
    assert load_table(tmp_path / "t.feather").equals(TRUTH)


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    pytest.importorskip("openpyxl")
    TRUTH.to_excel(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setitem(sys.modules, "tables", None)
    with pytest.raises(BadInput, match="needs the Python package openpyxl; allowed: pip install openpyxl"):
        load_table(tmp_path / "t.xlsx")
    (tmp_path / "t.h5").write_bytes(b"\x89HDF\r\n\x1a\n pandas_type")
    with pytest.raises(BadInput, match="needs the Python package tables; allowed: pip install tables"):
        load_table(tmp_path / "t.h5")


def test_hdf5_of_pandas(tmp_path):
    pytest.importorskip("tables")
    TRUTH.to_hdf(tmp_path / "t.h5", key="rows")
    assert load_table(tmp_path / "t.h5").equals(TRUTH)
    TRUTH.to_hdf(tmp_path / "t.h5", key="others")
    with pytest.raises(BadInput, match=r"2 tables; allowed as prepare\.table\.sheet: others, rows"):
        load_table(tmp_path / "t.h5")
    assert load_table(tmp_path / "t.h5", Form(sheet="others")).equals(TRUTH)
