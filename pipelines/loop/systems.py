"""The molecule of params.yaml's section sample as an OpenMM System: the default project's own, or files of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.sampling.system import Molecule
from pipelines.params import Sample
from pipelines.stages import simulate

__all__ = ["BUILT_IN", "molecule", "take"]

BUILT_IN = "alanine-dipeptide"
PLACES = {".inpcrd": "AmberInpcrdFile", ".rst7": "AmberInpcrdFile", ".crd": "AmberInpcrdFile", ".gro": "GromacsGroFile"}
FORMS = (f"{BUILT_IN}, an OpenMM System (.xml), AMBER (.prmtop), GROMACS (.top), CHARMM (.psf and its parameters), or names of force "
         "fields over the PDB (amber14-all.xml implicit/gbn2.xml)")


def molecule(project: Path, section: Sample) -> Molecule:
    """The system and where walkers start: all models of the PDB file in turn. Raises BadInput for what can't be built, in one line."""
    from openmm import app, unit

    if section.system == BUILT_IN:
        positions = app.PDBFile(str(simulate.TOPOLOGY)).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        return Molecule.of(simulate.alanine_dipeptide(), simulate.TOPOLOGY, np.array(positions))
    if section.topology is None:
        raise BadInput("params.yaml: sample.topology: null is not allowed with a system of one's own; "
                       "allowed: a PDB file, where walkers start")
    topology = _file(project, section.topology, "topology")
    try:
        pdb = app.PDBFile(str(topology))
        starts = np.stack([pdb.getPositions(asNumpy=True, frame=i).value_in_unit(unit.nanometer) for i in range(pdb.getNumFrames())])
        return Molecule.of(_system(project, section.system, pdb), topology, starts)
    except BadInput:
        raise
    except Exception as error:  # OpenMM's own kinds: a residue without a template, a file of another program
        raise BadInput(f"params.yaml: sample.system: {section.system}: {' '.join(str(error).split())[:200]}; allowed: {FORMS}") from None


def take(system: str, topology: Path, home: Path) -> str:
    """Put the files of a system into a folder of a project: topology.pdb, and system.xml of AMBER, GROMACS or CHARMM, whose files name
    others that do not travel with them. Gives the name of the file there, or the names of force fields as they are.

    system: of CHARMM the .psf and its parameter files (.prm, .rtf, .str) with spaces between. topology: a PDB file, whose models are places
    to start from; or .inpcrd, .rst7, .crd beside a .prmtop, .gro beside a .top, .crd beside a .psf.

    Raises:
        BadInput: what OpenMM can't read, in one line.
    """
    import openmm
    from openmm import app

    path = Path(system)
    if _program(system) is None:
        if topology.suffix in PLACES:
            raise BadInput(f"--topology: {topology} is not allowed with {system}; "
                           "allowed: a PDB file (others beside a .prmtop, .top or .psf)")
        shutil.copyfile(topology, home / "topology.pdb")
        if path.is_file():
            shutil.copyfile(path, home / path.name)
        return path.name if path.is_file() else system
    try:
        if topology.suffix in PLACES:
            kind = "CharmmCrdFile" if _program(system) == ".psf" else PLACES[topology.suffix]
            read = getattr(app, kind)(str(topology))
            box = getattr(read, "boxVectors", None) or (read.getPeriodicBoxVectors() if topology.suffix == ".gro" else None)
            places = read.positions if kind == "CharmmCrdFile" else read.getPositions()
            atoms = _read(system, box).topology
            atoms.setPeriodicBoxVectors(box)
            with open(home / "topology.pdb", "w") as file:
                app.PDBFile.writeFile(atoms, places, file)
        else:
            shutil.copyfile(topology, home / "topology.pdb")
        made = _of_program(system, app.PDBFile(str(home / "topology.pdb")).topology.getPeriodicBoxVectors())
        (home / "system.xml").write_text(openmm.XmlSerializer.serialize(made))
    except Exception as error:  # OpenMM's own kinds
        raise BadInput(f"--system: {system}, {topology}: {' '.join(str(error).split())[:200]}; "
                       "allowed: files of the same atoms that OpenMM reads") from None
    return "system.xml"


def _program(system: str) -> str | None:
    """.prmtop, .top or .psf where the system is in files of AMBER, GROMACS or CHARMM."""
    first = Path(system) if Path(system).is_file() else Path((system.split() or [""])[0])
    return first.suffix if first.suffix in (".prmtop", ".top", ".psf") and first.is_file() else None


def _read(system: str, box):
    """OpenMM's reader of such files, which knows the atoms."""
    from openmm import app

    options = {"periodicBoxVectors": box} if box is not None else {}
    program = _program(system)
    if program == ".psf":
        return app.CharmmPsfFile(system.split()[0], **options)
    return app.AmberPrmtopFile(system, **options) if program == ".prmtop" else app.GromacsTopFile(system, **options)


def _of_program(system: str, box):
    """The System of such files: with a box by PME, without in implicit solvent, which GROMACS' files have or have not themselves."""
    from openmm import app

    given, parameters = _options(box), []
    if box is None and _program(system) != ".top":
        given["implicitSolvent"] = app.OBC2
    if _program(system) == ".psf":
        parameters = [app.CharmmParameterSet(*system.split()[1:])]
    return _read(system, box).createSystem(*parameters, **given)


def _options(box) -> dict:
    from openmm import app, unit

    options = {"constraints": app.HBonds, "hydrogenMass": 3 * unit.dalton}
    return options | ({"nonbondedMethod": app.PME, "nonbondedCutoff": 1.0} if box is not None else {"nonbondedMethod": app.NoCutoff})


def _system(project: Path, text: str, pdb):
    import openmm
    from openmm import app

    box = pdb.topology.getPeriodicBoxVectors()
    names = text.split()
    if names[0].endswith(".psf"):
        return _of_program(" ".join(str(_file(project, name, "system")) for name in names), box)
    if len(names) > 1 or not Path(text).suffix or (text.endswith(".xml") and not (project / text).exists()):
        return app.ForceField(*names).createSystem(pdb.topology, **_options(box))
    path = _file(project, text, "system")
    if path.suffix == ".xml":
        return openmm.XmlSerializer.deserialize(path.read_text())
    if _program(str(path)) is None:
        raise BadInput(f"params.yaml: sample.system: {text} is not allowed; allowed: {FORMS}")
    return _of_program(str(path), box)


def _file(project: Path, name: str, key: str) -> Path:
    path = project / name
    if not path.is_file():
        raise BadInput(f"params.yaml: sample.{key}: {name}: no such file; allowed: a file in {project}")
    return path
