"""Where the project is, and that no tool reports to anybody."""

import os
import sys
import urllib.request

import pytest

from hae.errors import BadInput
from pipelines import locks, settings
from pipelines.flow import server


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


def test_what_is_kept_in_hae_is_its_owners_alone(folder):
    (folder / ".hae").mkdir(mode=0o755)
    assert settings.home(folder).stat().st_mode & 0o777 == 0o700
    key = settings.key(folder)
    assert (folder / ".hae" / "prefect-auth").stat().st_mode & 0o777 == 0o600
    assert settings.key(folder) == key and len(key) > 30
    assert sorted(path.name for path in (folder / ".hae").iterdir()) == ["prefect-auth"]
    shared = folder / "shared"
    shared.mkdir(mode=0o755)
    (folder / ".hae" / "mlflow.db").touch(0o644)
    (folder / ".hae" / "copies").mkdir(0o755)
    (folder / ".hae" / "artifacts").symlink_to(shared)
    home = settings.home(folder)
    with locks.checkout_lock(folder):
        pass
    assert {path.name: path.lstat().st_mode & 0o777 for path in home.iterdir() if not path.is_symlink()} == {
        "prefect-auth": 0o600, "mlflow.db": 0o600, "copies": 0o700, "lock": 0o600}
    assert shared.stat().st_mode & 0o777 == 0o755  # a link leads to what may be others'


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(folder, monkeypatch):
    import httpx

    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "lab.example")
    monkeypatch.delenv("no_proxy", raising=False)
    settings.prepare_environment(folder)
    settings.prepare_environment(folder)
    assert os.environ["NO_PROXY"] == "lab.example,127.0.0.1,localhost"
    with httpx.Client() as client:
        for host, by_proxy in {"127.0.0.1:4200": False, "localhost:4200": False, "elsewhere.example": True}.items():
            way = client._transport_for_url(httpx.URL(f"http://{host}/api"))
            assert (way is not client._transport) is by_proxy, host


def test_no_proxy_for_any_host_stays_so(folder, monkeypatch):
    """A star counts where it stands alone: with hosts behind it a server elsewhere would be asked by the proxy."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    settings.prepare_environment(folder)
    assert urllib.request.proxy_bypass("elsewhere.example") and os.environ["NO_PROXY"] == "*"


@pytest.mark.parametrize(("proxy", "word"), [("socks5://lab:1080", "socksio"), ("lab://1080", "Unknown scheme"), ("http://lab:3128", "")])
def test_a_proxy_that_no_client_can_be_made_with_is_one_line(proxy, word, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    if not word:
        return server.check_proxies()
    with pytest.raises(BadInput, match=f"^HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: .*{word}"):
        server.check_proxies()
