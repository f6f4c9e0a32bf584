"""scikit-learn's tables in forms of pandas, R, Excel and LibreOffice, to prepared frames with the numbers written and on to the report;
real files of MD packages likewise."""

import importlib.util
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from benchmarks.files import FORMS, MOLECULES, molecules
from benchmarks.files import TABLES as WRITTEN
from benchmarks.files import tables as to_report
from hae.data.frames import Frames
from pipelines.project.init import Choices, init
from pipelines.stages.prepare import prepare

TABLES = {"wine": datasets.load_wine, "iris": datasets.load_iris, "breast_cancer": datasets.load_breast_cancer,
          "diabetes": datasets.load_diabetes}


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
    plain = form in ("packed by gzip", "question marks", "Feather", "Parquet")
    assert plain or any(line.startswith(("written:", "left out: column 1")) for line in said)


@pytest.mark.acceptance
@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: ", ".join(case))
def test_from_file_to_report(tmp_path, case):
    table = getattr(datasets, f"load_{case[0]}")(as_frame=True).frame
    found = to_report(case, tmp_path)
    varying = int((table.drop(columns="target").nunique() > 1).sum())
    kept = len(table) - (len(range(0, len(table), 40)) if case[1] == "question marks" else 0)
    assert (found["rows"], found["features"]) == (kept, varying) and set(found["verdicts"]) == {"collective", "boosted"}
    assert found["report_bytes"] < 6e6


@pytest.mark.acceptance
@pytest.mark.parametrize("name", MOLECULES)
def test_from_real_trajectories_to_report(tmp_path, name):
    """Or to one line where a file holds fewer frames than a split needs: then no folder is left."""
    if importlib.util.find_spec("MDAnalysisTests") is None:
        pytest.skip("needs the package MDAnalysisTests")
    found = molecules(name, Path(str(files("MDAnalysisTests") / "data")), tmp_path)
    if "refused" in found:
        assert "too few for training, validation and test" in found["refused"] and not (tmp_path / "project").exists()
    else:
        assert found["rows"] >= 11 and found["features"] > 1 and set(found["verdicts"]) == {"collective", "boosted"}
