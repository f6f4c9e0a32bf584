"""What hae's own code is, room by room, in a file of a project: DVC takes it as params, so that an upgrade makes stale what it changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import hae
from hae.files import write_json
from hae.version import __version__

__all__ = ["FILE", "refresh", "rooms", "write"]

FILE = "hae.json"
HAE, PIPELINES = Path(hae.__file__).parent, Path(__file__).parents[1]
FACE = ("arguments.py", "estimator.py", "fitted.py")


def rooms() -> dict[str, str]:
    """Name of each part that stages depend on -> digest of its files, whether it is installed or a checkout."""
    parts = {name: sorted((HAE / name).rglob("*.py")) for name in ("data", "figures", "importance", "network", "training")}
    parts |= {"estimator": [HAE / name for name in FACE], "storage": [HAE / "storage.py"]}
    parts["page"] = sorted(path for path in (PIPELINES / "page").iterdir() if path.is_file())
    parts |= {path.stem: [path] for path in sorted((PIPELINES / "stages").glob("[!_]*.py"))}
    return {name: _digest(files) for name, files in parts.items()}


def write(project: Path) -> dict[str, str]:
    """Write hae.json; gives what it says."""
    now = {"version": __version__, **rooms()}
    write_json(project / FILE, now)
    return now


def refresh(project: Path) -> list[str]:
    """Write hae.json of a project anew where the code is not what it says, and say in a line what changed.

    Nothing is done in a project without the file: hae's own checkout, whose stages depend on its folders.
    """
    path = project / FILE
    if not path.is_file():
        return []
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # damaged: written anew like one of another version
        before = {}
    if before == {"version": __version__, **rooms()}:
        return []
    now = write(project)
    changed = [name for name, digest in now.items() if name != "version" and before.get(name) != digest]
    old = before.get("version", "unknown")
    what = f"hae {old} -> {__version__}" if old != __version__ else f"the code of hae {__version__} changed"
    return [f"{what}: {', '.join(changed) or 'the version alone'}; what depends on it is stale"]


def _digest(files: list[Path]) -> str:
    content = hashlib.sha256()
    for file in files:
        content.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return content.hexdigest()[:32]
