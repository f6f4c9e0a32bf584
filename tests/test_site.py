"""The documentation as a site: it builds without a warning, and a phone and a desk show all of it with nothing asked for outside."""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser

ROOT = Path(__file__).parents[1]
# As for the report, within the article: beside it the theme keeps drawers that stand outside on purpose. What has a scroll bar may be wide.
LOOK = """(() => {
  const wide = document.documentElement.clientWidth, bad = [], article = document.querySelector('article');
  const name = e => e.tagName.toLowerCase() + ' ' + (e.textContent || e.src || '').trim().slice(0, 40);
  const scrolls = e => e && e !== article && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  if (document.documentElement.scrollWidth > wide + 1) bad.push('wider than the window: the page');
  for (const image of document.images) if (!image.complete || !image.naturalWidth) bad.push('not there: ' + name(image));
  for (const e of article.querySelectorAll('*')) {
    if (e.closest('svg') || e.closest('.headerlink') || e.closest('.copybtn') || scrolls(e)) continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > wide + 1 || box.left < -1)) bad.push('sticks out: ' + name(e));
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'hidden') bad.push('cut off: ' + name(e));
  }
  return bad;
})()"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)], cwd=ROOT, capture_output=True,
                           text=True, stdin=subprocess.DEVNULL)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.needs_chromium
def test_a_phone_and_a_desk_show_every_page(site):
    pages = [page for page in sorted(site.glob("*.html")) if page.stem not in ("genindex", "py-modindex", "search")]
    assert {page.stem for page in pages} >= {path.stem for path in (ROOT / "docs").glob("*.md")}
    with browser() as chromium:
        for page in pages:
            for width in (1280, 390):
                seen = chromium.look(page.as_uri(), width, script=LOOK)
                outside = [address for address in seen.requests if not address.startswith(site.as_uri())]
                assert (outside, seen.errors, seen.faults) == ([], [], []), f"{page.name} at {width} pixels"


@pytest.mark.needs_chromium
def test_the_browser_sees_what_is_wrong(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<!doctype html><title>bad</title><link rel=icon href='data:,'><body style='margin:0'><article>"
                   "<p style='width:2000px'>wide</p><img src='none.png'>"
                   "<p style='width:30px;overflow:hidden;white-space:nowrap'>cut off here</p>"
                   "<div style='overflow-x:auto'><pre style='width:3000px'>may scroll</pre></div></article>")
    with browser() as chromium:
        faults = chromium.look(bad.as_uri(), 390, script=LOOK).faults
    assert [fault.split(":")[0] for fault in faults] == ["wider than the window", "not there", "sticks out", "cut off"], faults
