"""hae export: a registered version's CVs as files for other programs, read back by those programs before they are handed over."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.data.frames import read_pieces
from hae.data.jacobian import featurise
from hae.data.parts import Manifest
from hae.data.patterns import find_files
from hae.data.positions import whole
from hae.data.trajectories import load_frame, load_structure
from hae.errors import BadInput
from hae.export import clients
from hae.export.card import Card, card_of, write_card
from hae.export.checks import compared
from hae.export.colvars import write_colvars
from hae.export.cv import PositionsToCVs, cv
from hae.export.encoder import Encoder, encoder_of
from hae.export.of_features import write_numpy, write_onnx, write_torchscript
from hae.export.plumed import write_plumed
from hae.export.program import write_program
from hae.files import written_whole
from pipelines import params, paths
from pipelines.record import packaging, registry
from pipelines.record.lineage import code
from pipelines.record.store import Store, opened, plainly

__all__ = ["FORMATS", "Exported", "export"]

OF_ATOMS = {"plumed": write_plumed, "colvars": write_colvars}
OF_FEATURES = {"numpy": write_numpy, "onnx": write_onnx, "torchscript": write_torchscript}
FORMATS = (*OF_ATOMS, "openmm", *OF_FEATURES, "pt2")
FRAMES = 12  # of the training data, that a client is asked about


@dataclass(frozen=True)
class Exported:
    """Files, and the line that says how well the client of the format agrees with the network."""

    files: tuple[Path, ...]
    checked: str


def export(
    project: Path,
    kind: str,
    folder: Path,
    version: str | None = None,
    cvs: int | None = None,
    topology: Path | None = None,
    ann: bool = False,
) -> Exported:
    """Write the first `cvs` CVs (None: all) of a registered version (None: the champion) in a format.

    topology: of the molecule that is to be simulated, for the numbers of its atoms; None: that of the project. ann: for plumed. Where
    the format's own client is here, it has to give the network's CVs and forces on training frames; otherwise no file is kept.

    Raises:
        BadInput: no such version or format, too many CVs, no topology or another molecule, what a format can't hold, a client that
            gives something else or can't read the files.
    """
    if kind not in FORMATS:
        raise BadInput(f"export: {kind!r} is not a format; allowed: {', '.join(FORMATS)}")
    store = opened(project)
    with plainly(store.uri):
        row = registry.champion(store) if version is None else registry.find(store, version)
        if row is None:
            raise BadInput(f"{store.name}: no {'champion' if version is None else f'version {version}'}; allowed: hae retrain first")
        model = packaging.load(store, row.version)
        lineage = _lineage(project, store, model)
    about, encoder = model.about, encoder_of(model, cvs)
    function = cv(model, cvs=cvs) if kind in clients.OF_POSITIONS or model.recipe["kind"] != "columns" else None
    ranges = list(zip(about["cv_low"], about["cv_high"], strict=True))
    card = card_of(encoder, about["features"], about["units"], function, ranges, store.name, model.version, lineage,
                   list(zip(about["low"], about["high"], strict=True)))  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary)
        if kind not in clients.OF_POSITIONS or function is None:
            made = _for_features(kind, model, encoder, card, draft)
            checked = _check_features(kind, model, card, draft)
        else:
            structure = load_structure(_topology(project, topology))
            made = _for_atoms(kind, function, model, card, getattr(structure, "topology", structure), draft, ann)
            checked = _check_positions(kind, function, model, card, project, structure, draft)
        return Exported(tuple(_handed_over(path, folder) for path in made), checked)


def _handed_over(path: Path, folder: Path) -> Path:
    with written_whole(folder / path.name) as partial:
        partial.write_bytes(path.read_bytes())
    return folder / path.name


def _for_features(kind: str, model: packaging.Loaded, encoder: Encoder, card: Card, folder: Path) -> list[Path]:
    if kind != "pt2":
        return OF_FEATURES[kind](encoder, card, folder)
    write_program(model.network.first(len(encoder.kinds)), encoder.n_features, folder / "program.pt2")
    return [folder / "program.pt2", write_card(card, folder)]


def _for_atoms(kind: str, function: PositionsToCVs, model, card: Card, topology, folder: Path, ann: bool) -> list[Path]:
    if kind == "openmm":
        from hae.export.openmm import write_openmm  # imports OpenMM, which the others have no need of

        return write_openmm(function, model, card, topology.to_openmm(), folder)
    return OF_ATOMS[kind](function, card, function.indices(topology), folder, *([ann] if kind == "plumed" else []))


def _check_features(kind: str, model: packaging.Loaded, card: Card, folder: Path) -> str:
    n = len(card.cvs)
    want, answer = model.encode(model.rows)[:, :n], clients.ask(kind, folder, card, model.rows)
    return compared(kind, answer, card, want, model.about["cv_std"][:n], on=f"{len(want)} training rows")


def _check_positions(kind: str, function: PositionsToCVs, model, card: Card, project: Path, structure, folder: Path) -> str:
    numbers, n = function.indices(getattr(structure, "topology", structure)), len(card.cvs)
    x = _training_frames(project, function)
    words = f"{FRAMES} training frames"
    if x is None and not hasattr(structure, "xyz"):
        return "not checked: no training frames are here, and the topology has no positions (allowed: a PDB or GRO file)"
    if x is None:
        x, words = whole(structure, numbers, _reference(function)).astype(float), "the topology's positions; no training frames are here"
    want = model.encode(featurise(function.recipe, x)[0])[:, :n]
    answer = clients.ask(kind, folder, card, x, numbers)
    return compared(kind, answer, card, want, model.about["cv_std"][:n], function(x)[1], words)


def _training_frames(project: Path, function: PositionsToCVs) -> np.ndarray | None:
    """Positions (N, A, 3) of the atoms read in some training frames, or None where the project's data are not here any more."""
    try:
        settings = params.load(project / "params.yaml").prepare
        structure = load_structure(project / str(settings.topology))
        topology = getattr(structure, "topology", structure)
        files = find_files(settings.trajectories, project)
        found = [load_frame(files[name], frame, topology) for name, frame in _some_rows(project / paths.FRAMES)]
        at = function.indices(topology)
        return np.concatenate([whole(frame, at, _reference(function)) for frame in found]).astype(float)
    except (BadInput, KeyError, OSError):
        return None


def _some_rows(folder: Path) -> Iterator[tuple[str, int]]:
    """Trajectory and frame of training rows, evenly spread; a piece of the data set is in memory."""
    wanted, first = np.linspace(0, Manifest.read(folder).sides["train"] - 1, FRAMES).astype(int), 0
    for piece in read_pieces(folder):
        rows = piece.select("train")
        yield from ((str(rows.trajectory[i - first]), int(rows.frame[i - first])) for i in wanted if first <= i < first + len(rows))
        first += len(rows)


def _reference(function: PositionsToCVs) -> np.ndarray | None:
    return np.array(function.recipe.reference) if function.recipe.kind == "coordinates" else None


def _topology(project: Path, given: Path | None) -> Path:
    path = given
    if path is None:
        known = params.load(project / "params.yaml").prepare.topology
        path = project / known if known else None
    if path is None or not path.is_file():
        raise BadInput(f"topology: {path or 'none'}: no such file; allowed: --topology with the molecule that is simulated, as PDB or GRO")
    return path


def _lineage(project: Path, store: Store, model: packaging.Loaded) -> dict[str, str]:
    """Where a version comes from. Of a project in no git repository the commit is that of hae."""
    tags = store.client.get_model_version(store.name, model.version).tags
    said: dict[str, str] = {name: tags[name] for name in ("variant", "git_commit", "data_hash", "params_hash") if name in tags}
    return said if code(project).commit else {"git_commit_of_hae" if name == "git_commit" else name: value for name, value in said.items()}
