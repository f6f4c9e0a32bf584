"""A version trained again in a clean place, from git, DVC's cache and its receipt, and its weights compared with what was registered."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hae.data.frames import Frames
from hae.errors import BadInput
from pipelines import paths
from pipelines.flow import cache
from pipelines.record import contents, lineage, packaging
from pipelines.record.store import Store
from pipelines.upkeep.receipt import Receipt

__all__ = ["rebuild"]

TOLERANCE = 1e-3  # of the standard deviation of each feature: other hardware adds up in another order, and training amplifies it
ROWS = 2000
INSTALLED = Path(__file__).parents[2]  # the code that is running


def rebuild(project: Path, store: Store, receipt: Receipt) -> Iterator[tuple[str, str, str]]:
    """(what, verdict, why) of the training done again: bit by bit where the first one ran on a CPU, to `TOLERANCE` elsewhere."""
    with tempfile.TemporaryDirectory(prefix="hae-rebuild-") as temporary:
        place, code, verdict, said = _clean(project, receipt, Path(temporary))
        yield "rebuilt", verdict, said
        missing = _inputs(project, receipt, place)
        if missing:
            yield "rebuilt", "can't be told", f"neither in git nor in DVC's cache: {', '.join(missing)} (dvc pull)"
            return
        fault = _train(receipt, place, code)
        if fault:
            yield "rebuilt", "differs", f"the training did not end well: {fault}"
            return
        yield _compared(store, receipt, place)


def _clean(project: Path, receipt: Receipt, temporary: Path) -> tuple[Path, Path, str, str]:
    """A folder for the project, the root of the code that it is trained by, a verdict, and what was done in words.

    Raises BadInput where git can't do it.
    """
    commit = receipt.said["git_commit"]
    for home in (project, INSTALLED):
        top = _git(home, "rev-parse", "--show-toplevel").stdout.strip()
        if not (commit and top) or _git(home, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
            continue
        clone = temporary / "clone"
        for step in (("clone", "--quiet", "--no-checkout", top, str(clone)), ("-C", str(clone), "checkout", "--quiet", "--detach", commit)):
            done = _git(Path(top), *step)
            if done.returncode:
                raise BadInput(f"git {step[0]}: {done.stderr.strip().splitlines()[-1]}; allowed: a checkout that git can clone")
        if receipt.patch and _git(clone, "apply", "-", text=receipt.patch).returncode:
            raise BadInput(f"version {receipt.version.version}: its patch does not fit commit {commit[:12]}; allowed: a whole receipt")
        inside = project.relative_to(top) if project.is_relative_to(top) else Path("project")
        place = clone / inside
        place.mkdir(parents=True, exist_ok=True)
        (place / "params.yaml").write_text(receipt.params, encoding="utf-8")
        patched = " and its patch" if receipt.patch else ""
        return place, clone if (clone / "pipelines").is_dir() else INSTALLED, "true", f"in a clean clone of commit {commit[:12]}{patched}"
    place = temporary / "project"
    place.mkdir()
    (place / "params.yaml").write_text(receipt.params, encoding="utf-8")
    return place, INSTALLED, "can't be told", "in a clean folder, by today's code: its commit is not here"


def _inputs(project: Path, receipt: Receipt, place: Path) -> list[str]:
    """Put data that the training read where they were; code is there already. What could be found nowhere."""
    missing = []
    for path, digest in receipt.said["dependencies"].items():
        target = place / path
        if target.exists() or path.startswith(("hae", "pipelines")):
            continue
        if not cache.fetch(project, digest, target):
            missing.append(path)
    return missing


def _train(receipt: Receipt, place: Path, code: Path) -> str:
    """Run the stage as it ran then; its last line if it failed."""
    device = str(receipt.said["device"] or "cpu")
    environment = os.environ | {"PYTHONPATH": str(code), "HAE_DEVICE": "cpu" if device == "cpu" else "auto",
                                "HAE_THREADS": os.environ.get("HAE_THREADS", "1")}
    environment.pop("HAE_PARENT", None)
    command = [sys.executable, "-m", "pipelines.stages.train", receipt.version.variant]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else ((done.stderr or done.stdout).strip().splitlines() or ["no message"])[-1]


def _compared(store: Store, receipt: Receipt, place: Path) -> tuple[str, str, str]:
    if contents.weights(place, receipt.stage) == receipt.said["weights"]:
        return "weights", "true", "the same to the last bit"
    from hae.network.scoring import reconstructions
    from hae.storage import load_members

    registered = packaging.load(store, receipt.version.version)
    rows = Frames.read(place / paths.FRAMES).values[:ROWS].astype(np.float64)
    ours = registered.program(rows)[1]
    theirs = reconstructions(load_members(place / paths.model(receipt.version.variant))[0], rows)
    apart = float(np.max(np.abs(ours - theirs) / np.where(rows.std(0) > 0, rows.std(0), 1)))
    exact = receipt.said["device"] == "cpu"
    changed = {name for name, version in lineage.packages().items() if receipt.said["packages"].get(name) != version}
    words = f"reconstructions differ by {apart:.1e} of a feature's standard deviation at most"
    words += f"; other versions now: {', '.join(sorted(changed))}" if changed else ""
    words += "" if exact else f" (allowed off the CPU: {TOLERANCE:g})"
    return "weights", "differs" if exact or apart > TOLERANCE else "true", words


def _git(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=folder, input=text, capture_output=True, text=True)
