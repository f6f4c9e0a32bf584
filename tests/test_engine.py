"""Work in parts: done side by side, tried again, refused in a line; by Ray what processes of this machine do."""

import importlib.util
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from piecework import die, die_once, fail, refuse, slowly, who
from waiting import wait_until

from hae import engine
from hae.engine import TRIES, map_parts
from hae.errors import BadInput

ROOT = Path(__file__).parents[1]


@pytest.fixture
def two(monkeypatch):
    """Two cores, and nothing done in this process."""
    monkeypatch.setenv("HAE_THREADS", "2")
    monkeypatch.setattr(engine, "ALONE_SECONDS", 0)


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.acceptance)])
def one_of_them(request, two):
    """An engine of two workers."""
    if request.param == "ray":
        request.getfixturevalue("project")
    return request.param


@pytest.fixture
def project(monkeypatch, tmp_path_factory) -> Path:
    """Where Ray's token is. One for all tests: Ray reads its settings at import, which must not come earlier, and its token once."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed here (pip install 'hae[ray]')")
    folder = tmp_path_factory.getbasetemp() / "of-ray"
    monkeypatch.setenv("HAE_PROJECT", str(folder))
    return folder


def files(folder: Path, *names: str) -> dict[str, str]:
    return {name: str(folder / name) for name in names}


def test_other_processes_do_the_parts_in_this_folder_and_results_are_in_order(one_of_them, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = map_parts(who, {f"part {i}": i for i in (3, 1, 2)}, one_of_them)
    assert list(found) == ["part 3", "part 1", "part 2"] and [part for part, _, _ in found.values()] == [3, 1, 2]
    done_by = {pid for _, pid, _ in found.values()}
    assert os.getpid() not in done_by and len(done_by) <= 2
    assert {folder for _, _, folder in found.values()} == {str(tmp_path)}
    assert wait_until(lambda: not any(map(psutil.pid_exists, done_by)), 10)


def test_a_part_whose_process_was_killed_is_done_by_another(one_of_them, tmp_path):
    found = map_parts(die_once, files(tmp_path, "a", "b", "c"), one_of_them)
    assert len(found) == 3 and all(Path(tried).read_text() == "x" for tried in files(tmp_path, "a", "b", "c").values())


@pytest.mark.parametrize(("function", "words"), [(die, "its process ended early|WorkerCrashed"), (fail, "OSError: the disk$")])
def test_a_part_that_always_fails_is_tried_so_often_and_is_told_in_a_line_with_its_name(one_of_them, tmp_path, function, words):
    with pytest.raises(BadInput, match=f"^b of 2: {TRIES} tries failed, the last by .*({words})") as told:
        map_parts(function, {"b of 2": str(tmp_path / "b"), "c": str(tmp_path / "c")}, one_of_them)
    assert "\n" not in str(told.value) and (tmp_path / "b").read_text() == "x" * TRIES


def test_bad_input_is_not_tried_again_and_the_first_of_the_parts_is_told(one_of_them, tmp_path):
    with pytest.raises(BadInput, match=r"part-0: no good$"):
        map_parts(refuse, files(tmp_path, *(f"part-{i}" for i in range(6))), one_of_them)
    tried = sorted(path.name for path in tmp_path.glob("part-*"))
    assert (tmp_path / "part-0").read_text() == "x" and len(tried) <= 3, "nothing begins after the first fault"


def test_one_core_and_little_work_need_no_other_process(monkeypatch):
    parts = {str(i): i for i in range(4)}
    monkeypatch.setattr(engine, "ALONE_SECONDS", 0)
    monkeypatch.setenv("HAE_THREADS", "1")
    assert {pid for _, pid, _ in map_parts(who, parts).values()} == {os.getpid()}
    monkeypatch.setattr(engine, "ALONE_SECONDS", 1e9)
    monkeypatch.setenv("HAE_THREADS", "2")
    assert {pid for _, pid, _ in map_parts(who, parts).values()} == {os.getpid()}


def test_what_the_first_part_took_tells_whether_others_are_asked(monkeypatch):
    monkeypatch.setenv("HAE_THREADS", "2")
    monkeypatch.setattr(engine, "ALONE_SECONDS", 0.5)
    first, *others = (pid for _, pid, _ in map_parts(slowly, {str(i): i for i in range(4)}).values())
    assert first == os.getpid() and os.getpid() not in others


def test_an_engine_that_is_not_there_is_refused_in_a_line(monkeypatch):
    monkeypatch.setenv("HAE_ENGINE", "steam")
    with pytest.raises(BadInput, match=r"^HAE_ENGINE: 'steam' is not an engine; allowed: local, ray$"):
        map_parts(who, {"a": 1})
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    for name, value in (("HAE_ENGINE", "ray"), ("RAY_ADDRESS", "10.0.0.1:6379")):
        monkeypatch.delenv("HAE_ENGINE", raising=False)
        monkeypatch.setenv(name, value)
        with pytest.raises(BadInput, match=r"^HAE_ENGINE: 'ray' .* not installed; allowed: pip install 'hae\[ray\]', or local$"):
            map_parts(who, {"a": 1})


def test_nothing_is_left_behind_by_a_caller_that_was_killed(one_of_them, tmp_path):
    """kill -9 says nothing to anybody: workers, and all that a cluster is made of, have to see it for themselves."""
    code = f"from hae.engine import map_parts; from piecework import begin; map_parts(begin, {files(tmp_path, 'a', 'b')}, {one_of_them!r})"
    mine = f"{tmp_path.name}-{os.getpid()}"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HAE_TEST": mine, "HAE_THREADS": "2"}
    script = "import hae.engine; hae.engine.ALONE_SECONDS = 0\n" + code
    caller = subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True)
    assert wait_until(lambda: all((tmp_path / name).exists() for name in "ab"), 240)
    assert len(_marked(mine)) >= 3
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert wait_until(lambda: not _marked(mine), 60), _marked(mine)


@pytest.mark.acceptance
def test_a_cluster_of_our_own_is_for_its_owner_alone(project, two):
    from hae.cluster import Cluster

    with Cluster(2) as cluster:
        import ray  # not before: it reads its settings at import

        _, worker, _ = cluster.run(who, 1)
        mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
        assert worker in {process.pid for process in mine} and len(mine) > 4
        open_to = {(connection.laddr.ip, process.name()) for process in mine for connection in process.net_connections("inet")
                   if connection.status == psutil.CONN_LISTEN}
        assert len(open_to) >= 2 and {ip.removeprefix("::ffff:") for ip, _ in open_to} == {"127.0.0.1"}, open_to  # IPv6 writes it so
        pages = [process.cmdline() for process in mine if "dashboard.py" in " ".join(process.cmdline())]
        assert all("--disable-frontend" in line for line in pages), pages  # Ray's reporter of usage has the same program
        token = project / ".hae" / "ray-token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
        assert token.read_text() not in "".join(" ".join(process.cmdline()) for process in mine)
        gcs = ray.get_runtime_context().gcs_address
        asked = "import ray, sys; ray.init(sys.argv[1], logging_level='error'); print('in')"
        stranger = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HAE_"))}
        for more, way_in in (({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, False),
                             ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}, True)):
            # Without the setting Ray looks for 127.0.0.1 at the address that others know, where nobody listens.
            more["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            said = _asked([sys.executable, "-c", asked, gcs], stranger | more, project / "said")
            assert (said.splitlines()[-1:] == ["in"]) == way_in and ("InvalidAuthToken" in said) != way_in, said[-2000:]
    assert wait_until(lambda: not any(process.is_running() for process in mine[1:]), 30)
    assert not Path(cluster.folder).exists()


def _asked(command: list[str], environment: dict, out: Path) -> str:
    """What a process says until its end, or until it is refused: Ray asks on and on then, for longer than a test should take."""
    with open(out, "w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    assert wait_until(lambda: process.poll() is not None or "InvalidAuthToken" in out.read_text(), 200), out.read_text()[-2000:]
    process.kill()
    process.wait()
    return out.read_text()


def _marked(mine: str) -> list[str]:
    """Living processes that were started with HAE_TEST=mine, or by one of them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HAE_TEST") == mine:
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found
