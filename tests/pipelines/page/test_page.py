"""The page in a browser: nothing asked for outside, nothing complained of, nothing cut off; and what it says without one."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browser import browser

from hae.importance.report import ImportanceReport
from pipelines import params
from pipelines.page import page
from pipelines.page.evidence import gather, weights
from pipelines.page.pictures import pictures
from pipelines.record import contents


@pytest.fixture(scope="module")
def report_page(trained_folder) -> Path:
    return trained_folder / "results" / "report.html"


def test_it_stands_alone_and_is_small(report_page):
    text = report_page.read_text()
    assert len(text.encode()) < 3e6
    for outside in ("http://", "https://", "//cdn", "@import", "<script", "<iframe"):
        found = [line for line in text.splitlines() if outside in line and "www.w3.org" not in line]
        assert not found, found[0][:200]


def test_words_come_before_figures(report_page):
    text = report_page.read_text()
    assert text.index("<h2>In words") < text.index("Which to choose") < text.index("<svg")
    assert text.index("The <b>FVE</b> of a level is") < text.index("<h2>In words")
    for variant in ("collective", "boosted"):
        assert f"<h3>{variant}</h3>" in text


def test_the_contents_lead_to_every_section(report_page):
    text = report_page.read_text()
    sections = re.findall(r'<section id="([^"]+)"', text)
    assert re.findall(r'<li><a href="#([^"]+)"', text) == sections and {"words", "along", "time", "glossary"} <= set(sections)
    assert "movies" not in sections  # a table


def test_networks_go_by_the_name_that_their_versions_have(report_page, trained_folder):
    for variant in ("collective", "boosted"):
        name = weights(trained_folder / "models" / variant)
        assert name == contents.weights(trained_folder, f"train@{variant}") and f"<code>{name[:12]}</code>" in report_page.read_text()


def test_other_members_are_said(report_page, trained_folder):
    told = ImportanceReport.from_json((trained_folder / "results/variants/collective/importance.json").read_text())
    assert len(told.members) == 1
    first, second = (f"{cv.fve:.3f}" for cv in told.members[0].cvs)
    assert f"The other\nexplains, level by level, {first} and {second}." in report_page.read_text()


def test_a_table_has_rows_and_nothing_of_molecules(report_page):
    words = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", report_page.read_text(), flags=re.S)
    assert "1,200 rows in 12 trajectories" in words
    for word in ("atom", "barrier", "Free energy", "kJ", "frame"):
        assert word not in words.replace("data/prepared/frames", ""), word


def luminance(colour: str) -> float:
    """Relative luminance of a hex colour: WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_line_of_a_figure_is_seen_on_a_dark_page(report_page):
    text = report_page.read_text()
    dark = dict(re.findall(r"(--x[0-9a-f]{6}): (#[0-9a-f]{6});", text))
    assert set(re.findall(r"var\((--x[0-9a-f]{6}),", text)) == set(dark)
    paper = luminance(dark["--xffffff"])
    assert paper < 0.02
    coloured = [value for name, value in dark.items() if len({name[3:5], name[5:7], name[7:]}) > 1]
    assert len(coloured) > 5 and all((luminance(colour) + 0.05) / (paper + 0.05) > 3 for colour in coloured)


def labelled(frames, name):
    """The frames with their first feature as a label of this name."""
    return replace(frames, labels=pd.DataFrame({name: frames.values[:, 0]}), label_units=("",), label_periods=(None,))


def test_names_from_data_are_text(trained_folder, monkeypatch):
    """A label may be called anything: it becomes no attribute and no element of the page, and no formula of a figure."""
    name = 'x" onload="alert(1)"><script>alert(2)</script> a$_$b'
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective", "boosted"])
    evidence = replace(evidence, **{side: labelled(getattr(evidence, side), name) for side in ("frames", "test")})
    made = pictures(evidence)
    assert any(name in picture.title for picture in made)
    seen = []

    class Looked(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Looked().feed(page.html(evidence, made, params.load()))
    assert "script" not in {tag for tag, _ in seen}
    assert not any(key.startswith("on") for _, attrs in seen for key in attrs)
    assert any(name in (attrs.get("aria-label") or "") for _, attrs in seen)


@pytest.mark.needs_chromium
def test_a_phone_and_a_desk_show_all_of_it(report_page, tmp_path):
    with browser() as chromium:
        for width, dark in ((1280, False), (800, True), (390, False)):
            page = chromium.look(report_page.resolve().as_uri(), width, dark=dark)
            assert page.title.startswith("small-table")
            assert (page.requests, page.errors, page.faults) == ([], [], []), f"at {width} pixels"


@pytest.mark.needs_chromium
def test_the_browser_sees_what_is_wrong(tmp_path):
    """The check itself: a request, an error, a box that sticks out, a text cut off and two that overlap are all found."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><title>bad</title><link rel=icon href='data:,'><img src='http://127.0.0.1:9/no.png'><script>console.error('oh')</script>"
        "<p style='width:2000px'>wide</p><p style='width:40px;overflow:hidden;white-space:nowrap'>cut off here</p>"
        "<p>one</p><p style='margin-top:-2.2em'>two</p>"
    )
    with browser() as chromium:
        page = chromium.look(bad.as_uri(), 390)
    assert page.requests == ["http://127.0.0.1:9/no.png"] and any("oh" in error for error in page.errors)
    for word in ("sticks out: p wide", "cut off: p cut off", "overlap: p one | p two"):
        assert any(fault.startswith(word) for fault in page.faults), page.faults
