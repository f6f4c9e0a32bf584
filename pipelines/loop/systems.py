"""The molecule of params.yaml's section sample as an OpenMM System: the default project's own, or files of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.sampling.system import Molecule
from pipelines.params import Sample
from pipelines.stages import simulate

__all__ = ["BUILT_IN", "molecule", "take"]

BUILT_IN = "alanine-dipeptide"
PLACES = {".inpcrd": "AmberInpcrdFile", ".rst7": "AmberInpcrdFile", ".crd": "AmberInpcrdFile", ".gro": "GromacsGroFile"}
FORMS = (f"{BUILT_IN}, an OpenMM System (.xml), AMBER (.prmtop), GROMACS (.top), or names of force fields over the PDB "
         "(amber14-all.xml implicit/gbn2.xml)")


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
    """Put the files of a system into a folder of a project: topology.pdb, and system.xml of AMBER or GROMACS, whose files name others
    that do not travel with them. Gives the name of the file there, or the names of force fields as they are.

    topology: a PDB file, whose models are places to start from; or, beside a .prmtop or .top, .inpcrd, .rst7, .crd of AMBER, or .gro.

    Raises:
        BadInput: what OpenMM can't read, in one line.
    """
    import openmm
    from openmm import app

    path = Path(system)
    if not path.is_file() or path.suffix not in (".prmtop", ".top"):
        if topology.suffix in PLACES:
            raise BadInput(f"--topology: {topology} is not allowed with {system}; allowed: a PDB file (others beside a .prmtop or .top)")
        shutil.copyfile(topology, home / "topology.pdb")
        if path.is_file():
            shutil.copyfile(path, home / path.name)
        return path.name if path.is_file() else system
    try:
        if topology.suffix in PLACES:
            read = getattr(app, PLACES[topology.suffix])(str(topology))
            box = getattr(read, "boxVectors", None) or (read.getPeriodicBoxVectors() if topology.suffix == ".gro" else None)
            places, atoms = read.getPositions(), _amber_or_gromacs(path, box).topology
            atoms.setPeriodicBoxVectors(box)
            with open(home / "topology.pdb", "w") as file:
                app.PDBFile.writeFile(atoms, places, file)
        else:
            shutil.copyfile(topology, home / "topology.pdb")
        made = _system(path.parent, path.name, app.PDBFile(str(home / "topology.pdb")))
        (home / "system.xml").write_text(openmm.XmlSerializer.serialize(made))
    except Exception as error:  # OpenMM's own kinds
        raise BadInput(f"--system: {system}, {topology}: {' '.join(str(error).split())[:200]}; "
                       "allowed: files of the same atoms that OpenMM reads") from None
    return "system.xml"


def _amber_or_gromacs(path: Path, box):
    from openmm import app

    options = {"periodicBoxVectors": box} if box is not None else {}
    return app.AmberPrmtopFile(str(path), **options) if path.suffix == ".prmtop" else app.GromacsTopFile(str(path), **options)


def _system(project: Path, text: str, pdb):
    import openmm
    from openmm import app, unit

    options = {"constraints": app.HBonds, "hydrogenMass": 3 * unit.dalton}
    box = pdb.topology.getPeriodicBoxVectors()
    options |= {"nonbondedMethod": app.PME, "nonbondedCutoff": 1.0} if box is not None else {"nonbondedMethod": app.NoCutoff}
    names = text.split()
    if len(names) > 1 or not Path(text).suffix or (text.endswith(".xml") and not (project / text).exists()):
        return app.ForceField(*names).createSystem(pdb.topology, **options)
    path = _file(project, text, "system")
    readers: dict[str, Callable] = {
        ".xml": lambda: openmm.XmlSerializer.deserialize(path.read_text()),
        ".prmtop": lambda: _amber_or_gromacs(path, box).createSystem(
            **options, **({} if box is not None else {"implicitSolvent": app.OBC2})),
        ".top": lambda: _amber_or_gromacs(path, box).createSystem(**options),
    }
    if path.suffix not in readers:
        raise BadInput(f"params.yaml: sample.system: {text} is not allowed; allowed: {FORMS}")
    return readers[path.suffix]()


def _file(project: Path, name: str, key: str) -> Path:
    path = project / name
    if not path.is_file():
        raise BadInput(f"params.yaml: sample.{key}: {name}: no such file; allowed: a file in {project}")
    return path
