"""ACE, N alanines, NME as a PDB file, from alanine dipeptide: python peptide.py N FILE"""

import sys
from pathlib import Path

import numpy as np
from openmm import app, unit

from pipelines.stages.simulate import TOPOLOGY


def fit(moving: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The turn and the shift that lay one set of points (n, 3) onto another: x @ turn + shift. Kabsch 1976."""
    u, _, v = np.linalg.svd((moving - moving.mean(0)).T @ (onto - onto.mean(0)))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return turn, onto.mean(0) - moving.mean(0) @ turn


def peptide(n: int, file: Path) -> None:
    """Each further alanine, and NME, goes where the peptide bond before it asks for: the bond ACE-ALA laid onto ALA-NME."""
    pdb = app.PDBFile(str(TOPOLOGY))
    positions = pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    ace, ala, nme = pdb.topology.residues()

    def places(residue, names):
        found = {atom.name: positions[atom.index] for atom in residue.atoms()}
        return [found[name] for name in names]

    turn, shift = fit(np.array(places(ace, ["CH3", "C", "O"]) + places(ala, ["N"])),
                      np.array(places(ala, ["CA", "C", "O"]) + places(nme, ["N"])))
    topology, made = app.Topology(), []
    chain = topology.addChain()
    for residue, times in [(ace, 0), *((ala, k) for k in range(n)), (nme, n - 1)]:
        new = topology.addResidue(residue.name, chain)
        for atom in residue.atoms():
            topology.addAtom(atom.name, atom.element, new)
            x = positions[atom.index]
            for _ in range(times):
                x = x @ turn + shift
            made.append(x)
    topology.createStandardBonds()
    with open(file, "w") as out:
        app.PDBFile.writeFile(topology, np.array(made) * unit.nanometer, out)


if __name__ == "__main__":
    peptide(int(sys.argv[1]), Path(sys.argv[2]))
