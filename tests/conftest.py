"""What all tests share: which tests can run here, small projects that DVC knows, one Prefect server a session."""

import os

# Two workers whose threads wait for each other take many times as long. NumPy and torch read it once, as they are imported.
os.environ["OMP_NUM_THREADS"] = "1"

import gc
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML
from servers import free_port

gc.disable()  # until the tests are collected: what is imported stays, and to look through it again and again is a tenth of that time
ROOT = Path(__file__).parents[1]
TOOLS = {
    "needs_chromium": lambda: shutil.which("chromium") or shutil.which("chromium-browser"),
    "needs_hadolint": lambda: shutil.which("hadolint"),
    "needs_s3": lambda: all(map(find_spec, ("moto", "dvc_s3", "flask_wtf"))),
    "needs_postgres": lambda: shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None),
}


# Files that take long, the longest first, so that no worker has one left when the others are done. The first two have no fixture in common.
LONG = ("pipelines/flow/test_flows.py", "test_site.py", "pipelines/gate/test_promotion.py", "pipelines/flow/test_kill.py",
        "pipelines/gate/test_crashes.py", "pipelines/flow/test_secrets.py", "pipelines/record/test_packaging.py",
        "pipelines/flow/test_schedules.py", "sampling/test_round.py", "pipelines/flow/test_cleaning.py", "training/test_stored.py",
        "export/test_compiled.py", "test_distribution.py", "pipelines/record/test_recording.py", "truths/test_linear.py",
        "pipelines/page/test_report.py", "importance/test_evaluate.py", "pipelines/flow/test_reading.py", "truths/test_shapes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; skip what can't run here, with a word; where HAE_NO_SKIPS is set (.ci/run) a missing tool is a failure instead."""
    turn = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.path, len(turn)))
    missing = {name for name, found in TOOLS.items() if not found()}
    for item in items:
        for name in missing.intersection(mark.name for mark in item.iter_markers()):
            if os.environ.get("HAE_NO_SKIPS"):
                item.add_marker(pytest.mark.usefixtures("tool_missing"))
            else:
                item.add_marker(pytest.mark.skip(reason=f"{name}: not installed here (see apt-packages.txt and engines.txt)"))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def environment():
    """No server and no device of the outside; no telemetry; one thread, so that results repeat."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "HAE_PARENT", "HAE_DEVICE"):
            patch.delenv(name, raising=False)
        for name, value in {"HAE_THREADS": "1", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
                            "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """``made_once(name, make)``: a folder of this name that ``make(folder)`` filled, once for all workers that share the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder = root / name
        with FileLock(root / f"{name}.lock"):
            if not (folder / ".made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / ".made").touch()
        return folder

    return once


@pytest.fixture
def tool_missing():
    pytest.fail("a browser or server of apt-packages.txt is missing, and HAE_NO_SKIPS is set")


@pytest.fixture(scope="session")
def prefect_server(prefect_database, tmp_path_factory):
    """One Prefect server, of its own database, for all flows that tests run in this process."""
    from pipelines.flow import server

    home, url = tmp_path_factory.mktemp("prefect"), f"http://127.0.0.1:{(port := free_port())}/api"
    shutil.copy(prefect_database, home)
    command = [sys.executable, "-c", server.BRIEF.format(port=port)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        from prefect.settings import PREFECT_API_URL, temporary_settings

        running = server.running(command, server.BRIEFLY, home / "server.log", f"{url}/health", "Prefect: its server")
        with running, temporary_settings({PREFECT_API_URL: url}):
            yield


@pytest.fixture(scope="session")
def new_project(trained_folder, database, tmp_path_factory) -> Callable[..., Path]:
    """Makes projects on a small table: params.yaml, the table in data/raw, and the graph of dvc.yaml from prepare on, without code
    among the dependencies, plus stages of one's own. Nothing has run in them."""

    def make(**more) -> Path:
        folder = tmp_path_factory.mktemp("fresh") / "project"
        shutil.copytree(trained_folder / "data" / "raw", folder / "data" / "raw")
        params = (trained_folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(params.replace("replicas: 2", "replicas: 0"))  # tests/pipelines/stages/test_stages.py has them
        (folder / ".hae").mkdir()
        shutil.copy(database, folder / ".hae")
        write_graph(folder, **more)
        return folder

    return make


@pytest.fixture(scope="session")
def prefect_database(made_once) -> Path:
    """A database of Prefect with its tables and nothing in them: its migrations take five seconds, a copy none."""

    def upgrade(folder: Path) -> None:
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=os.environ | {"PREFECT_HOME": str(folder)}, check=True, capture_output=True)

    return made_once("prefect", upgrade) / "prefect.db"


@pytest.fixture(scope="session")
def run_project(new_project, trained_folder, prefect_database, made_once, tmp_path_factory) -> Callable[..., Path]:
    """Makes such projects whose stages have all run, as DVC knows it: a retraining does what a change of params.yaml asks for. Nothing is
    recorded in them. The stages that are named are taken out of dvc.yaml: each that runs takes seconds."""

    def commit(parent: Path) -> None:
        from pipelines.flow.versioning import in_repository

        folder = Path(shutil.copytree(new_project(), parent / "project"))
        for part in ("data/prepared", "models", "results"):
            shutil.copytree(trained_folder / part, folder / part)
        (folder / ".hae/prefect").mkdir()
        shutil.copy(prefect_database, folder / ".hae/prefect")
        with pytest.MonkeyPatch.context() as patch, in_repository(folder) as repository:
            patch.chdir(folder)
            repository.commit(force=True)

    def make(*without: str) -> Path:
        folder = Path(shutil.copytree(made_once("run", commit) / "project", tmp_path_factory.mktemp("run") / "project"))
        yaml = YAML()
        content = yaml.load((folder / "dvc.yaml").read_text())
        for stage in without:
            del content["stages"][stage]
        yaml.dump(content, folder / "dvc.yaml")
        return folder

    return make


def write_graph(folder: Path, **more) -> None:
    """The repository's dvc.yaml less the simulation and the code, plus stages of one's own."""
    yaml = YAML()
    content = yaml.load((ROOT / "dvc.yaml").read_text())
    stages = content["stages"]
    del stages["simulate"]
    for stage in stages.values():
        body = stage.get("do", stage)
        body["deps"] = [path for path in body["deps"] if not path.startswith(("hae/", "pipelines/"))]
        body["params"] = [key for key in body["params"] if not key.startswith("simulate")]
    stages.update(more)
    yaml.dump(content, folder / "dvc.yaml")
