"""Headless Chromium for tests of pages: opens one at a width, and says what it asked for, complained of, and cut off."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.sync.client import connect

__all__ = ["Page", "browser"]

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader", "--remote-debugging-port=0",
         "--remote-allow-origins=*", "--hide-scrollbars")
# What sticks out of the page or of a box that hides the rest, and texts of one parent that lie on each other.
LOOK = """(() => {
  const wide = document.documentElement.clientWidth, bad = [];
  const name = e => e.tagName.toLowerCase() + ' ' + (e.textContent || '').trim().slice(0, 30);
  for (const e of document.body.querySelectorAll('*')) {
    if (e.closest('svg') && e.tagName.toLowerCase() !== 'svg') continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > wide + 1 || box.left < -1)) bad.push('sticks out: ' + name(e));
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible') bad.push('cut off: ' + name(e));
  }
  const leaves = [...document.body.querySelectorAll('h1,h2,h3,p,td,th,dt,dd,li,pre,figcaption,svg')]
    .filter(e => e.tagName.toLowerCase() === 'svg' || !e.closest('svg'))
    .map(e => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width);
  for (let i = 0; i < leaves.length; i++) for (let j = i + 1; j < leaves.length; j++) {
    const [a, p] = leaves[i], [b, q] = leaves[j];
    if (a.contains(b) || b.contains(a)) continue;
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 2 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 2)
      bad.push('overlap: ' + name(a) + ' | ' + name(b));
  }
  return bad;
})()"""


@dataclass
class Page:
    """What was seen of a page. requests: addresses beside its own, without data: ones; errors: of the console; faults: of the layout."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    title: str = ""
    picture: bytes = b""


class Browser:
    def __init__(self, socket):
        self._socket, self._numbers, self._events = socket, itertools.count(1), []

    def look(self, address: str, width: int, picture: bool = False, script: str = LOOK, dark: bool = False) -> Page:
        """Open an address at this width in CSS pixels. picture: take a PNG of the whole page. script: gives the list of faults.
        dark: as where a dark page is preferred."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._events.clear()
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable", session)
        self._call("Emulation.setDeviceMetricsOverride", session, width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        likes = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", session, features=[likes])
        self._call("Page.navigate", session, url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads(self._socket.recv(timeout=60)))
        page = Page()
        run = lambda text: self._call("Runtime.evaluate", session, expression=text, returnByValue=True, awaitPromise=True)  # noqa: E731
        run("new Promise(done => setTimeout(done, 200))")
        page.faults, page.title = run(script)["result"]["value"], run("document.title")["result"]["value"]
        if picture:
            height = run("document.documentElement.scrollHeight")["result"]["value"]
            area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            page.picture = base64.b64decode(self._call("Page.captureScreenshot", session, captureBeyondViewport=True, clip=area)["data"])
        for event in self._events:
            about = event.get("params", {})
            if event["method"] == "Network.requestWillBeSent":
                url = about["request"]["url"]
                if url.partition("#")[0] != address.partition("#")[0] and not url.startswith("data:"):
                    page.requests.append(url)
            elif event["method"] == "Runtime.exceptionThrown":
                page.errors.append(about["exceptionDetails"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
                page.errors.append(str(about["args"]))
            elif event["method"] == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                page.errors += [about["entry"]["text"]] if "GPU stall" not in about["entry"]["text"] else []  # of a picture without a GPU
        self._call("Target.closeTarget", targetId=target)
        return page

    def _call(self, method: str, session: str | None = None, **params) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._events.append(answer)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with a profile of its own, ended when done."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        try:
            address = next(line.split()[-1] for line in running.stderr if "DevTools listening" in line)
            with connect(address, max_size=None, proxy=None, open_timeout=60) as socket:
                yield Browser(socket)
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            running.stderr.close()


def address_of(path: Path) -> str:
    return path.resolve().as_uri()
