"""The molecule along each CV, in a browser: it plays and turns by buttons and keys, and the page carries all that it needs."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from browser import browser

from hae.data.molecules import Recipe
from hae.datasets import alanine_dipeptide
from pipelines import params
from pipelines.page import page
from pipelines.page.evidence import Along, gather
from pipelines.page.movie import NUMBERS, as_json, movies
from pipelines.page.pictures import Picture

ROOT = Path(__file__).parents[3]
AXE = "axe-core@4.14.1"
LOOK = """(async () => {
  const part = name => document.getElementById("movie-" + name), wait = ms => new Promise(done => setTimeout(done, ms));
  const canvas = document.querySelector("#movie-scene canvas"), said = [];
  const colours = () => canvas ? canvas.toDataURL().length : 0;
  const see = async (name, act, ms) => {
    const before = [part("said").textContent, colours()];
    act();
    for (let tries = 0; tries < 100 && part("said").textContent === before[0] && colours() === before[1]; tries++) await wait(ms);
    said.push([name, before[0], part("said").textContent, colours() !== before[1]]);
  };
  const key = name => part("scene").dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  await see("play", () => part("play").click(), 50);
  said.push(["pressed", part("play").textContent, part("play").getAttribute("aria-pressed")]);
  part("play").click();
  said.push(["paused", part("play").textContent, part("play").getAttribute("aria-pressed")]);
  await see("key", () => key("ArrowRight"), 20);
  await see("place", () => { part("place").value = 20; part("place").dispatchEvent(new Event("input")); }, 20);
  await see("which", () => { part("which").value = 1; part("which").dispatchEvent(new Event("change")); }, 20);
  await see("turn", () => part("turn").click(), 50);
  part("turn").click();
  return said;
})()"""


def molecular(evidence):
    """The evidence with the molecule that is shipped in the place of the table: 25 frames along each CV."""
    structure = mdtraj.load(ROOT / "pipelines" / "stages" / "alanine-dipeptide.pdb")
    values = alanine_dipeptide().X.to_numpy()

    def frames(k):
        return Along(np.linspace(-2, 2, 25), values[25 * k : 25 * k + 25])

    return replace(evidence, recipe=Recipe.for_molecule(structure, "coordinates"), variants=tuple(
        replace(variant, along=tuple(frames(k) for k in range(len(variant.kinds)))) for variant in evidence.variants))


@pytest.fixture(scope="module")
def moving_page(trained_folder, tmp_path_factory) -> Path:
    """The report of a trained project, whose rows are said to be a molecule."""
    path = tmp_path_factory.mktemp("moving") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained_folder)
        drawn = sorted((trained_folder / "results" / "figures").iterdir())
        made = [Picture(figure.stem.replace("differences", "fve").partition("-")[0], figure.stem, "", figure.read_text())
                for figure in drawn]
        made.sort(key=lambda picture: picture.group)
        path.write_text(page.html(molecular(gather(["collective", "boosted"])), made, params.load()), encoding="utf-8")
    return path


@pytest.mark.needs_chromium
def test_the_movie_plays_turns_and_goes_to_a_frame(moving_page):
    with browser() as chromium:
        seen = chromium.look(moving_page.as_uri(), 1280, script=LOOK)
    assert (seen.requests, seen.errors) == ([], [])
    said = {name: rest for name, *rest in seen.faults}
    before, after, changed = said["play"]
    assert before == "CV1 = -2.00, frame 1 of 25" and after != before and changed
    assert (said["pressed"], said["paused"]) == (["Pause", "true"], ["Play", "false"])
    before, after, changed = said["key"]
    assert after == before and changed  # another view of the same frame
    assert said["place"][1:] == ["CV1 = 1.33, frame 21 of 25", True]
    assert said["which"][1:] == ["CV2 = 1.33, frame 21 of 25", True]
    before, after, changed = said["turn"]
    assert after == before and changed


@pytest.mark.needs_chromium
def test_a_phone_shows_all_of_it_and_no_other_script_runs(moving_page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(moving_page.read_text().replace("</main>", "<script>document.title = 'taken over'</script></main>"))
    with browser() as chromium:
        seen = chromium.look(moving_page.as_uri(), 390, dark=True)
        taken = chromium.look(bad.as_uri(), 390)
    assert (seen.requests, seen.errors, seen.faults) == ([], [], [])
    assert taken.title.startswith("small-table") and any("Content Security Policy" in error for error in taken.errors)


def test_the_page_is_small_and_whole(moving_page):
    text = moving_page.read_text()
    assert len(text.encode()) < 6e6
    assert text.count("<script") == 3  # the data of the movies, 3Dmol.js, and ours


def test_a_name_in_json_ends_no_element():
    content = {"title": "</script><!--&", "n": 1}
    text = as_json(content)
    assert "<" not in text and "&" not in text and json.loads(text) == content


def test_positions_bonds_and_symbols_are_those_of_the_molecule(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    evidence = molecular(gather(["collective", "boosted"]))
    told = movies(evidence)
    assert "".join(told["symbols"]) == "CCONCCCONC"
    assert len(told["bonds"]) == 9 and all(told["symbols"][i] + told["symbols"][j] in ("CC", "CO", "CN", "NC") for i, j in told["bonds"])
    assert [movie["title"] for movie in told["movies"]] == ["collective, CV1", "collective, CV2", "boosted, CV1", "boosted, CV2"]
    first = np.array(told["movies"][0]["frames"])
    assert np.abs(first / 1000 - evidence.variants[0].along[0].values).max() < 6e-4  # nm
    assert movies(gather(["collective"])) is None  # a table


@pytest.mark.parametrize(("atoms", "shown"), [(10, 4), (700, 4), (4000, 2), (30_000, 0)])
def test_a_large_molecule_gets_fewer_frames_then_fewer_movies_then_none(trained_folder, monkeypatch, atoms, shown):
    monkeypatch.chdir(trained_folder)
    evidence = molecular(gather(["collective", "boosted"]))
    chain = np.cumsum(np.full((atoms, 3), 0.1), axis=0)
    recipe = replace(evidence.recipe, atoms=tuple(f"ALA{i}-CA" for i in range(atoms)), reference=tuple(map(tuple, chain.tolist())))
    along = tuple(Along(np.linspace(-1, 1, 25), np.zeros((25, 3 * atoms))) for _ in range(2))
    large = replace(evidence, recipe=recipe, variants=tuple(replace(variant, along=along) for variant in evidence.variants))
    told = movies(large)
    found = [len(movie["frames"]) for movie in told["movies"]] if told else []
    assert len(found) == shown and all(7 <= frames <= 25 for frames in found) and sum(found) * 3 * atoms <= NUMBERS


@pytest.mark.acceptance
@pytest.mark.needs_chromium
def test_axe_finds_nothing_serious(moving_page, tmp_path):
    """axe-core of npm, run on the page, light and dark."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed here")
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    subprocess.run(["tar", "xzf", next(tmp_path.glob("*.tgz")).name], cwd=tmp_path, check=True)
    axe = (tmp_path / "package" / "axe.min.js").read_text(encoding="utf-8")
    script = axe + """;axe.run(document).then(found => found.violations.filter(one => ["serious", "critical"].includes(one.impact))
                       .map(one => one.id + ": " + one.nodes.map(node => node.html).join(" | ").slice(0, 300)))"""
    bad = tmp_path / "bad.html"
    bad.write_text("<!doctype html><html lang=en><title>bad</title><main><h1>One</h1><p style='color:#999;background:#aaa'>pale</p></main>")
    with browser() as chromium:
        assert any(fault.startswith("color-contrast") for fault in chromium.look(bad.as_uri(), 1280, script=script).faults)
        for dark in (False, True):
            assert chromium.look(moving_page.as_uri(), 1280, script=script, dark=dark).faults == [], "dark" if dark else "light"
