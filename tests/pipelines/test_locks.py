"""Locks between processes: one at a time, whoever waits is told for whom, and a killed holder holds nothing."""

import subprocess
import sys
import threading

import pytest

from pipelines import locks
from pipelines.locks import Busy, checkout_lock, gpu_lock, holder

HOLD = """
import sys, pathlib
from pipelines import locks
with locks.checkout_lock(pathlib.Path(sys.argv[1])) if sys.argv[2] == "checkout" else locks.gpu_lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Starts a process that holds a lock."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    started = []

    def hold(what):
        command = [sys.executable, "-c", HOLD, str(tmp_path), what]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.wait()


def test_whoever_does_not_wait_is_told_who_is_at_work(tmp_path, elsewhere):
    other = elsewhere("checkout")
    with pytest.raises(Busy, match=rf"at work here already \(process {other.pid} since "), checkout_lock(tmp_path):
        pass
    assert holder(tmp_path).startswith(f"process {other.pid} ")
    other.kill()
    other.wait()
    assert holder(tmp_path) == ""
    with checkout_lock(tmp_path):
        pass


@pytest.mark.parametrize("what", ["checkout", "gpu"])
def test_a_wait_says_for_whom_and_ends_with_the_holder(tmp_path, elsewhere, monkeypatch, what):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    monkeypatch.setattr(locks, "EVERY", 0.2)
    other, said = elsewhere(what), []

    def waiting(line):
        said.append(line)
        if len(said) == 2:
            other.stdin.close()

    with checkout_lock(tmp_path, waiting) if what == "checkout" else gpu_lock(waiting):
        pass
    assert f"process {other.pid} since" in said[0] and "waiting for it since" in said[1]


def test_a_process_enters_again_in_any_of_its_threads(tmp_path):
    entered = []

    def enter():
        with checkout_lock(tmp_path):
            entered.append(holder(tmp_path))

    with checkout_lock(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(20)
        assert entered and entered[0] == holder(tmp_path) != ""
    assert holder(tmp_path) == ""
