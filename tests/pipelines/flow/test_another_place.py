"""A project whose servers are elsewhere: MLflow behind a password on PostgreSQL, its artifacts and DVC's remote in an S3 store."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from servers import KEYS, Server, free_port, object_store

from hae.errors import BadInput
from pipelines.flow import retraining
from pipelines.record import packaging, registry
from pipelines.record.store import Store, opened
from tests.soak.place import Place, make

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_s3, pytest.mark.acceptance, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[3]
USER, PASSWORD = "robot", "a-long-password-of-the-registry"
WRITERS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store"), "records", "data") as address:
        yield address


@pytest.fixture(scope="module")
def registry_address(postgres, store, tmp_path_factory):
    """MLflow's server, which alone knows the store's keys."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    (folder / "door.ini").write_text(f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = postgresql://{postgres('users')}\n"
                                     f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
                                     "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--app-name",
               "basic-auth", "--backend-store-uri", f"postgresql://{postgres('records')}", "--artifacts-destination", "s3://records/mlflow"]
    server = Server(command, f"http://127.0.0.1:{port}/health", folder / "mlflow.log", **KEYS, MLFLOW_S3_ENDPOINT_URL=store,
                    MLFLOW_AUTH_CONFIG_PATH=str(folder / "door.ini"), MLFLOW_FLASK_SERVER_SECRET_KEY="of the tests", DO_NOT_TRACK="true")
    yield f"http://127.0.0.1:{port}"
    server.end()


@pytest.fixture(scope="module")
def prefect_address(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    server = Server([sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
                    f"{api}/health", folder / "prefect.log", PREFECT_HOME=str(folder), PREFECT_API_URL=api, DO_NOT_TRACK="true")
    yield api
    server.end()


@pytest.fixture
def there(registry_address, monkeypatch) -> dict[str, str]:
    """The environment of whoever works with this registry."""
    environment = {"MLFLOW_TRACKING_URI": registry_address, "MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def place(tmp_path, prefect_address, store) -> Place:
    """A project in git whose data are in the store by DVC; never trained."""
    place = make(tmp_path / "project", prefect_address)
    run(place, "git", "init", "-q")
    run(place, sys.executable, "-m", "dvc", "init", "-q")
    run(place, sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "store", "s3://data/dvc")
    run(place, sys.executable, "-m", "dvc", "remote", "modify", "store", "endpointurl", store)
    run(place, sys.executable, "-m", "dvc", "add", "-q", "data/raw")
    run(place, sys.executable, "-m", "dvc", "push", "-q")
    commit(place)
    return place


def run(place: Place, *command: str, **environment: str) -> str:
    done = subprocess.run(command, cwd=place.folder, env=os.environ | KEYS | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(place: Place) -> None:
    run(place, "git", "add", "-A")
    run(place, "git", "-c", "user.name=tests", "-c", "user.email=tests@localhost", "commit", "-qm", "tests")


def clone(place: Place, folder: Path) -> Place:
    """What whoever has git and the remote gets, and nothing else."""
    subprocess.run(["git", "clone", "-q", place.folder, folder], check=True)
    cloned = Place(folder, place.server)
    run(cloned, sys.executable, "-m", "dvc", "pull", "-q", "--run-cache", "--allow-missing")
    return cloned


def retrain(place: Place, environment: dict[str, str]) -> str:
    code, said = finish(place, place.start("retrain", **environment))
    assert code == 0, said
    return said


def finish(place: Place, started: subprocess.Popen) -> tuple[int, str]:
    return started.wait(900), place.said()


def records(store: Store) -> tuple[list[str], list[str]]:
    """Ends of all runs, and versions with their aliases."""
    runs = store.client.search_runs([store.experiment])
    return sorted(run.info.status for run in runs), [f"{row.version} {' '.join(row.aliases)}".strip() for row in registry.rows(store)]


def test_a_retraining_goes_there_whole_and_a_fresh_clone_goes_on(place, there, tmp_path):
    said = retrain(place, there)
    assert "promoted: " in said and PASSWORD not in said
    assert not (place.home / "mlflow.db").exists() and not (place.home / "artifacts").exists()
    where = opened(place.folder)
    assert records(where) == (["FINISHED", "FINISHED"], ["1 champion"])  # the training, and the baselines
    champion = packaging.load(where, "1")
    commit(place)
    run(place, sys.executable, "-m", "dvc", "push", "-q")

    other = clone(place, tmp_path / "another" / "project")
    assert "nothing to do" in retrain(other, there)
    assert records(where) == (["FINISHED", "FINISHED"], ["1 champion"])

    empty = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/empty.db"}  # another registry, in which nothing is
    said = retrain(other, empty)
    assert "To do: the record" in said and "Task run 'train" not in said
    assert (retraining.notes(other.folder)[0]["stages"], retraining.notes(other.folder)[0]["ending"].partition(":")[0]) == ([], "promoted")

    shutil.rmtree(place.folder)  # the first machine is gone, with all that it had
    other.set("train", "collective", random_state=17)
    said = retrain(other, there)
    assert "To do: train@collective" in said and "prepare" not in said
    assert records(where)[0] == ["FINISHED"] * 3 and records(where)[1][1:] in (["1 champion"], ["1 previous"], ["1"])
    assert (champion.rows == packaging.load(where, "1").rows).all()


def test_a_wrong_password_is_one_line(place, there, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another-password")
    with pytest.raises(BadInput, match=r"^MLflow at http://127\.0\.0\.1:\d+: .*not authenticated") as refused:
        opened(place.folder)
    assert "\n" not in str(refused.value) and "another-password" not in str(refused.value)


def test_a_worker_needs_git_the_remote_and_the_registry_alone(place, there, prefect_address, tmp_path):
    """The deployment `process` of prefect.yaml, by a worker of Prefect; each run in a clone of its own, of which nothing is left."""
    place.change("record", model_name="by-a-worker")
    commit(place)
    worker = Place(tmp_path / "worker", prefect_address)
    worker.folder.mkdir()
    environment = KEYS | there | {"PREFECT_API_URL": prefect_address, "HAE_GIT": str(place.folder), "PYTHONPATH": str(ROOT)}

    def prefect(*words: str) -> str:
        return run(worker, sys.executable, "-m", "prefect", "--no-prompt", *words, **environment)

    prefect("work-pool", "create", "--type", "process", "machines")
    prefect("deploy", "--prefect-file", str(ROOT / "prefect.yaml"), "--name", "process")
    where = opened(place.folder)
    for number in (1, 2):
        prefect("deployment", "run", "retrain/process")
        said = prefect("worker", "start", "--pool", "machines", "--run-once")
        runs = httpx.post(f"{prefect_address}/flow_runs/filter", json={}, timeout=60, trust_env=False).json()
        begun = [run["state_type"] for run in runs if run["state_type"] != "SCHEDULED"]  # those of the nights to come
        assert begun == ["COMPLETED"] * number, said
        assert records(where) == (["FINISHED", "FINISHED"], ["1 champion"]) and not list(worker.folder.iterdir())


def test_writers_side_by_side_leave_one_champion_and_whole_records(place, there, tmp_path):
    """Checkouts that know nothing of each other, each with a model of its own."""
    place.change("record", model_name="shared")
    commit(place)
    writers = [clone(place, tmp_path / str(number) / "project") for number in range(WRITERS)]
    for number, writer in enumerate(writers):
        writer.set("train", "collective", random_state=number)
    at_work = [writer.start("retrain", **there) for writer in writers]
    ends = [finish(writer, started) for writer, started in zip(writers, at_work)]
    assert {code for code, _ in ends} <= {0, 3}, "\n".join(said for _, said in ends)  # 3: held, before there was a champion

    where = opened(writers[0].folder)
    runs, versions = records(where)
    rows, history = registry.rows(where), registry.history(where)
    assert runs == ["FINISHED"] * len(runs) and len(versions) == WRITERS == len({row.weights for row in rows})
    crowned = [row for row in rows if "champion" in row.aliases]
    assert len(crowned) == 1 and history[-1] == crowned[0].version and len(set(history)) == len(history)
    promoted = [writer for writer in writers if retraining.notes(writer.folder)[0]["ending"].startswith("promoted")]
    assert len(history) == len(promoted)  # no champion is missing in the history
    assert registry.aliases(where).get("previous") == (history[-2] if len(history) > 1 else None)
    assert all(packaging.check(where, row.version) == "" for row in rows)
    for writer in writers:
        assert retraining.notes(writer.folder)[0]["ending"].partition(":")[0] in retraining.GOOD
