"""scikit-learn's tables in the forms of pandas, R, Excel and LibreOffice: from file to prepared frames, with the numbers written."""

import numpy as np
import pytest
from sklearn import datasets

from hae.data.frames import Frames
from pipelines.project.init import Choices, init
from pipelines.stages.prepare import prepare

TABLES = {"wine": datasets.load_wine, "iris": datasets.load_iris, "breast_cancer": datasets.load_breast_cancer,
          "diabetes": datasets.load_diabetes}


def r_csv(table, path):
    """As write.csv does: names in quotes, rows named from 1."""
    table.set_axis(range(1, len(table) + 1)).to_csv(path, quoting=2, index_label="")


def r_table(table, path):
    """As write.table does: spaces, and a name less than there are columns."""
    table.set_axis(range(1, len(table) + 1)).to_csv(path, sep=" ", quoting=2, index_label=False)


def holed(table, path):
    """Question marks in some rows, as in the UCI repository."""
    table = table.astype(object)
    table.iloc[::40, 0] = "?"
    table.to_csv(path, index=False)


FORMS = {
    "pandas, index": ("t.csv", lambda table, path: table.to_csv(path)),
    "LibreOffice in German": ("t.csv", lambda table, path: table.to_csv(path, sep=";", decimal=",", index=False, encoding="utf-8-sig")),
    "R, write.csv": ("t.csv", r_csv),
    "R, write.table": ("t.txt", r_table),
    "Excel, Unicode text": ("t.txt", lambda table, path: table.to_csv(path, sep="\t", decimal=",", index=False, encoding="utf-16")),
    "Excel": ("t.xlsx", lambda table, path: table.to_excel(path)),
    "packed": ("t.csv.gz", lambda table, path: table.to_csv(path, index=False)),
    "question marks": ("t.csv", holed),
    "Feather": ("t.feather", lambda table, path: table.to_feather(path)),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TABLES)
def test_from_file_to_prepared_frames(tmp_path, monkeypatch, name, form):
    table = TABLES[name](as_frame=True).frame
    file, write = FORMS[form]
    if file.endswith(".xlsx"):
        pytest.importorskip("openpyxl")
    write(table, tmp_path / file)
    folder = tmp_path / "project"
    said = init(folder, Choices((tmp_path / file,), labels=("target",), missing="drop" if form == "question marks" else "error"))
    monkeypatch.chdir(folder)
    prepare()
    frames = Frames.read("data/prepared/frames")
    kept = np.arange(len(table)) % 40 != 0 if form == "question marks" else slice(None)
    assert np.allclose(frames.values, table[list(frames.features)].to_numpy()[kept], rtol=1e-12)
    assert set(frames.features) == set(table.columns) - {"target"} and frames.labels["target"].tolist() == table["target"][kept].tolist()
    plain = form in ("packed", "question marks", "Feather")
    assert plain or any(line.startswith(("written:", "left out: column 1")) for line in said)
