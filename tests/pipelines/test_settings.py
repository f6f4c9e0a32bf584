"""Where the project is, and that no tool reports to anybody."""

import os

import pytest

from hae.errors import BadInput
from pipelines import settings


@pytest.fixture
def folder(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_project_is_the_nearest_folder_upwards(folder):
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "params.yaml").touch()  # alone it makes no project
    assert settings.project(inner) == folder


def test_no_project_is_said_in_a_line(tmp_path):
    with pytest.raises(BadInput, match=r"allowed: a folder with params\.yaml and dvc\.yaml"):
        settings.project(tmp_path)


def test_the_record_is_the_projects_own_unless_one_is_named(folder, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert settings.tracking_uri(folder) == f"sqlite:///{folder}/.hae/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert settings.tracking_uri(folder) == "http://127.0.0.1:5000"


def test_git_ignores_what_is_kept_in_hae(folder):
    assert (settings.home(folder) / ".gitignore").read_text() == "*\n"


def test_no_tool_reports_to_anybody(folder, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings.prepare_environment(folder)
    for name, value in {"DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                        "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        assert os.environ[name] == value


@pytest.mark.parametrize(("device", "gpu"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_the_device_of_the_environment_decides_on_the_gpu(device, gpu, monkeypatch):
    monkeypatch.setenv("HAE_DEVICE", device)
    assert settings.has_gpu() is gpu
