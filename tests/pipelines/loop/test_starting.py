"""A project for a system: begun by an unbiased round, refused in one line where it can't be, and then nothing is left."""

import importlib.util
import os
import re
from pathlib import Path

import openmm
import pytest
from openmm import app, unit

from hae.errors import BadInput
from hae.sampling import plumed_files
from pipelines import params
from pipelines.loop import energy, sampling, starting
from pipelines.loop.systems import molecule, take
from pipelines.project.inspection import Choices
from pipelines.stages.simulate import TOPOLOGY

SHORT = params.Sample(walkers=4, nanoseconds=0.1)  # the fewest frames that are taken
FIELDS = "amber99sbildn.xml amber99_obc.xml"


def begin(folder, system="alanine-dipeptide", topology=None, section=SHORT, **choices):
    said = []
    starting.start(folder, system, topology, Choices((), **choices), section, said.append)
    return said


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "peptide"
    return folder, begin(folder, features="torsions")


def test_a_project_is_begun_by_an_unbiased_round(begun):
    folder, said = begun
    content = params.load(folder / "params.yaml")
    assert content.prepare.trajectories == ("data/rounds/*/walker-*.dcd",) and content.temperature == 300
    assert content.sample.system == "alanine-dipeptide" and content.sample.walkers == 4 and content.promote.gradient == 250
    assert [path.name for path in sampling.rounds(folder)] == ["000"]
    table = plumed_files.read(folder / "data/rounds/000/COLVAR.3")
    assert list(table) == ["time", "metad.bias", "metad.rbias"] and len(table["time"]) == 125 and not table["metad.bias"].any()
    assert "data/rounds" in (folder / "dvc.yaml").read_text()
    assert any("kJ/mol at its minimum" in line for line in said) and re.fullmatch(r"next: cd .* && hae explore --rounds 3 .*", said[-1])


def test_without_a_champion_there_is_nothing_to_bias_along(begun):
    folder, _ = begun
    with pytest.raises(BadInput, match=r"no champion; allowed: hae retrain first, or --method none"):
        sampling.sample(folder)
    with pytest.raises(BadInput, match="no biased round"):
        energy.between(folder, "phi > 0", "phi < 0")
    assert [path.name for path in sampling.rounds(folder)] == ["000"]


@pytest.mark.parametrize(("more", "says"), [
    ({"section": params.Sample(walkers=1, nanoseconds=0.01)}, "give 12 frames; allowed: 500 or more"),
    ({"system": FIELDS}, "--topology: missing"),
    ({"system": "nothing.xml", "topology": TOPOLOGY}, r"sample.system: nothing.xml: .*allowed: alanine-dipeptide, an OpenMM System"),
    ({"system": FIELDS, "topology": TOPOLOGY, "section": SHORT.model_copy(update={"step_ps": 0.2})}, "100 steps of 0.2 ps fail"),
])
def test_what_can_not_be_simulated_is_refused_and_nothing_is_left(tmp_path, more, says):
    with pytest.raises(BadInput, match=says):
        begin(tmp_path / "project", **more)
    assert not (tmp_path / "project").exists()


def test_data_that_are_there_stay(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(BadInput, match="are there already"):
        begin(tmp_path)
    assert (tmp_path / "data").is_dir()


def test_every_way_to_say_the_system_gives_the_same_energy(tmp_path):
    def energy_of(text):
        made = molecule(tmp_path, params.Sample(system=text, topology="peptide.pdb"))
        context = openmm.Context(openmm.XmlSerializer.deserialize(made.system), openmm.VerletIntegrator(0.001),
                                 openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(made.starts[0])
        return context.getState(energy=True).getPotentialEnergy()._value

    (tmp_path / "peptide.pdb").write_bytes(Path(TOPOLOGY).read_bytes())
    pdb = app.PDBFile(str(TOPOLOGY))
    system = app.ForceField(*FIELDS.split()).createSystem(pdb.topology, constraints=app.HBonds, hydrogenMass=3 * unit.dalton)
    (tmp_path / "peptide.xml").write_text(openmm.XmlSerializer.serialize(system))
    assert energy_of("peptide.xml") == pytest.approx(energy_of(FIELDS), abs=1e-6)
    with pytest.raises(BadInput, match=r"peptide.pdb is not allowed; allowed: alanine-dipeptide"):
        energy_of("peptide.pdb")
    (tmp_path / "peptide.prmtop").write_text("no such thing")
    with pytest.raises(BadInput, match=r"sample.system: peptide.prmtop: "):
        energy_of("peptide.prmtop")


@pytest.mark.acceptance
def test_files_of_amber_are_taken_as_they_are(tmp_path):
    """Alanine dipeptide as LEaP made it, from the data of openmmtools: its energy is the same in a file that stands alone."""
    package = importlib.util.find_spec("openmmtools")
    if package is None:
        pytest.skip("openmmtools is not installed")
    home = Path(package.submodule_search_locations[0]) / "data" / "alanine-dipeptide-gbsa"
    system, places = home / "alanine-dipeptide.prmtop", home / "alanine-dipeptide.crd"
    assert take(str(system), places, tmp_path) == "system.xml"
    made = molecule(tmp_path, params.Sample(system="system.xml", topology="topology.pdb"))
    inpcrd = app.AmberInpcrdFile(str(places))
    known = app.AmberPrmtopFile(str(system)).createSystem(nonbondedMethod=app.NoCutoff, constraints=app.HBonds, implicitSolvent=app.OBC2)
    found = []
    for of in (openmm.XmlSerializer.deserialize(made.system), known):
        context = openmm.Context(of, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(inpcrd.positions)
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert made.starts.shape == (1, 22, 3)
    with pytest.raises(BadInput, match=r"not allowed with amber99sbildn\.xml; allowed: a PDB file"):
        take("amber99sbildn.xml", places, tmp_path)


@pytest.mark.acceptance
def test_files_of_charmm_are_taken_as_they_are(tmp_path):
    """Five alanines as VMD wrote them and two in water as CHARMM-GUI did, from the source of ParmEd 4.3.1 (pip download --no-deps
    --no-binary :all: parmed): HAE_CHARMM names its folder examples/charmm."""
    if "HAE_CHARMM" not in os.environ:
        pytest.skip("HAE_CHARMM does not name ParmEd's examples/charmm")
    home = Path(os.environ["HAE_CHARMM"])
    system, places, prm = home / "ala5_autopsf.psf", home / "ala5_autopsf.pdb", home / "toppar" / "par_all36_prot.prm"
    assert take(f"{system} {prm}", places, tmp_path) == "system.xml"
    made = molecule(tmp_path, params.Sample(system="system.xml", topology="topology.pdb"))
    known = app.CharmmPsfFile(str(system)).createSystem(app.CharmmParameterSet(str(prm)), constraints=app.HBonds, implicitSolvent=app.OBC2)
    found = []
    for of in (openmm.XmlSerializer.deserialize(made.system), known):
        context = openmm.Context(of, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(made.starts[0])
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    crd = home / "ala2_charmmgui.crd"
    assert take(f"{home / 'ala2_charmmgui.psf'} {prm} {home / 'toppar' / 'toppar_water_ions.str'}", crd, tmp_path) == "system.xml"
    made = molecule(tmp_path, params.Sample(system="system.xml", topology="topology.pdb"))
    known = app.CharmmCrdFile(str(crd)).positions.value_in_unit(unit.nanometer)
    assert made.starts.shape == (1, 1989, 3) and abs(made.starts[0] - known).max() < 1e-4  # a PDB's last digit
    with pytest.raises(BadInput, match=r"ala5_autopsf.psf, .*ala5_autopsf.pdb: .*NH3; allowed: files of the same atoms"):
        take(str(system), places, tmp_path)
