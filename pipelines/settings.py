"""Where things are, and the environment of the tools, set before any of them is imported."""

import os
import re
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path

from hae.errors import BadInput

__all__ = ["TEMPORARY", "artifact_root", "close", "close_door", "has_gpu", "home", "key", "place", "prepare_environment",
           "project", "tracking_uri"]

LOOPBACK = ("127.0.0.1", "localhost")
TEMPORARY = "HAE_TEMPORARY_SERVER"  # names the Prefect server that ends with the retraining


def project(start: str | os.PathLike | None = None) -> Path:
    """The project: the nearest folder upwards from `start` (default: here) with params.yaml and dvc.yaml."""
    here = Path(start or ".").resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise BadInput(f"{here}: no project here or above; allowed: a folder with params.yaml and dvc.yaml (--project DIR)")


def home(project: Path | None = None) -> Path:
    """The folder `.hae` of the project, made when missing, its owner's alone: mlflow.db, artifacts/, prefect/, checkpoints/, lock."""
    folder = Path(project or ".").resolve() / ".hae"
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    if folder.stat().st_mode & 0o077:
        with suppress(PermissionError):  # the folder of somebody else, who shares it
            folder.chmod(0o700)
    return folder


def close(project: Path) -> None:
    """Make what tools wrote to `.hae` its owner's alone, whatever umask they had."""
    for entry in os.scandir(home(project)):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            if not entry.is_symlink() and (mode := entry.stat().st_mode) & 0o077:  # a link leads to what may be others'
                os.chmod(entry.path, mode & 0o700)


def key(project: Path) -> str:
    """What a client of this project's own Prefect server must show, "hae:..."; made once, in a file that its owner alone can read."""
    path = home(project) / "prefect-auth"
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"hae:{secrets.token_urlsafe(24)}\n")
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(draft, path)
        draft.unlink()
    path.chmod(0o600)
    return path.read_text().strip()


def close_door(project: Path, origin: str = "none") -> None:
    """Prefect's server, started from here, answers nobody without the key, and no page but that of `origin`; its clients show the key."""
    its = key(project)
    os.environ.update(
        PREFECT_SERVER_API_AUTH_STRING=its,
        PREFECT_API_AUTH_STRING=its,
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS=origin,
    )


def tracking_uri(project: Path | None = None) -> str:
    """The MLflow URI in force: MLFLOW_TRACKING_URI, else the sqlite file of the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(project) / 'mlflow.db'}"


def artifact_root(project: Path | None = None) -> str:
    """Where a new experiment in the project's own sqlite file keeps its artifacts (a server has its own place)."""
    return (home(project) / "artifacts").as_uri()


def place(project: Path, alone: bool = False) -> str:
    """A name for this checkout on this machine, in characters that Prefect takes; alone: among no others, where its folder's name does."""
    return re.sub(r"[^\w .-]", "_", project.name if alone else " ".join([socket.gethostname(), *project.parts[1:]]))


def has_gpu() -> bool:
    """Whether stages work on a GPU here, told without torch: HAE_DEVICE, else whether NVIDIA's driver is loaded."""
    device = os.environ.get("HAE_DEVICE", "auto")
    driver = any(Path(path).exists() for path in ("/proc/driver/nvidia", "/dev/nvidiactl"))
    return device.startswith("cuda") or (device == "auto" and driver)


def prepare_environment(project: Path | None = None) -> None:
    """Set what the tools read at import: no telemetry, their files in `.hae`, no proxy to this machine, this Python first on PATH."""
    folder = home(project)
    os.environ.update(
        HAE_PROJECT=str(folder.parent),  # the flow works there, whatever a caller may ask for
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
    for name in ("NO_PROXY", "no_proxy"):  # a proxy would be asked for Prefect's own server on this machine
        given = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if "*" not in given:  # which is no proxy at all, and only where it stands alone
            os.environ[name] = ",".join([*given, *(host for host in LOOPBACK if host not in given)])
    scripts = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if path[:1] != [scripts]:
        os.environ["PATH"] = os.pathsep.join([scripts, *path])
