"""The page in a browser: nothing asked for outside, nothing complained of, nothing cut off; and what it says without one."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browser import browser

from pipelines import params
from pipelines.page import page
from pipelines.page.evidence import gather
from pipelines.page.pictures import pictures


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
    assert text.index("In words") < text.index("Which to choose") < text.index("<svg")
    for variant in ("collective", "boosted"):
        assert f"<h3>{variant}</h3>" in text


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
        for width in (1280, 390):
            page = chromium.look(report_page.resolve().as_uri(), width)
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
