"""hae transform: the registered version's CVs of new data, by its own recipe, and a clear line where that can't be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hae import HierarchicalAutoencoder
from hae.data.molecules import Recipe
from hae.data.trajectories import load_structure
from hae.errors import BadInput
from pipelines.record import registry
from pipelines.record.store import opened
from pipelines.transform import featurise, transform

MOLECULE = Path(__file__).parents[2] / "pipelines/stages/alanine-dipeptide.pdb"


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_the_data_it_was_trained_on_give_the_cvs_of_the_registered_version(recorded, tmp_path, kind):
    out = tmp_path / f"cvs{kind}"
    report = transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], out)
    champion = registry.champion(opened(recorded.folder))
    written = pd.read_csv(out) if kind == ".csv" else pd.read_parquet(out)
    assert list(written.columns) == ["cv1", "cv2"] and (report.rows, report.version) == (1200, champion.version)
    model = HierarchicalAutoencoder.load(recorded.folder / "models" / champion.variant)
    double = model.network_.double()
    import torch

    with torch.no_grad():
        cvs = double.encode(torch.from_numpy(recorded.frames().values)).numpy()
    np.testing.assert_allclose(written.to_numpy(), cvs, rtol=0, atol=1e-6 * cvs.std(0).min())


def test_a_pattern_in_quotes_is_the_files_that_it_matches(recorded, tmp_path):
    for name in ("run-1.csv", "run-2.csv"):
        shutil.copy(recorded.folder / "data/raw/table.csv", tmp_path / name)
    assert transform(recorded.folder, [tmp_path / "run-*.csv"], tmp_path / "cvs.csv").rows == 2400
    with pytest.raises(BadInput, match=r"none-\*\.csv: no such file"):
        transform(recorded.folder, [tmp_path / "none-*.csv"], tmp_path / "cvs.csv")


def test_another_version_can_be_asked_for(recorded, tmp_path):
    other = next(row for row in registry.rows(opened(recorded.folder)) if "champion" not in row.aliases)
    report = transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], tmp_path / "out.csv", version=other.version)
    assert report.variant == other.variant
    with pytest.raises(BadInput, match="no version 17"):
        transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], tmp_path / "other.csv", version="17")


def write(table, path):
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_large_file_is_read_in_pieces_and_a_fault_is_named_by_its_row(recorded, tmp_path, kind):
    table, path = pd.concat([recorded.table()] * 120, ignore_index=True), tmp_path / f"large.{kind}"
    assert len(table) > 2 * 65536
    write(table, path)
    transform(recorded.folder, [path], tmp_path / "large-cvs.parquet")
    transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], tmp_path / "cvs.parquet")
    large, small = pd.read_parquet(tmp_path / "large-cvs.parquet"), pd.read_parquet(tmp_path / "cvs.parquet")
    np.testing.assert_allclose(large, np.tile(small, (120, 1)), rtol=0, atol=1e-6)
    table.loc[140_000, "c"] = np.nan
    write(table, path)
    with pytest.raises(BadInput, match=rf"large\.{kind}: column 'c', row 140001( \(line 140002\))?: a missing value"):
        transform(recorded.folder, [path], tmp_path / "never.parquet")
    assert not (tmp_path / "never.parquet").exists()


def test_rows_far_from_the_training_data_are_said(recorded, tmp_path):
    table, path = recorded.table(), tmp_path / "new.csv"
    assert transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], tmp_path / "out.csv").far == ()
    table.loc[:9, "c"] += 273.15  # another unit
    table.to_csv(path, index=False)
    (line,) = transform(recorded.folder, [path], tmp_path / "out.csv").far
    assert line.startswith("c: 10 of 1200 rows lie far outside the training data (-1.")


def test_columns_to_keep_go_to_the_output_as_they_are(recorded, tmp_path):
    table = recorded.table().assign(time=np.arange(1200) / 4, sample=[f"s{i % 7}" for i in range(1200)])
    for path in (tmp_path / "new.csv", tmp_path / "new.parquet"):
        write(table, path)
        transform(recorded.folder, [path, path], tmp_path / "out.parquet", keep=("sample", "time"))
        written = pd.read_parquet(tmp_path / "out.parquet")
        assert list(written.columns) == ["sample", "time", "cv1", "cv2"] and len(written) == 2400
        assert (written["sample"] == [*table["sample"], *table["sample"]]).all() and written["time"].iloc[1201] == 0.25
    with pytest.raises(BadInput, match=r"new\.parquet: no column 'hour' to keep; allowed: the columns "):
        transform(recorded.folder, [path], tmp_path / "never.csv", keep=("hour",))
    table.assign(cv1=1).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(BadInput, match="--keep cv1: a name of the output"):
        transform(recorded.folder, [tmp_path / "new.csv"], tmp_path / "never.csv", keep=("cv1",))
    assert not (tmp_path / "never.csv").exists()


def table_without(column, **change):
    def made(table):
        return table.drop(columns=column).assign(**change) if column else table.assign(**change)

    return made


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (table_without("c"), "no column 'c'; allowed: "),
        (table_without(["c", "e", "a"]), "no columns 'a', 'c', 'e'; allowed: b, d, run"),
        (table_without("", c="seven"), "is not a number"),
        (table_without("", c=np.nan), "missing value"),
    ],
)
def test_a_table_that_does_not_fit_is_said_in_a_line_and_nothing_is_written(recorded, tmp_path, change, word):
    path, out = tmp_path / "new.csv", tmp_path / "out.csv"
    change(recorded.table()).to_csv(path, index=False)
    with pytest.raises(BadInput, match=word) as error:
        transform(recorded.folder, [path], out)
    assert "new.csv" in str(error.value) and "\n" not in str(error.value) and not out.exists()


def test_a_molecule_for_a_model_of_tables_is_said(recorded, tmp_path):
    (tmp_path / "walker.dcd").touch()
    with pytest.raises(BadInput, match="takes columns of a table"):
        transform(recorded.folder, [tmp_path / "walker.dcd"], tmp_path / "out.csv")
    with pytest.raises(BadInput, match="no topology"):
        transform(recorded.folder, [recorded.folder / "data/raw/table.csv"], tmp_path / "out.csv", topology=MOLECULE)


def test_an_ending_that_is_no_table_is_said_first(bare):
    with pytest.raises(BadInput, match=r"'\.txt' is not a kind of table that can be written"):
        transform(bare, [bare / "none.csv"], bare / "out.txt")


def test_an_input_is_never_written_over(bare):
    table = bare / "rows.csv"
    table.write_text("a\n1\n")
    (bare / "link.csv").symlink_to(table)
    for output in (table, bare / "link.csv", bare / "." / "rows.csv"):
        with pytest.raises(BadInput, match="an input too, which would be lost"):
            transform(bare, [table], output)
    assert table.read_text() == "a\n1\n"


def test_a_column_may_have_a_number_for_a_name(tmp_path):
    """As the columns of NumPy's files have."""
    table, frames = tmp_path / "rows.csv", pd.DataFrame({"x": [1.0, 2.0], "7": [3.0, 4.0]})
    frames.to_csv(table, index=False)
    recipe = {"version": 1, "kind": "columns", "names": ["x"], "units": [""], "labels": []}
    ((_, rows),) = featurise(recipe, [table], None, keep=("7", "7"))
    assert rows.to_dict("list") == {"7": [3.0, 4.0]}


def test_without_a_champion_it_says_what_to_do(bare):
    with pytest.raises(BadInput, match="no champion; allowed: hae retrain"):
        transform(bare, [bare / "none.csv"], bare / "out.csv")


@pytest.fixture(scope="module")
def molecule():
    return json.loads(Recipe.for_molecule(load_structure(MOLECULE), "coordinates", labels=["phi"]).to_json())


def test_molecules_are_featurised_by_the_model_s_own_recipe(molecule, tmp_path):
    structure = load_structure(MOLECULE)
    rotation = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    structure.xyz = structure.xyz @ rotation + 3.0  # turned and moved: the same features
    structure.save_dcd(str(tmp_path / "walker.dcd"))
    ((frames, rows),) = featurise(molecule, [tmp_path / "walker.dcd"], MOLECULE)
    np.testing.assert_allclose(frames.values[0], np.ravel(molecule["reference"]), atol=1e-5)
    assert rows.to_dict("records") == [{"trajectory": "walker", "frame": 0}] and frames.labels.shape[1] == 0


def test_another_molecule_is_said(molecule, tmp_path):
    structure = load_structure(MOLECULE)
    other = structure.atom_slice(structure.topology.select("element H"))
    other.save_pdb(str(tmp_path / "other.pdb"))
    other.save_dcd(str(tmp_path / "other.dcd"))
    with pytest.raises(BadInput, match="no atom"):
        list(featurise(molecule, [tmp_path / "other.dcd"], tmp_path / "other.pdb"))
    with pytest.raises(BadInput, match="atoms, but the topology has"):
        list(featurise(molecule, [tmp_path / "other.dcd"], MOLECULE))


def test_a_trajectory_needs_its_topology(molecule, tmp_path):
    with pytest.raises(BadInput, match=r"walker\.dcd: no such file"):
        featurise(molecule, [tmp_path / "walker.dcd"], None)
    (tmp_path / "walker.dcd").touch()
    with pytest.raises(BadInput, match="--topology"):
        featurise(molecule, [tmp_path / "walker.dcd"], None)
    with pytest.raises(BadInput, match="--keep time: the model takes coordinates of a molecule"):
        featurise(molecule, [tmp_path / "walker.dcd"], MOLECULE, ["time"])
