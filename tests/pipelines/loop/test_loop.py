"""The loop: what was found of rounds, read back; turns that end by themselves; free energies from rounds."""

import json
import shutil
from dataclasses import replace

import mdtraj
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from sampling.short import dipeptide

from hae.data.frames import Frames, read_pieces
from hae.data.making import make_parts
from hae.data.molecules import Recipe
from hae.data.parts import Manifest, publish
from hae.data.trajectories import load_structure
from hae.errors import BadInput
from hae.sampling import plumed_files
from hae.sampling.umbrella import Windows
from pipelines.loop import energy, explore, page, sampling, turns
from pipelines.loop.turns import Turn
from pipelines.stages.simulate import STARTS, TOPOLOGY, starts

QUIET = Turn("001", "1", 1.0, 100, 1, 0, "1", 1.0, (0.7, 0.9), ("alive", "alive"), 0.95)


def project(folder):
    """A project of two biased rounds made by hand: half of the frames of each in another basin, where the weights are 4 times as large."""
    shutil.copytree(TOPOLOGY.parent, folder / "stages")
    content = YAML(typ="safe").load((TOPOLOGY.parents[2] / "params.yaml").read_text())
    content["prepare"]["trajectories"] = ["data/rounds/*/walker-*.dcd"]
    YAML().dump(content, folder / "params.yaml")
    frames = starts()[[phi < 0 for phi, _ in STARTS]][:1].repeat(40, 0), starts()[[phi > 0 for phi, _ in STARTS]][:1].repeat(40, 0)
    kt = 1.380649e-23 * 6.02214076e23 * 300 / 1000
    for number in range(2):
        home = folder / "data" / "rounds" / f"{number:03d}"
        home.mkdir(parents=True)
        order = np.random.default_rng(number).permutation(80)
        xyz = np.concatenate(frames)[order]
        trajectory = mdtraj.Trajectory(xyz, mdtraj.load_topology(str(TOPOLOGY)))
        trajectory.save_dcd(str(home / "walker-0.dcd"))
        table = plumed_files.colvar(home / "COLVAR.0", ["cv1", "cv2"], [False, False])
        for i in range(80):
            table.add([0.8 * (i + 1), float(order[i] >= 40), 0.0, 1.0, kt * np.log(4) * (order[i] >= 40)])
        table.kept()
        plumed_files.hills(home / "HILLS", ["cv1", "cv2"], [False, False]).kept()
        shutil.copy(TOPOLOGY, home / "topology.pdb")
        (home / "round.json").write_text(json.dumps({"nanoseconds": 0.064}))
    return folder


def test_free_energies_are_those_of_the_weights(tmp_path):
    folder = project(tmp_path)
    found = energy.between(folder, "phi > 0", "phi <= 0")
    table = energy.rows(folder)
    seen = [(table["phi"] > 0).sum(), (table["phi"] <= 0).sum()]
    kt = 1.380649e-23 * 6.02214076e23 * 300 / 1000
    assert found.difference.value == pytest.approx(-kt * np.log(4 * seen[0] / seen[1]), abs=1e-6)
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.rounds == 2 and found.frames == tuple(seen) and sum(seen) == len(table) == 2 * 56  # the first 30 % are left out
    far = [group["phi"].to_numpy() > 0 for _, group in table.groupby("round")]
    assert found.crossings == (sum(int((a[1:] != a[:-1]).sum()) for a in far), 2, 2) and found.crossings[0] > 2 and not found.version
    same = energy.between(folder, "cv1 > 0.5", "cv1 < 0.5")
    assert same.difference.value == pytest.approx(found.difference.value)


def test_free_energies_ask_for_no_torsion_that_a_molecule_lacks(tmp_path):
    """Butane has none with a name of its own."""
    folder = project(tmp_path)
    yaml = YAML()
    content = yaml.load((folder / "params.yaml").read_text())
    content["prepare"]["labels"] = {"bend": ["C1", "C2", "C3", "C4"]}
    yaml.dump(content, folder / "params.yaml")
    topology = mdtraj.Topology()
    residue = topology.add_residue("BUT", topology.add_chain())
    for i in range(4):
        topology.add_atom(f"C{i + 1}", mdtraj.element.carbon, residue)
    xyz = np.random.default_rng(0).normal(size=(80, 4, 3)).astype(np.float32)
    for number in range(2):
        home = folder / "data" / "rounds" / f"{number:03d}"
        mdtraj.Trajectory(xyz, topology).save_dcd(str(home / "walker-0.dcd"))
        mdtraj.Trajectory(xyz[:1], topology).save_pdb(str(home / "topology.pdb"))
    bend = mdtraj.compute_dihedrals(mdtraj.Trajectory(xyz, topology), [range(4)])[24:, 0]
    assert energy.between(folder, "bend > 0", "bend < 0").frames == (2 * (bend > 0).sum(), 2 * (bend < 0).sum())


def told(folder, number, **more):
    """Write more into what a round says of itself."""
    path = folder / "data" / "rounds" / f"{number:03d}" / "round.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_rounds_of_two_temperatures_have_no_common_free_energy(tmp_path):
    folder = project(tmp_path)
    told(folder, 0, dynamics={"temperature": 300.0})
    assert energy.between(folder, "phi > 0", "phi <= 0").rounds == 2
    told(folder, 1, dynamics={"temperature": 310.0})
    with pytest.raises(BadInput, match=r"rounds/001: simulated at 310 K, sample.temperature in params.yaml is 300; allowed: rounds of one"):
        energy.between(folder, "phi > 0", "phi <= 0")


def test_a_cv_of_several_versions_is_no_one_cv(tmp_path):
    folder = project(tmp_path)
    told(folder, 0, about={"version": "1"})
    told(folder, 1, about={"version": "3"})
    assert energy.between(folder, "phi > 0", "phi <= 0").rounds == 2
    with pytest.raises(BadInput, match=r"cv1 is not the same in all rounds, which were biased along versions 1, 3; allowed: labels"):
        energy.between(folder, "phi > 0 and cv1 > 0.5", "phi < 0")
    told(folder, 1, about={"version": "1"})
    same = energy.between(folder, "cv1 > 0.5", "cv1 < 0.5")
    assert same.rounds == 2 and same.version == "1"


def test_a_row_that_no_frame_has_is_refused(tmp_path):
    folder = project(tmp_path)
    with open(folder / "data/rounds/001/COLVAR.0", "a") as file:
        file.write(" 64.8 0 0 1 0\n")
    with pytest.raises(BadInput, match=r"001/COLVAR.0: 81 rows for 80 frames; allowed: a row for each frame"):
        energy.between(folder, "phi > 0", "phi <= 0")


def test_the_line_for_plumed_has_the_settings_of_the_round(tmp_path):
    """Those of params.yaml may have changed since, or were not used."""
    folder = project(tmp_path)
    table = plumed_files.hills(folder / "data/rounds/001/HILLS", ["cv1"], [False])
    table.add([0.4, 0.0, 0.15, 2.0, 20.0])
    table.kept()
    told(folder, 1, about={"version": "2"}, ranges=[{"low": -1.0, "high": 1.0}], sampling={"height": 2.5, "factor": 20.0, "pace_ps": 0.8},
         dynamics={"temperature": 310.0, "step_ps": 0.002})
    assert page._plumed(folder)["plumed"] == (
        "METAD ARG=cv1 SIGMA=0.15 HEIGHT=2.5 BIASFACTOR=20 TEMP=310 PACE=400 GRID_MIN=-1.9 GRID_MAX=1.9 FILE=HILLS RESTART=YES")


def windows(folder, strength=10.0, crossing=True):
    """The same with one round of two windows, each with 3 of 4 frames at its own side, or all; a frame weighs what both say."""
    project(folder)
    shutil.rmtree(folder / "data" / "rounds" / "001")
    home, two = folder / "data" / "rounds" / "000", Windows(np.array([[0.0], [1.0]]), np.array([strength]), np.zeros(1))
    frames = mdtraj.load(str(home / "walker-0.dcd"), top=str(TOPOLOGY))
    far = plumed_files.read(home / "COLVAR.0")["cv1"] > 0.5
    for walker in range(2):
        order = np.random.default_rng(walker).permutation(np.tile([walker, walker, walker, 1 - walker if crossing else walker], 20))
        frames[[np.flatnonzero(far == side)[0] for side in order]].save_dcd(str(home / f"walker-{walker}.dcd"))
        table = plumed_files.colvar(home / f"COLVAR.{walker}", ["cv1"], [False], label="restraint")
        for i, side in enumerate(order):
            table.add([0.8 * (i + 1), float(side), 5.0 * abs(side - walker), 0.0])
        table.kept()
    (home / "HILLS").unlink()
    (home / "round.json").write_text(json.dumps({"nanoseconds": 0.128, "windows": two.plain()}))
    return folder


def test_windows_are_pooled_and_their_interval_is_of_pools_drawn_anew(tmp_path):
    folder = windows(tmp_path)
    found, table = energy.between(folder, "phi > 0", "phi <= 0"), energy.rows(folder)
    far, second = (table["phi"] > 0).to_numpy(), (table["walker"] == 1).to_numpy()
    kt = 1.380649e-23 * 6.02214076e23 * 300 / 1000
    n = np.array([[(far & ~second).sum(), (far & second).sum()], [(~far & ~second).sum(), (~far & second).sum()]])
    e, total, f = np.exp(-5 / kt), n.sum(0), 0.0
    for _ in range(500):  # by hand: the two windows' free energies until they are their own
        weight = 1 / (total @ [1, np.exp(f) * e]), 1 / (total @ [e, np.exp(f)])  # of a frame at the near side, at the far one
        f = -np.log(n[1].sum() * weight[0] * e + n[0].sum() * weight[1]) + np.log(n[1].sum() * weight[0] + n[0].sum() * weight[1] * e)
    exact = -kt * np.log(n[0].sum() * weight[1] / (n[1].sum() * weight[0]))
    assert found.difference.value == pytest.approx(exact, abs=1e-4)
    assert found.difference.low < found.difference.value < found.difference.high < np.inf and found.apart == ()
    (tmp_path / "stiff").mkdir()
    assert energy.between(windows(tmp_path / "stiff", 100.0, crossing=False), "phi > 0", "phi <= 0").apart == ("000",)


@pytest.mark.parametrize(("rule", "power"), [("reweighted", 1.0), ("tempered", 0.5)])
def test_frames_of_rounds_count_by_the_rule(tmp_path, rule, power):
    folder = project(tmp_path)
    files = {f"{n:03d}/walker-0": folder / f"data/rounds/{n:03d}/walker-0.dcd" for n in range(2)}
    structure = load_structure(TOPOLOGY)
    recipe = Recipe.for_molecule(structure, "torsions", labels=["phi"])
    cut = {"block_frames": 20, "gap_frames": 0, "shares": (0.6, 0.2, 0.2)}

    def made(weigh):
        """The frames and what the manifest says of them, by a desk of its own."""
        parts, about, new = make_parts(recipe, files, TOPOLOGY, cut, folder=tmp_path / "frames", known={}, desk=tmp_path / "desk",
                                       weigh=weigh)
        manifest = Manifest(parts, **about)
        publish(tmp_path / "frames", manifest, new)
        return Frames.read(tmp_path / "frames"), manifest.share

    frames, share = made((rule, 300.0))
    weights = frames.weights
    assert np.concatenate([piece.weights for piece in read_pieces(tmp_path / "frames", 7)]).tolist() == weights.tolist()
    far = (frames.labels["phi"] > 0).to_numpy()
    assert weights[far] / weights[~far] == pytest.approx(4**power, rel=1e-3) and weights.mean() == pytest.approx(1)
    assert share == pytest.approx((1 + 4**power) ** 2 / (2 * (1 + 16**power)), rel=1e-3)
    assert made(None)[0].weights is None
    (folder / "data/rounds/001/COLVAR.0").unlink()
    with pytest.raises(BadInput, match=r"001/COLVAR.0: no such file; .*prepare.rounds: equal"):
        made((rule, 300.0))
    with open(folder / "data/rounds/000/COLVAR.0", "a") as file:
        file.write(" 64.8 0 0 1 0\n")
    with pytest.raises(BadInput, match=r"000/COLVAR.0: 81 rows for 80 frames, .*allowed: a row for each frame"):
        made((rule, 300.0))


@pytest.mark.parametrize(("regions", "says"), [
    (("phi > 5", "phi < 0"), "no frame of 112 lies there"), (("phi < 0", "phi < 1"), "56 frames lie in both|lie in both"),
    (("phi", "phi < 0"), "not a condition"), (("chi > 0", "phi < 0"), "allowed: .*of phi, psi .torsions in radians., cv1, cv2"),
    (("phi >", "phi < 0"), "allowed: conditions such as"), (("@np.pi > 0", "phi < 0"), "allowed: conditions such as"),
])
def test_regions_that_can_not_be_are_refused(tmp_path, regions, says):
    with pytest.raises(BadInput, match=says):
        energy.between(project(tmp_path), *regions)


def test_turns_are_read_back_and_a_torn_line_is_not_one(tmp_path):
    (tmp_path / ".hae").mkdir()
    lines = [json.dumps(vars(QUIET) | {"round": name}) for name in ("000", "001", "001")]
    (tmp_path / ".hae" / "loop.jsonl").write_text("\n".join(lines) + '\n{"round": "002", "ver')
    assert [turn.round for turn in turns.turns(tmp_path)] == ["000", "001"]
    turns.keep(tmp_path, replace(QUIET, round="003"))
    assert [turn.round for turn in turns.turns(tmp_path)] == ["000", "001", "003"]
    turns.keep(tmp_path, replace(QUIET, round="1000"))
    turns.keep(tmp_path, replace(QUIET, round="999"))
    assert [turn.round for turn in turns.turns(tmp_path)] == ["000", "001", "003", "999", "1000"]


@pytest.mark.parametrize(("change", "name", "number"), [
    ({"new": 2}, turns.REGION, "2 new cells of 100"), ({"within": 0.8}, turns.ENERGY, "80% of the places"),
    ({"within": None}, turns.ENERGY, "nothing known before"),
    ({"verdicts": ("alive", "alive and tied")}, turns.VERDICTS, "CV1 alive, CV2 alive and tied"),
    ({"fve": (0.7, 0.92)}, turns.LEVELS, "within 0.020"), ({"fve": ()}, turns.LEVELS, "unknown"),
])
def test_the_rule_says_what_did_not_hold_and_then_the_loop_goes_on(change, name, number):
    assert all(turns.holds(QUIET, QUIET).values()) and turns.ended([QUIET] * 3) and not turns.ended([QUIET] * 2)
    other = replace(QUIET, **change)
    assert [asked for asked, held in turns.holds(other, QUIET).items() if not held] == [name]
    assert not turns.ended([QUIET, QUIET, other])
    assert turns.words([QUIET, other]).partition("did not hold: ")[2].startswith(f"{name} ({number}")
    assert turns.words([QUIET] * 2).startswith("held: no new region (1 new cells of 100), free energy (95% of the places")


def test_rounds_without_a_bias_are_not_asked_for_the_free_energy():
    free = replace(QUIET, version="", within=None)
    assert turns.ENERGY not in turns.holds(free, QUIET) and turns.ended([free] * 3)


def test_a_loop_in_which_all_held_ends_by_itself(tmp_path, monkeypatch):
    folder = project(tmp_path)
    (folder / ".hae").mkdir(mode=0o700)
    names = ("000", "001", "002")
    shutil.copytree(folder / "data/rounds/001", folder / "data/rounds/002")
    (folder / ".hae" / "loop.jsonl").write_text("".join(json.dumps(vars(QUIET) | {"round": name}) + "\n" for name in names))
    said = []
    monkeypatch.setattr(explore, "sample", lambda *_, **__: pytest.fail("it sampled on"))
    assert list(explore.explore(folder, 5, None, said.append)) == []
    assert "all held in 2 rounds" in said[-1] and not (folder / ".hae" / "loop-plan").exists()


def test_the_free_energy_has_settled_where_new_rounds_agree_with_the_old(tmp_path):
    """Rounds of the same two wells agree; one in which the second well is ten times as heavy does not."""
    folder = project(tmp_path)
    names = [f"{n:03d}/walker-0" for n in range(2)]
    far = [plumed_files.read(folder / f"data/rounds/{n:03d}/COLVAR.0")["cv1"] for n in range(2)]
    spread = np.random.default_rng(0).normal(0, 0.01, 160)
    cvs = np.concatenate(far)[:, None] + spread[:, None]
    frames = Frames(cvs, ("cv1",), ("",), np.repeat(names, 80), np.tile(np.arange(80), 2), pd.DataFrame(index=range(160)))
    assert energy.within(folder, frames, [None], "000") is None
    alike = energy.within(folder, frames, [None], "001")
    path = folder / "data/rounds/001/COLVAR.0"
    plumed_files.put(path, "metad.rbias", plumed_files.read(path)["metad.rbias"] * 3)
    assert alike == 1.0 > energy.within(folder, frames, [None], "001")


def test_walkers_start_at_whole_molecules(tmp_path):
    """OpenMM's bonds know no box, and people's trajectories may be wrapped into theirs."""
    folder, structure = project(tmp_path), mdtraj.load(str(TOPOLOGY))
    wrapped = mdtraj.Trajectory(np.mod(structure.xyz.repeat(80, 0) - structure.xyz[0, 8], 3.0), structure.topology,
                                unitcell_lengths=np.full((80, 3), 3.0), unitcell_angles=np.full((80, 3), 90.0))
    wrapped.save_dcd(str(folder / "data/rounds/000/walker-0.dcd"))
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("topology: data/raw/topology.pdb", "topology: data/rounds/000/topology.pdb"))
    frames = Frames(np.zeros((80, 1)), ("x",), ("",), np.full(80, "000/walker-0"), np.arange(80), pd.DataFrame(index=range(80)))
    ends = [(bond[0].index, bond[1].index) for bond in structure.topology.bonds]
    starts = sampling._starting(folder, dipeptide(), frames, [3, 70]).starts
    lengths = [np.linalg.norm(x[[b for _, b in ends]] - x[[a for a, _ in ends]], axis=1).max() for x in (*starts, wrapped.xyz[3])]
    assert max(lengths[:2]) < 0.2 < 1 < lengths[2] and starts.shape == (2, 22, 3)


def test_rounds_that_nothing_would_be_learned_from_are_not_begun(tmp_path):
    folder = project(tmp_path)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("data/rounds/*/walker-*.dcd", "data/raw/*.dcd"))
    with pytest.raises(BadInput, match=r"data/raw/\*.dcd: they hold no rounds to train on; .*data/rounds/\*/walker-\*.dcd among them"):
        next(explore.explore(folder, 1, None, lambda line: None))


def test_the_thousandth_round_is_the_last_one(tmp_path):
    for name in ("000", "999", "1000", "notes", ".work"):
        (tmp_path / "data/rounds" / name).mkdir(parents=True)
        (tmp_path / "data/rounds" / name / "round.json").write_text("{}")
    assert [folder.name for folder in sampling.rounds(tmp_path)] == ["000", "999", "1000"]
