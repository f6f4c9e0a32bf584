"""Forks of a warm process do what processes started anew would do, and end as they would."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from pipelines import processes, warm

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="only on Linux are there forks of a warm process")
ROOT = Path(__file__).parents[2]
STAGE = "python -m pipelines.stages.evaluate collective"
MANIFEST = "data/prepared/frames/manifest.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project of a stage that lacks all that it reads, and of one that is no Python of ours."""
    folder = tmp_path_factory.mktemp("warm") / "project"
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (folder / "dvc.yaml").write_text(f"stages:\n  evaluate:\n    cmd: {STAGE}\n  other:\n    cmd: echo other\n")
    (folder / MANIFEST).parent.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def warmed(project) -> Iterator[warm.Warm]:
    with pytest.MonkeyPatch.context() as patch, processes.children():
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        processes.warm_up(project)
        yield processes._warm[0]


def repro(project: Path, stage: str, seconds: float | None = None) -> tuple[int, list[str]]:
    said: list[str] = []
    return processes.run([*processes.DVC, "repro", "--force", "--single-item", stage], project, said.append, seconds), said


def forks(of: warm.Warm) -> dict[str, psutil.Process]:
    """What lives of it, by name."""
    found = {}
    for process in psutil.Process(of.pid).children():
        with suppress(psutil.Error):
            found[" ".join(process.cmdline()).rstrip()] = process
    return found


def test_a_stage_fails_in_the_same_words_and_with_the_same_code(project, warmed, monkeypatch):
    code, said = repro(project, "evaluate")
    monkeypatch.setattr(processes, "_warm", [])
    assert (code, said) == repro(project, "evaluate")
    assert code == 255 and said[-1].endswith("exited with 2")


def test_a_command_of_somebody_else_is_run_as_dvc_runs_it(project, warmed):
    code, said = repro(project, "other")
    assert code == 0 and "other" in said


def endless(project: Path) -> None:
    """Have stages wait for ever for what they read: a pipe that nobody writes to."""
    os.mkfifo(project / MANIFEST)


@pytest.mark.parametrize("command", [f"{STAGE} && echo done", f"{STAGE} $VARIANT", f"{STAGE} 'a", "python -m pipelines.stages", "make"])
def test_what_is_for_a_shell_is_left_to_it(command):
    asked = []
    warm._stage_runner(None, lambda executable, cmd, **options: asked.append(cmd))("/bin/sh", command, cwd=".", env={})
    assert asked == [command]


@pytest.fixture
def waiting(project, warmed):
    """A stage at work for ever, in a thread: (code, lines) once it has ended."""
    endless(project)
    ended: list[tuple[int, list[str]]] = []
    thread = threading.Thread(target=lambda: ended.append(repro(project, "evaluate")))
    thread.start()
    try:
        assert wait_until(lambda: STAGE in forks(warmed), 60)
        yield ended
    finally:
        for process in forks(warmed).values():
            process.kill()
        thread.join()
        (project / MANIFEST).unlink()


def test_forks_have_names_and_one_group(project, warmed, waiting):
    names = forks(warmed)
    dvc, stage = names["python -m dvc repro --force --single-item evaluate"], names[STAGE]
    assert os.getpgid(stage.pid) == dvc.pid == os.getpgid(dvc.pid) != os.getpgid(warmed.pid)
    assert stage.environ()["HAE_PARENT"] == processes.identity()


def test_a_stage_that_is_killed_is_told_by_its_signal(warmed, waiting):
    forks(warmed)[STAGE].kill()
    assert wait_until(lambda: waiting, 30)
    code, said = waiting[0]
    assert code == 255 and said[-1].endswith("exited with -9")


def test_a_stage_ends_with_the_dvc_around_it(warmed, waiting):
    stage = forks(warmed)[STAGE]
    next(process for name, process in forks(warmed).items() if "dvc" in name).kill()
    assert wait_until(lambda: waiting, 30)
    assert waiting[0][0] == -signal.SIGKILL
    assert wait_until(lambda: not processes.identity(stage.pid), 30)


def test_what_takes_too_long_is_ended_with_its_group(project, warmed):
    endless(project)
    code, said = repro(project, "evaluate", 3)
    (project / MANIFEST).unlink()
    assert code == -signal.SIGKILL and said[-1].startswith(processes.OVER)
    assert wait_until(lambda: not forks(warmed), 30)


def test_a_stopped_one_does_not_hide_the_end_of_its_forks(project, warmed, waiting):
    os.kill(warmed.pid, signal.SIGSTOP)
    try:
        next(process for name, process in forks(warmed).items() if "dvc" in name).kill()
        assert wait_until(lambda: waiting, 30)
    finally:
        os.kill(warmed.pid, signal.SIGCONT)
    assert waiting[0][0] == -signal.SIGKILL


def test_without_it_a_stage_starts_anew(project, warmed):
    """The last test of it: it is killed."""
    os.kill(warmed.pid, signal.SIGKILL)
    time.sleep(0.1)
    code, said = repro(project, "other")
    assert code == 0 and "other" in said
