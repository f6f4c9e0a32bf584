"""Who a process is does not hang on a clock, and a child lives as long as its parent."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from waiting import wait_until

from pipelines import processes

# What a step of the clock does to psutil: it adds the boot time, which the system's clock gives, to the ticks since boot.
STEPPED = "import psutil; was = psutil.Process.create_time; psutil.Process.create_time = lambda self: was(self) + 3600\n"
CHILD = "import time; from pipelines.processes import end_with_parent; end_with_parent(0.1); time.sleep(2); print('lived')"


def test_a_child_lives_through_a_step_of_the_clock():
    told = subprocess.run([sys.executable, "-c", STEPPED + CHILD], env=os.environ | {"HAE_PARENT": processes.identity()},
                          capture_output=True, text=True, start_new_session=True)
    assert told.stdout == "lived\n" and told.returncode == 0


def test_a_child_ends_with_its_parent():
    parent = subprocess.Popen(["sleep", "600"])
    child = subprocess.Popen([sys.executable, "-c", CHILD.replace("sleep(2)", "sleep(600)")], start_new_session=True,
                             env=os.environ | {"HAE_PARENT": processes.identity(parent.pid)})
    time.sleep(1)
    assert child.poll() is None
    parent.kill()
    parent.wait()
    assert child.wait(30) == -9


def test_a_number_used_again_is_another_process(monkeypatch):
    mine = processes.identity()
    assert processes.lives(mine)
    pid, born = mine.split()
    assert not processes.lives(f"{pid} {born.replace('@', '1@')}")  # started at another tick
    assert not processes.lives(f"{pid} {born[:-1]}")  # of another boot
    assert not processes.lives("") and not processes.lives(pid)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 0.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert processes.lives(mine)


def test_a_dead_process_that_nobody_has_waited_for_does_not_live():
    child = subprocess.Popen(["true"])
    assert wait_until(lambda: processes.identity(child.pid) == "")
    child.wait()


@pytest.mark.parametrize("number", [0, -1])
def test_no_number_of_no_process_lives(number):
    assert not processes.lives(f"{number} 1@boot")


def test_what_stops_itself_is_ended_with_its_group_after_its_time(tmp_path):
    """SIGSTOP reaches it and its child; neither answers anything but SIGKILL."""
    script = ("import os, signal, subprocess, sys\n"
              "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
              "print(child.pid, flush=True); os.kill(child.pid, signal.SIGSTOP); os.kill(os.getpid(), signal.SIGSTOP)")
    said: list[str] = []
    with processes.children():
        code = processes.run([sys.executable, "-c", script], tmp_path, said.append, seconds=3.0)
    assert code == -signal.SIGKILL
    assert said[-1].startswith(processes.OVER) and "limits.stage_hours" in said[-1]
    deadline = time.monotonic() + 20
    while processes.identity(int(said[0])) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes.identity(int(said[0]))


def test_what_ends_in_time_is_not_ended(tmp_path):
    said: list[str] = []
    done = [sys.executable, "-c", "print('done')"]
    with processes.children():
        assert processes.run(done, tmp_path, said.append, seconds=600.0) == 0 and said == ["done"]
    assert processes.run(done, tmp_path, said.append) == -signal.SIGTERM and said == ["done"], "nothing starts once the block is left"


def test_what_a_killed_retraining_left_is_gone_when_the_next_one_begins(tmp_path):
    """Its DVC may live a moment longer, and a dead one that nobody has waited for keeps its pid; both held files."""
    project = tmp_path
    nobody, end = subprocess.Popen(["true"]), "import time; time.sleep(600)"
    environment = {"PREFECT_HOME": str(project / ".hae" / "prefect"), "HAE_PARENT": f"{nobody.pid} 0"}
    left = subprocess.Popen([sys.executable, "-c", end], env=os.environ | environment)
    ours = subprocess.Popen([sys.executable, "-c", end], env=os.environ | environment | {"HAE_PARENT": processes.identity()})
    locks = project / ".dvc" / "tmp" / "rwlock"
    locks.parent.mkdir(parents=True, exist_ok=True)

    def hold(*pids):
        locks.write_text(json.dumps({"write": {f"/file/{pid}": {"pid": pid, "cmd": "- " + end} for pid in pids}}))

    try:
        hold(left.pid, nobody.pid)
        with processes.only_one(project):
            assert left.wait(10) == -9
            assert ours.poll() is None
            assert not locks.exists()
        hold(nobody.pid, ours.pid)
        with processes.only_one(project):
            assert locks.exists()  # a dvc that someone runs by hand
        locks.write_text(json.dumps({"read": {"/file": [{"pid": ours.pid, "cmd": "dvc repro train"}]}, "write": {}}))
        with processes.only_one(project):
            assert not locks.exists()  # the number is another process's by now
        locks.touch()
        with processes.only_one(project):
            assert not locks.exists()  # a kill cut it short
    finally:
        for process in (left, ours):
            process.kill()
            process.wait()
        locks.unlink(missing_ok=True)
