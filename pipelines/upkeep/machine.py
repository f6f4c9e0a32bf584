"""What a doctor looks at on the machine: Python, packages, GPU, disk, modes of files, clock, telemetry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from hae.errors import BadInput
from hae.files import check_writable
from pipelines import params, settings
from pipelines.flow import retraining, schedules
from pipelines.sections import Notify
from pipelines.upkeep.finding import Finding

__all__ = ["clock", "disk", "gpu", "modes", "packages", "python", "telemetry"]

OLDEST = (3, 11)
EXTRAS = ("", "pipeline", "md")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
AHEAD = 60  # seconds that a file may be of later than now: clocks of file servers differ
OFF = {"DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def python(project: Path) -> Iterator[Finding]:
    """The interpreter, and whether it is one of an environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < OLDEST
    yield Finding(f"{version}, {sys.executable}", wrong=old, mend=f"Python {'.'.join(map(str, OLDEST))} or newer" if old else "")


def packages(project: Path) -> Iterator[Finding]:
    """What hae needs is wrong where it is missing; what differs from the set that was tested is worth a word."""
    needed = [Requirement(text) for text in metadata.requires("hae") or []]
    wanted = [need for need in needed if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in EXTRAS)]
    missing = [f"{need.name} {_version(need.name) or 'missing'} (needs {need.specifier or 'any'})" for need in wanted if not _suits(need)]
    if missing:
        yield Finding(_some(missing), wrong=True, mend=f"pip install{_constrained()} 'hae[pipeline,md]'")
    if not CONSTRAINTS.exists():
        yield Finding(f"{len(wanted)} as hae needs them; no constraints.txt beside its code to compare with")
        return
    tested = [Requirement(line) for line in CONSTRAINTS.read_text().splitlines() if line and not line.startswith("#")]
    other = [f"{need.name} {_version(need.name)} (tested: {str(need.specifier).removeprefix('==')})"
             for need in tested if _version(need.name) and not _suits(need)]
    if other:
        yield Finding(f"{len(other)} of other versions than were tested together: {_some(other)}", mend=f"pip install{_constrained()}")
    elif not missing:
        yield Finding(f"{len(wanted)} as hae needs them, and as they were tested together")


def _constrained() -> str:
    return f" -c {CONSTRAINTS}" if CONSTRAINTS.exists() else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _suits(need: Requirement) -> bool:
    return need.specifier.contains(_version(need.name), prereleases=True) if _version(need.name) else False


def _some(texts: list[str], most: int = 5) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def gpu(project: Path) -> Iterator[Finding]:
    """Whether PyTorch sees the GPU where there is one, or where one is asked for."""
    device = os.environ.get("HAE_DEVICE", "auto")
    if not settings.has_gpu():
        yield Finding(f"stages work on the CPU (HAE_DEVICE={device}; no driver of NVIDIA here)" if device == "auto" else
                      f"stages work on the CPU (HAE_DEVICE={device})")
        return
    asked = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=120)
    name = (done.stdout.strip().splitlines() or [""])[-1]
    if name:
        yield Finding(name)
    else:
        yield Finding(f"HAE_DEVICE={device} and PyTorch sees no GPU", wrong=device != "auto",
                      mend="a driver and a CUDA build of PyTorch that fit each other, or HAE_DEVICE=cpu")


def disk(project: Path) -> Iterator[Finding]:
    """Room and inodes where the project lives and where temporary files go, and whether the project can be written to."""
    least = _notify(project).disk_free_gb
    check_writable(settings.home(project))
    for place in dict.fromkeys((project, Path(tempfile.gettempdir()))):
        free, about = shutil.disk_usage(place).free / 1e9, os.statvfs(place)
        full = free < least or (about.f_files and about.f_favail < 1000)
        inodes = f", {about.f_favail} inodes" if about.f_files else ""
        yield Finding(f"{place}: {free:.1f} GB{inodes} free", wrong=bool(full), mend="hae clean --keep 5, or more space" if full else "")


def _notify(project: Path) -> Notify:
    try:
        return params.load(project / "params.yaml").notify
    except BadInput:  # said by the check of params.yaml
        return Notify()


def modes(project: Path) -> Iterator[Finding]:
    """Nobody else may read keys or change records, and all of it belongs to whoever runs hae."""
    home = settings.home(project)
    closed = {home: 0o700, home / "prefect-auth": 0o600}
    open_ = [path for path, mode in closed.items() if path.exists() and path.stat().st_mode & 0o777 & ~mode]
    yield from (Finding(f"{path}: mode {path.stat().st_mode & 0o777:o}, open to others", wrong=True, mend=f"chmod {closed[path]:o} {path}",
                        safe=partial(path.chmod, closed[path])) for path in open_)
    strange = [path for path in home.rglob("*") if _owner(path) != os.getuid()]
    if strange and os.getuid():  # root writes anywhere
        yield Finding(f"{strange[0]} and {len(strange) - 1} more belong to another user", wrong=True,
                      mend=f"sudo chown -R {os.getuid()} {home}")
    elif not open_:
        yield Finding(f"{home}: its owner's alone")


def _owner(path: Path) -> int:
    """The number of the user whose file it is; what went away meanwhile, as journals of a database do, is ours."""
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return os.getuid()


def clock(project: Path) -> Iterator[Finding]:
    """The zone of a schedule, and whether the clock was set back behind what was written here."""
    now = time.time()
    home = settings.home(project)
    newest = max((path.stat().st_mtime for path in home.iterdir() if path.is_file()), default=now)
    noted = max((entry["started"] for entry in retraining.notes(project)), default="")
    said = time.strftime("%Y-%m-%d %H:%M:%S")
    if newest > now + AHEAD:
        yield Finding(f"{said}: the clock stands {newest - now:.0f} s behind files of {home} (last retraining: {noted or 'none'})",
                      wrong=True, mend="set the clock (timedatectl set-ntp true), else ages and schedules are wrong")
    yield Finding(f"{said}, {schedules.zone()}")


def telemetry(project: Path) -> Iterator[Finding]:
    """What the tools are told about sending usage home."""
    on = [name for name, value in OFF.items() if os.environ.get(name) != value]
    mend = " ".join(f"{name}={OFF[name]}" for name in on)
    yield Finding(f"on by {', '.join(on)}" if on else "off, of Prefect, MLflow and DVC", wrong=bool(on), mend=mend)
