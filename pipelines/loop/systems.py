"""The molecule of params.yaml's section sample as an OpenMM System: the default project's own, or files of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.sampling.system import Molecule
from pipelines.params import Sample
from pipelines.stages import simulate

__all__ = ["BUILT_IN", "molecule"]

BUILT_IN = "alanine-dipeptide"
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
        ".prmtop": lambda: app.AmberPrmtopFile(str(path), **({"periodicBoxVectors": box} if box is not None else {})).createSystem(
            **options, **({} if box is not None else {"implicitSolvent": app.OBC2})),
        ".top": lambda: app.GromacsTopFile(str(path), **({"periodicBoxVectors": box} if box is not None else {})).createSystem(**options),
    }
    if path.suffix not in readers:
        raise BadInput(f"params.yaml: sample.system: {text} is not allowed; allowed: {FORMS}")
    return readers[path.suffix]()


def _file(project: Path, name: str, key: str) -> Path:
    path = project / name
    if not path.is_file():
        raise BadInput(f"params.yaml: sample.{key}: {name}: no such file; allowed: a file in {project}")
    return path
