"""hae export: a registered version's CVs as files for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from hae.errors import BadInput
from hae.export.card import Card, card_of
from hae.export.cv import PositionsToCVs, cv
from hae.export.encoder import Encoder, encoder_of
from hae.export.formats import write_numpy, write_onnx, write_torchscript
from hae.export.program import write_program
from pipelines import params
from pipelines.record import packaging, registry
from pipelines.record.store import Store, opened, plainly

__all__ = ["FORMATS", "export"]

OF_FEATURES = {"numpy": write_numpy, "onnx": write_onnx, "torchscript": write_torchscript}
FORMATS = ("plumed", "openmm", *OF_FEATURES, "pt2")


def export(
    project: Path,
    kind: str,
    folder: Path,
    version: str | None = None,
    cvs: int | None = None,
    topology: Path | None = None,
    ann: bool = False,
) -> list[Path]:
    """Write the first `cvs` CVs (None: all) of a registered version (None: the champion) in a format: the files.

    topology: of the molecule that is to be simulated, for the numbers of its atoms; None: that of the project. ann: for plumed.

    Raises:
        BadInput: no such version or format, too many CVs, no topology or another molecule, what a format can't hold.
    """
    if kind not in FORMATS:
        raise BadInput(f"export: {kind!r} is not a format; allowed: {', '.join(FORMATS)}")
    store = opened(project)
    with plainly(store.uri):
        row = registry.champion(store) if version is None else registry.find(store, version)
        if row is None:
            raise BadInput(f"{store.name}: no {'champion' if version is None else f'version {version}'}; allowed: hae retrain first")
        model, ranges, lineage = packaging.load(store, row.version), *_training(store, row.version)
    encoder = encoder_of(model, cvs)
    function = cv(model, cvs=cvs) if kind in ("plumed", "openmm") else None
    card = card_of(encoder, model.about["features"], model.about["units"], function, ranges, store.name, model.version, lineage)
    molecule_file = _topology(project, topology) if function is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    if function is not None and molecule_file is not None:
        return _for_atoms(kind, function, card, molecule_file, folder, model, ann)
    if kind == "pt2":
        return _program(model, encoder, folder)
    return OF_FEATURES[kind](encoder, card, folder)


def _program(model: packaging.Loaded, encoder: Encoder, folder: Path) -> list[Path]:
    write_program(model.network.first(len(encoder.kinds)), encoder.n_features, folder / "program.pt2")
    return [folder / "program.pt2"]


def _for_atoms(kind: str, function: PositionsToCVs, card: Card, path: Path, folder: Path, model, ann: bool) -> list[Path]:
    import mdtraj

    topology = mdtraj.load(str(path)).topology
    if kind == "plumed":
        from hae.export.plumed import write_plumed

        return write_plumed(function, card, function.indices(topology), folder, ann)
    from hae.export.openmm import write_openmm

    return write_openmm(function, model, card, topology.to_openmm(), folder)


def _topology(project: Path, given: Path | None) -> Path:
    path = given
    if path is None:
        known = params.load(project / "params.yaml").prepare.topology
        path = project / known if known else None
    if path is None or not path.is_file():
        raise BadInput(f"topology: {path or 'none'}: no such file; allowed: --topology with the molecule that is simulated, as PDB or GRO")
    return path


def _training(store: Store, version: str) -> tuple[list[tuple[float, float]], dict[str, str]]:
    """Range of each CV over the training rows that a version carries, and where it comes from."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = pd.read_parquet(packaging.fetch(store, version, Path(temporary)) / "artifacts" / "check.parquet")
    expected = [name for name in rows.columns if name.startswith("expected:")]
    tags = store.client.get_model_version(store.name, version).tags
    lineage: dict[str, str] = {name: tags[name] for name in ("variant", "git_commit", "data_hash", "params_hash") if name in tags}
    return [(float(rows[name].min()), float(rows[name].max())) for name in expected], lineage
