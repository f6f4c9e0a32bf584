"""The receipt: what made a model. Code, data, params, seeds, packages, device."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["Code", "StageFacts", "code", "digest", "file_digest", "packages", "receipt"]

# Written by DVC while it works, and committed by people when they like: no sign of changed code.
NOT_CODE = (":(exclude)dvc.lock", ":(exclude)**/dvc.lock", ":(exclude)*.dvc", ":(exclude).gitignore", ":(exclude)**/.gitignore")
PACKAGES = ("hae", "torch", "numpy", "pandas", "pyarrow", "scikit-learn", "mdtraj", "openmm", "mlflow", "dvc", "prefect")


@dataclass(frozen=True)
class StageFacts:
    """A stage as DVC knows it before it starts, and the same after: command, path -> hash of what it reads, its params."""

    command: str
    dependencies: Mapping[str, str]
    params: Mapping

    @property
    def key(self) -> str:
        """The name of what this stage makes: the hash of command, dependencies and params."""
        return digest(asdict(self))

    @property
    def params_hash(self) -> str:
        return digest(self.params)


@dataclass(frozen=True)
class Code:
    """The code as it stands: commit ("" outside git), a patch of tracked files that changed ("" if none did), and the names of files that
    git does not track: what is in them stays where it is."""

    commit: str
    patch: str
    untracked: tuple[str, ...] = ()


def digest(content) -> str:
    """A short name (32 hex digits) of anything that JSON can hold; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """A short name (32 hex digits) of the bytes of a file; "" where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except FileNotFoundError:
        return ""


def code(project: Path) -> Code:
    """Commit and uncommitted code of the checkout that holds `project`. New files are named and not read: they may hold secrets.

    dvc.lock, *.dvc and .gitignore do not count: DVC writes them while it works.
    """
    commit = _git(project, "rev-parse", "HEAD").strip()
    if not commit:
        return Code("", "")
    pathspec = ("--", ":/", *NOT_CODE)
    patch = _git(project, "diff", "HEAD", "--no-color", "--no-ext-diff", *pathspec)
    top = Path(_git(project, "rev-parse", "--show-toplevel").strip())
    untracked = filter(None, _git(top, "ls-files", "--others", "--exclude-standard", "-z", *pathspec).split("\0"))
    return Code(commit, patch, tuple(untracked))


def packages() -> dict[str, str]:
    """Versions of Python and of the packages whose version can change a number."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def receipt(facts: StageFacts, code: Code, *, training: Mapping, now: datetime | None = None, **more) -> dict:
    """What made a model, for receipt.json. training: what results/variants/<variant>/training.json says (device)."""
    first = next(iter(facts.params.values()), None) if facts.params else None
    section: Mapping = first if isinstance(first, Mapping) else {}
    return {
        "key": facts.key,
        "command": facts.command,
        "dependencies": dict(facts.dependencies),
        "params": _jsonable(facts.params),
        "params_hash": facts.params_hash,
        "git_commit": code.commit,
        "uncommitted_code": bool(code.patch or code.untracked),
        "untracked_files": list(code.untracked),  # names alone: what is in them is not in the patch
        "random_state": section.get("random_state"),
        "n_seeds": section.get("n_seeds"),
        "device": training.get("device"),
        "packages": packages(),
        "machine": f"{platform.system()} {platform.machine()}",
        "written_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        **more,
    }


def _git(folder: Path, *arguments: str) -> str:
    try:  # git diff --no-index answers 1 where files differ
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode in (0, 1) else ""


def _plain(value):
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    return str(value)


def _jsonable(content):
    return json.loads(json.dumps(content, default=_plain))
