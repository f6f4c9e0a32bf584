"""Files that people have, each from file to report: what init said of it and what came out.

    python -m benchmarks.files [--docs] [--out FOLDER]

Twenty tables: scikit-learn's, written as ten programs write them. Real trajectories of MD packages, from MDAnalysis' tests (PyPI
MDAnalysisTests), where that is installed. Networks are small and trained for a moment: it is the way that is looked at, not the figures.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import io
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from sklearn import datasets

from benchmarks import sections
from benchmarks.stages import run_stages
from hae.errors import BadInput
from hae.files import write_json
from pipelines import paths
from pipelines.project.init import Choices, init

__all__ = ["FORMS", "MOLECULES", "TABLES", "molecules", "tables", "to_report"]

OWN = Path(__file__).parents[1] / "docs" / "own-data.md"


def r_csv(table: pd.DataFrame, path: Path) -> None:
    """As write.csv does: names in quotes, rows named from 1."""
    table.set_axis(range(1, len(table) + 1)).to_csv(path, quoting=2, index_label="")


def r_table(table: pd.DataFrame, path: Path) -> None:
    """As write.table does: spaces, and a name less than there are columns."""
    table.set_axis(range(1, len(table) + 1)).to_csv(path, sep=" ", quoting=2, index_label=False)


def holed(table: pd.DataFrame, path: Path) -> None:
    """Question marks in some rows, as in the UCI repository."""
    table = table.astype(object)
    table.iloc[::40, 0] = "?"
    table.to_csv(path, index=False)


Writer = Callable[[pd.DataFrame, Path], None]
FORMS: dict[str, tuple[str, Writer]] = {
    "pandas, with its index": ("t.csv", lambda table, path: table.to_csv(path)),
    "LibreOffice in German": ("t.csv", lambda table, path: table.to_csv(path, sep=";", decimal=",", index=False, encoding="utf-8-sig")),
    "R, write.csv": ("t.csv", r_csv),
    "R, write.table": ("t.txt", r_table),
    "Excel, Unicode text": ("t.txt", lambda table, path: table.to_csv(path, sep="\t", decimal=",", index=False, encoding="utf-16")),
    "Excel": ("t.xlsx", lambda table, path: table.to_excel(path)),
    "packed by gzip": ("t.csv.gz", lambda table, path: table.to_csv(path, index=False)),
    "question marks": ("t.csv", holed),
    "Feather": ("t.feather", lambda table, path: table.to_feather(path)),
    "Parquet": ("t.parquet", lambda table, path: table.to_parquet(path)),
}
NAMES = ("iris", "wine", "breast_cancer", "diabetes", "digits")
TABLES = [(NAMES[(i + shift) % 5], form) for shift in (0, 2) for i, form in enumerate(FORMS)]

# Package, topology, trajectory (the topology holds it where it is the same), features, atoms, and how often it is given: a file of few
# frames stands for as many walkers, since a split needs 20 or so.
MOLECULES = {
    "CHARMM, DCD that ended early": ("adk.psf", "adk_dims.dcd", "coordinates", "name CA", 1),
    "NAMD": ("adk_closed_NAMD.psf", "adk_gbis_tmd-fast1_NAMD.dcd", "distances", "name CA every 20", 1),
    "CHARMM, XYZ": ("2r9r-1b.psf", "2r9r-1b.xyz", "coordinates", "name CA every 4", 3),
    "GROMACS, GRO + XTC": ("adk_oplsaa.gro", "adk_oplsaa.xtc", "coordinates", "name CA every 4", 3),
    "GROMACS, GRO + TRR": ("adk_oplsaa.gro", "adk_oplsaa.trr", "torsions", None, 3),
    "GROMACS, TPR + XTC": ("adk_oplsaa.tpr", "adk_oplsaa.xtc", "distances", "name CA every 20", 3),
    "GROMACS, PDB + XTC": ("cobrotoxin.pdb", "cobrotoxin.xtc", "coordinates", "name CA", 8),
    "AMBER, PRMTOP + NetCDF": ("Amber/bala.prmtop", "Amber/bala.ncdf", "torsions", None, 1),
    "AMBER, PRMTOP + TRJ": ("Amber/bala.prmtop", "Amber/bala.trj", "coordinates", None, 1),
    "AMBER, PRMTOP + MDCRD": ("Amber/ache.prmtop", "Amber/ache.mdcrd", "coordinates", "name CA", 2),
    "AMBER, TOP + MDCRD packed": ("Amber/anti.top", "Amber/anti_md1.mdcrd.bz2", "coordinates", "heavy every 8", 1),
    "LAMMPS, data + dump": ("lammps/chain_initial.data", "lammps/chain_dump_1.lammpstrj", "coordinates", "all", 5),
    "PDB of 24 models": ("nmr_neopetrosiamide.pdb", "nmr_neopetrosiamide.pdb", "torsions", None, 1),
    "MOL2 of 200 molecules": ("mol2/Molecules.mol2", "mol2/Molecules.mol2", "coordinates", "all", 1),
    "GROMACS, GRO of two frames": ("two_water_gro_multiframe.gro", "two_water_gro_multiframe.gro", "coordinates", "all", 1),
}


def tables(case: tuple[str, str], place: Path) -> dict:
    """One of `TABLES`, written into a folder and taken to its report there; what `to_report` gives."""
    name, form = case
    table = getattr(datasets, f"load_{name}")(as_frame=True).frame
    file, write = FORMS[form]
    write(table, place / file)
    missing = "drop" if form == "question marks" else "error"
    return to_report(Choices((place / file,), labels=("target",), missing=missing, shuffle=True), place / "project")


def molecules(name: str, data: Path, place: Path) -> dict:
    """One of `MOLECULES` from the folder `data` of MDAnalysisTests, taken to its report."""
    topology, trajectory, features, atoms, times = MOLECULES[name]
    files = tuple(place / f"{number}-{Path(trajectory).name}" for number in range(times)) if times > 1 else (data / trajectory,)
    for file in files if times > 1 else ():
        shutil.copy2(data / trajectory, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_report(Choices(files, topology=data / topology, features=features, atoms=atoms), place / "project")


def to_report(choices: Choices, folder: Path) -> dict:
    """rows and features found, what init said of the way the file is written, and the size of the report; or "refused", the one line."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            said = init(folder, choices)
        except BadInput as error:
            return {"refused": str(error)}
        _made_small(folder / "params.yaml")
        with contextlib.chdir(folder):
            run_stages()
            found = json.loads((paths.RESULTS / "importance.json").read_text())
            size = (paths.RESULTS / "report.html").stat().st_size
            features = len(json.loads(paths.RECIPE.read_text())["names"])
    rows = re.search(r"found: (\d+) (?:rows|frames)", "\n".join(said))
    assert rows is not None  # init says so of whatever it takes
    return {
        "rows": int(rows[1]), "features": features, "report_bytes": size, "verdicts": found["verdicts"],
        "written": "; ".join(line for line in said if line.startswith(("written:", "left out: column 1", "missing:"))),
    }


def _made_small(file: Path) -> None:
    """Two CVs, one member and three epochs, no replicas."""
    text = file.read_text()
    for key, value in (("n_cvs", "2"), ("hidden", "[8]"), ("n_seeds", "1"), ("max_epochs", "3"), ("replicas", "0")):
        text = re.sub(rf"^( *{key}:) +[^#\n]+", rf"\1 {value} ", text, flags=re.MULTILINE)
    file.write_text(text)


def main() -> None:
    parser = sections.arguments(__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("files"), help="what was found already is read from here")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[str, Callable[[Path], dict]]] = [(", ".join(case), partial(tables, case)) for case in TABLES]
    if importlib.util.find_spec("MDAnalysisTests") is not None:
        data = Path(str(importlib.resources.files("MDAnalysisTests"))) / "data"
        jobs += [(name, partial(molecules, name, data)) for name in MOLECULES]
    rows = []
    for name, job in jobs:
        kept = arguments.out / f"{re.sub('[^A-Za-z0-9]+', '-', name)}.json"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as place:
                write_json(kept, job(Path(place)))
        rows.append(_row(name, json.loads(kept.read_text())))
        print(*rows[-1], sep=" | ", flush=True)
    sections.publish("files", sections.table(["file", "rows", "features", "came to"], rows), arguments.docs, OWN)


def _row(name: str, found: dict) -> list:
    if "refused" in found:
        return [name, "", "", f"one line: {found['refused'].partition(': ')[2]}"]
    return [name, found["rows"], found["features"], "report" + (f" ({found['written'].replace('|', '/')})" if found["written"] else "")]


if __name__ == "__main__":
    main()
