"""Where things are, and the environment of the tools, set before any of them is imported."""

import os
import re
import socket
import sys
from pathlib import Path

from hae.errors import BadInput

__all__ = ["artifact_root", "has_gpu", "home", "place", "prepare_environment", "project", "tracking_uri"]


def project(start: str | os.PathLike | None = None) -> Path:
    """The project: the nearest folder upwards from `start` (default: here) with params.yaml and dvc.yaml."""
    here = Path(start or ".").resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise BadInput(f"{here}: no project here or above; allowed: a folder with params.yaml and dvc.yaml (--project DIR)")


def home(project: Path | None = None) -> Path:
    """The folder `.hae` of the project, made when missing: mlflow.db, artifacts/, prefect/, checkpoints/, lock."""
    folder = Path(project or ".").resolve() / ".hae"
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    return folder


def tracking_uri(project: Path | None = None) -> str:
    """The MLflow URI in force: MLFLOW_TRACKING_URI, else the sqlite file of the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(project) / 'mlflow.db'}"


def artifact_root(project: Path | None = None) -> str:
    """Where a new experiment in the project's own sqlite file keeps its artifacts (a server has its own place)."""
    return (home(project) / "artifacts").as_uri()


def place(project: Path) -> str:
    """A name for this checkout on this machine, in characters that Prefect takes."""
    return re.sub(r"[^\w .-]", "_", " ".join([socket.gethostname(), *project.parts[1:]]))


def has_gpu() -> bool:
    """Whether stages work on a GPU here, told without torch: HAE_DEVICE, else whether NVIDIA's driver is loaded."""
    device = os.environ.get("HAE_DEVICE", "auto")
    driver = any(Path(path).exists() for path in ("/proc/driver/nvidia", "/dev/nvidiactl"))
    return device.startswith("cuda") or (device == "auto" and driver)


def prepare_environment(project: Path | None = None) -> None:
    """Set what the tools read at import: no telemetry, their files in `.hae`, this Python first on PATH."""
    folder = home(project)
    os.environ.update(
        DO_NOT_TRACK="true",  # Prefect parses it as a boolean: "1" is not enough
        ITERATIVE_DO_NOT_TRACK="true",
        DVC_NO_ANALYTICS="1",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        MLFLOW_DISABLE_TELEMETRY="true",
    )
    defaults = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 by default; a busy machine needs 35 and more
        "GIT_PYTHON_REFRESH": "quiet",  # a project need not be a git checkout
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    scripts = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if path[:1] != [scripts]:
        os.environ["PATH"] = os.pathsep.join([scripts, *path])
