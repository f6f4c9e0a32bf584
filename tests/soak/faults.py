"""What can go wrong with a retraining at work, by kind: each fault is done to a place, put right as a person would, and said in words.

What goes wrong while nobody works: losses.py.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress

import numpy as np
import psutil

from tests.soak.place import PATIENCE, Place
from tests.waiting import wait_until

__all__ = ["FAULTS", "LATE", "Fault"]

Fault = Callable[[Place, random.Random], str]
FAULTS: dict[str, Fault] = {}

LATE = "too late"  # the words of a fault that found nobody at work
SERVER, DVC, STAGE, CHECK = "create_app", "-m dvc", "pipelines.stages.", "sys.modules["
# How far a retraining has come: who works by then, or what is said.
MOMENTS: dict[str, Callable[[Place], object]] = {
    "start": lambda place: True,
    "prepare": lambda place: place.of("stages.prepare"),
    "train": lambda place: place.of("stages.train"),
    "baseline": lambda place: place.of("stages.baseline"),
    "evaluate": lambda place: place.of("stages.evaluate"),
    "report": lambda place: place.of("stages.report"),
    "record": lambda place: "Task run 'report' - Finished" in place.said(),
    "promote": lambda place: "Task run 'record' - Finished" in place.said(),
    "the check of the model": lambda place: place.of(CHECK),
}
# First stale stage -> moments that do not come: stages before it have nothing to do, and a report alone asks for no new decision.
SKIPPED = {"train": ("prepare", "baseline"), "evaluate": ("prepare", "train", "baseline"),
           "report": ("prepare", "train", "baseline", "evaluate", "the check of the model")}
NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def fault(kind: str) -> Callable[[Fault], Fault]:
    def known(function: Fault) -> Fault:
        FAULTS[kind] = function
        return function

    return known


def begun(place: Place, draw: random.Random, moments: tuple[str, ...] = (), server: bool = True,
          ) -> tuple[subprocess.Popen, str]:
    """A retraining that has something to do and has come to a random moment: it, and the moment in words."""
    first = place.new_work(draw, late="the check of the model" not in moments)
    wanted = [moment for moment in moments or MOMENTS if moment not in SKIPPED.get(first, ())] or ["start"]
    flow, moment = place.start("retrain", server=server), draw.choice(wanted)
    wait_until(lambda: flow.poll() is not None or MOMENTS[moment](place), PATIENCE)
    time.sleep(draw.uniform(0, 3))
    return flow, f"at {moment}"


def over(flow: subprocess.Popen) -> int:
    """The end of what was started, whatever it is."""
    return flow.wait(PATIENCE)


def sent(role: str, how: signal.Signals, moments: tuple[str, ...] = (), server: bool = True) -> Fault:
    """A signal to who has a role, once there is such a one; "": to `hae retrain` itself."""

    def send(place: Place, draw: random.Random) -> str:
        flow, moment = begun(place, draw, moments, server)
        if role:
            wait_until(lambda: flow.poll() is not None or place.of(role), PATIENCE)
        targets = place.of(role) if role else [psutil.Process(flow.pid)] if flow.poll() is None else []
        for target in draw.sample(targets, min(1, len(targets))):
            with suppress(psutil.Error):
                target.send_signal(how)
        over(flow)
        return moment if targets else LATE

    return send


FAULTS |= {
    "kill -9 hae retrain": sent("", signal.SIGKILL),
    "kill -9 a stage": sent(STAGE, signal.SIGKILL, ("prepare", "train", "baseline", "evaluate", "report")),
    "kill -9 DVC": sent(DVC, signal.SIGKILL, ("prepare", "train", "baseline", "evaluate", "report")),
    "kill -9 Prefect's server": sent(SERVER, signal.SIGKILL, server=False),
    "kill -9 the check of the model": sent(CHECK, signal.SIGKILL, ("the check of the model",)),
    "SIGTERM": sent("", signal.SIGTERM),
    "SIGINT": sent("", signal.SIGINT),
}


@fault("kill -9 all at once")
def power(place: Place, draw: random.Random) -> str:
    flow, moment = begun(place, draw, server=False)
    place.end()
    over(flow)
    return moment


@fault("a stage that hangs (SIGSTOP), ended by its limit")
def hangs(place: Place, draw: random.Random) -> str:
    limit = 60
    place.set("limits", stage_hours=limit / 3600)
    flow, moment = begun(place, draw, ("prepare", "train", "baseline", "evaluate", "report"))
    for stage in place.of(STAGE):
        with suppress(psutil.Error):
            stage.suspend()
    over(flow)
    place.set("limits", stage_hours=24.0)
    return f"{moment}, {'tried once more' if 'it took longer than it may' in place.said() else 'not ended'}"


@fault("all stopped for a while (a machine asleep)")
def asleep(place: Place, draw: random.Random) -> str:
    flow, moment = begun(place, draw)
    stopped = place.at_work()
    for process in stopped:
        with suppress(psutil.Error):
            process.suspend()
    time.sleep(draw.uniform(1, 40))
    for process in stopped:
        with suppress(psutil.Error):
            process.resume()
    over(flow)
    return moment


@fault("two at once")
def two(place: Place, draw: random.Random) -> str:
    flow, moment = begun(place, draw)
    second = subprocess.run([*flow.args], cwd=place.folder, env=psutil.Process(flow.pid).environ() if flow.poll() is None else None,
                            capture_output=True, text=True, timeout=PATIENCE)
    over(flow)
    said = (second.stderr.strip().splitlines() or [""])[-1]
    refused = second.returncode == 2 and "another hae is at work here already" in said
    return f"{moment}: {'refused' if refused else f'the second ended with {second.returncode}'}"


@fault("MLflow's database locked")
def locked(place: Place, draw: random.Random) -> str:
    database = place.home / "mlflow.db"
    flow, moment = begun(place, draw, ("train", "report", "record", "promote"))
    seconds = draw.uniform(5, 60)
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as holder:
        with suppress(sqlite3.OperationalError):
            holder.execute("begin exclusive")
        time.sleep(seconds)
        with suppress(sqlite3.OperationalError):
            holder.execute("rollback")
    over(flow)
    return f"{moment}, for {seconds:.0f} s"


@fault("the disk is full")
def full(place: Place, draw: random.Random) -> str:
    """A disk of its own with a file that leaves so many bytes; by hand afterwards the file goes."""
    filler = place.folder.parent / "filler"
    left = int(10 ** draw.uniform(3, 6.5))
    flow, moment = begun(place, draw)
    if place.folder.parent.is_mount():
        free = shutil.disk_usage(place.folder).free
        with suppress(OSError), open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - left, 1))
    else:  # no file may grow beyond that
        for process in place.at_work():
            with suppress(psutil.Error):
                process.rlimit(psutil.RLIMIT_FSIZE, (left, left))
    over(flow)
    filler.unlink(missing_ok=True)
    return f"{moment}, {left} bytes left"


@fault("a folder that can't be written to")
def read_only(place: Place, draw: random.Random) -> str:
    name = draw.choice(("data", "data/prepared", "models", "results", ".", ".hae", ".hae/artifacts", ".hae/prefect", ".dvc", ".dvc/cache",
                        ".dvc/cache/files/md5", ".dvc/tmp"))
    folder = place.folder / name
    mode = folder.stat().st_mode
    place.new_work(draw)
    folder.chmod(0o555)
    try:
        over(place.start("retrain", before=NO_RIGHTS if os.getuid() == 0 else ()))
    finally:
        folder.chmod(mode)
    return name


@fault("params.yaml broken in mid-run")
def broken(place: Place, draw: random.Random) -> str:
    flow, moment = begun(place, draw)
    text = draw.choice(("", "train: [", "train: {}\n", place.good.replace("eps:", "esp:"), place.good[: len(place.good) // 2]))
    (place.folder / "params.yaml").write_text(text)
    over(flow)
    (place.folder / "params.yaml").write_text(place.good)
    return moment


@fault("data that change while it works")
def moving(place: Place, draw: random.Random) -> str:
    flow, moment = begun(place, draw)
    place.new_work(draw)
    over(flow)
    return moment


@fault("data half-written")
def half(place: Place, draw: random.Random) -> str:
    whole = place.table.read_bytes() + place.rows(np.random.default_rng(draw.randrange(2**32))).to_csv(index=False, header=False).encode()
    how = draw.choice(("cut", "empty", "garbage", "gone"))
    part = {"cut": whole[: draw.randrange(20, len(whole))], "empty": b"", "garbage": bytes(draw.randrange(256) for _ in range(5000))}
    place.table.unlink() if how == "gone" else place.table.write_bytes(part[how])
    place.retrain()
    place.table.write_bytes(whole)
    return how
