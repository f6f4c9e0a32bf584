"""hae verify: what a version's receipt says, recomputed: what is true, what differs, what can't be told; and the training done again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hae.errors import BadInput
from pipelines.flow import versioning
from pipelines.record import lineage, packaging
from pipelines.record.store import Store, opened, plainly
from pipelines.upkeep.rebuild import rebuild as train_again
from pipelines.upkeep.receipt import Receipt, read

__all__ = ["Checked", "verify"]

TRUE, DIFFERS, UNKNOWN = "true", "differs", "can't be told"


@dataclass(frozen=True)
class Checked:
    """One thing that the receipt says: what of it was looked at, the verdict on it ("true", "differs", "can't be told"), and why."""

    what: str
    verdict: str
    words: str

    def __str__(self) -> str:
        return f"{self.verdict:<13}  {self.what:<9}  {self.words}"


def verify(project: Path, which: str = "champion", rebuild: bool = False) -> Iterator[Checked]:
    """Look at each thing that the receipt of a version says. rebuild: train it again in a clean place, and compare the weights.

    Raises:
        BadInput: no such version, or no receipt of it.
    """
    store = opened(project)
    with plainly(store.uri):
        receipt = read(store, which)
        yield Checked("version", TRUE, f"{receipt.version.version} ({receipt.version.variant}), written {receipt.said['written_at']} on "
                                       f"{receipt.said['machine']}, {receipt.said['device']}")
        yield _files(store, receipt)
    yield from _key(receipt)
    yield from _seeds(receipt)
    yield from _code(project, receipt)
    yield from _today(project, receipt)
    yield _packages(receipt)
    if rebuild:
        yield from (Checked(*found) for found in train_again(project, store, receipt))


def _files(store: Store, receipt: Receipt) -> Checked:
    with tempfile.TemporaryDirectory() as temporary:
        try:
            packaging.fetch(store, receipt.version.version, Path(temporary))
        except BadInput as error:
            return Checked("model", DIFFERS, str(error))
    return Checked("model", TRUE, "each file has the digest of its registration")


def _key(receipt: Receipt) -> Iterator[Checked]:
    """The receipt, the version and its run tell of one training."""
    said, facts = receipt.said, receipt.facts
    pairs = {"key": (facts.key, said["key"], receipt.tags.get("key")),
             "params": (facts.params_hash, said["params_hash"], receipt.tags.get("params_hash")),
             "weights": (said.get("weights"), receipt.tags.get("weights"))}
    for name, values in pairs.items():
        same = len(set(values)) == 1
        yield Checked(name, TRUE if same else DIFFERS, f"{values[0]}, of what the receipt holds and on the version" if same else
                      f"{values[0]} of what the receipt holds; written down as {' and '.join(map(str, values[1:]))}")


def _seeds(receipt: Receipt) -> Iterator[Checked]:
    section: dict = next(iter(receipt.said["params"].values()), {})
    for name in ("random_state", "n_seeds"):
        said, really = receipt.said.get(name), section.get(name)
        other = "" if said == really else f", in its params {really}"
        yield Checked("seeds", DIFFERS if other else TRUE, f"{name} {said}{other}")


def _code(project: Path, receipt: Receipt) -> Iterator[Checked]:
    """Whether the commit is there, whether its patch fits it, and what git never saw."""
    commit = receipt.said["git_commit"]
    checkouts = (project, Path(__file__).parent)
    home = next((place for place in checkouts if commit and _git(place, "cat-file", "-e", f"{commit}^{{commit}}") == 0), None)
    if not commit or commit == "none":
        yield Checked("code", UNKNOWN, "it was not under git")
        return
    if home is None:
        yield Checked("code", UNKNOWN, f"commit {commit[:12]} is not in this checkout (git fetch)")
        return
    yield Checked("code", TRUE, f"commit {commit[:12]} is here")
    if receipt.patch:
        with tempfile.TemporaryDirectory() as temporary:
            index = os.environ | {"GIT_INDEX_FILE": f"{temporary}/index"}
            fits = _git(home, "read-tree", commit, env=index) == 0 and _git(home, "apply", "--cached", "--check", "-", env=index,
                                                                           text=receipt.patch) == 0
        yield Checked("patch", TRUE if fits else DIFFERS, f"{len(receipt.patch.splitlines())} lines of uncommitted code, which "
                      + ("fit" if fits else "do not fit") + " the commit")
    if receipt.said["untracked_files"]:
        yield Checked("untracked", UNKNOWN, f"{', '.join(receipt.said['untracked_files'][:5])}: files that git did not know, kept nowhere")


def _git(folder: Path, *arguments: str, env: dict | None = None, text: str = "") -> int:
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, text=True)
    if top.returncode:
        return top.returncode
    return subprocess.run(["git", *arguments], cwd=top.stdout.strip(), env=env, input=text, capture_output=True, text=True).returncode


def _today(project: Path, receipt: Receipt) -> Iterator[Checked]:
    """What the training read, against what it would read now; a difference is a change since, and no fault."""
    try:
        now = versioning.stage_facts(project, receipt.stage)
    except (BadInput, StopIteration):
        yield Checked("inputs", UNKNOWN, f"dvc.yaml has no stage {receipt.stage} today")
        return
    then = receipt.facts
    changed = sorted(path for path in {*then.dependencies, *now.dependencies} if then.dependencies.get(path) != now.dependencies.get(path))
    yield Checked("inputs", DIFFERS if changed else TRUE, f"changed since: {', '.join(changed)}" if changed else
                  f"{len(then.dependencies)} files and folders that it read are what they were")
    same = now.params_hash == then.params_hash
    yield Checked("settings", TRUE if same else DIFFERS, "params.yaml says of it what it said then" if same else
                  f"params.yaml says of {receipt.stage} another thing today: {', '.join(_differences(then.params, now.params))}")


def _differences(then, now) -> list[str]:
    """key: old -> new, of two sections of params."""
    old: dict = next(iter(then.values()), {})
    new: dict = next(iter(now.values()), {})
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _packages(receipt: Receipt) -> Checked:
    then, now = receipt.said["packages"], lineage.packages()
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    other = [f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}" for name in changed]
    return Checked("packages", DIFFERS if other else TRUE, f"then and now: {', '.join(other)}" if other else
                   f"{len(then)} that can change a number are of the versions of then")
