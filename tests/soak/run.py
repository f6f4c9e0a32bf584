"""The soak: faults drawn at random are done to a project that is retrained; after each a clean retraining has to make all whole.

    python -m tests.soak.run --faults 50 --seed 1 --record docs/soak.json

adds what it saw to the record. Each fault has a seed of its own, by which it can be done again: --seed N --faults 1; after --rarest, which
does the kind that the record has least often, with --kind KIND.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hae.files import write_json
from tests.soak import whole
from tests.soak.faults import LATE
from tests.soak.losses import FAULTS
from tests.soak.place import Place, free_port, make, mounted
from tests.waiting import wait_until

__all__ = ["Survived", "ready", "soak", "table"]

CLEANED = 10  # faults between two cleanings


@dataclass(frozen=True)
class Survived:
    """One fault. wrong: what was not whole after it, in lines; none where all was."""

    kind: str
    seed: int
    words: str
    seconds: float
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.seed:>6}  {self.seconds:4.0f} s  {self.kind} ({self.words}): {'; '.join(self.wrong) or 'whole'}"


def soak(place: Place, seeds: range, kinds: tuple[str, ...] = ()) -> Iterator[Survived]:
    """Do a fault for each seed, in a place where one retraining has been."""
    for seed in seeds:
        draw = random.Random(seed)
        kind = draw.choice(kinds or tuple(FAULTS))
        begun = time.monotonic()
        try:
            words = FAULTS[kind](place, draw)
            wrong = [*_clean_retraining(place), *whole.wrong(place)]
        except subprocess.TimeoutExpired as error:
            words, wrong = "", [f"it did not end: {error}"]
        yield Survived(kind, seed, words, round(time.monotonic() - begun, 1), tuple(wrong))
        if seed % CLEANED == CLEANED - 1:
            place.start("clean", "--keep", "3").wait()


def _clean_retraining(place: Place) -> list[str]:
    """A retraining that nothing disturbs, once what the refusal asks for has been done; what was wrong with it, in lines."""
    for _ in range(2):
        code, said = place.retrain()
        last = (said.strip().splitlines() or [""])[-1]
        if code == 0:
            return []
        if "move it away and run hae retrain" in last:
            database = place.home / "mlflow.db"
            database.replace(database.with_suffix(".damaged"))
        elif last.startswith("dvc.lock: "):
            (place.folder / "dvc.lock").unlink()
        else:
            break
    return [f"the clean retraining ended with {code}: {last}"]


@contextmanager
def ready(parent: Path, kept: Path | None = None) -> Iterator[tuple[Place, str]]:
    """A place where one retraining has been, and a Prefect server for those that need none of their own."""
    port = free_port()
    server = f"http://127.0.0.1:{port}/api"
    start = "from pipelines.processes import end_with_parent; end_with_parent(); from prefect.cli import app; app()"
    with mounted(parent / "disk"), mounted(parent / "server", 500):
        environment = {"PREFECT_HOME": str(parent / "server"), "PREFECT_API_URL": server, "DO_NOT_TRACK": "true",
                       "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        with open(parent / "server.log", "w") as log:
            command = [sys.executable, "-c", start, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
            child = subprocess.Popen(command, env=_environment() | environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            assert wait_until(lambda: _answers(server), 300), (parent / "server.log").read_text()
            yield begin(parent, server), server
        finally:
            child.terminate()
            child.wait()
            Place(parent / "disk" / "project").end()


def begin(parent: Path, server: str) -> Place:
    """A fresh place, trained once."""
    shutil.rmtree(parent / "disk" / "project", ignore_errors=True)
    place = make(parent / "disk" / "project", server)
    code, said = place.retrain()
    assert code == 0, said
    return place


def _environment() -> dict[str, str]:
    import os

    from pipelines import processes

    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {"HAE_PARENT": processes.identity()}


def _answers(server: str) -> bool:
    try:
        return httpx.get(f"{server}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def remember(record: Path, seen: list[Survived]) -> None:
    """Add to the record: counts by kind, and each fault that was not survived. One that came too late was none."""
    before = json.loads(record.read_text()) if record.exists() else {"faults": {}, "seconds": 0, "failed": []}
    for one in (one for one in seen if not one.words.startswith(LATE)):
        counts = before["faults"].setdefault(one.kind, {"done": 0, "survived": 0})
        counts["done"] += 1
        counts["survived"] += not one.wrong
    before["failed"] += [{"kind": one.kind, "seed": one.seed, "words": one.words, "wrong": list(one.wrong)} for one in seen if one.wrong]
    before["seconds"] = round(before["seconds"] + sum(one.seconds for one in seen))
    before["faults"] = dict(sorted(before["faults"].items()))
    write_json(record, before)


def rarest(kinds: tuple[str, ...], record: Path | None, seen: list[Survived]) -> tuple[str]:
    """Of these kinds, the one that was done least often: in the record, or seen in this run too late to count."""
    known = json.loads(record.read_text())["faults"] if record and record.exists() else {}
    late = Counter(one.kind for one in seen if one.words.startswith(LATE) or not record)
    return (min(kinds, key=lambda kind: known.get(kind, {"done": 0})["done"] + late[kind]),)


def table(record: dict) -> str:
    """The record as docs/reliability.md shows it."""
    counts = {kind: (one["done"], one["survived"]) for kind, one in record["faults"].items()}
    done, survived = (sum(column) for column in zip(*counts.values()))
    lines = [f"| {kind} | {one} | {two} |" for kind, (one, two) in counts.items()]
    return "\n".join(["| fault | done | survived |", "|---|---|---|", *lines, f"| **all** | {done} | {survived} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow it")
    parser.add_argument("--kind", action="append", choices=FAULTS, help="these alone")
    parser.add_argument("--rarest", action="store_true", help="of these the kind that the record has least often, each time")
    parser.add_argument("--record", type=Path, help="where counts are added")
    parser.add_argument("--keep", type=Path, help="where the project is copied to after a fault that was not survived")
    parser.add_argument("--show", type=Path, metavar="RECORD", help="only print the table of a record")
    given = parser.parse_args()
    if given.show:
        print(table(json.loads(given.show.read_text())))
        return
    import mlflow  # noqa: F401  # once, for the looks
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seen: list[Survived] = []
    with tempfile.TemporaryDirectory(prefix="hae-soak-") as folder, ready(Path(folder)) as (place, server):
        for seed in range(given.seed, given.seed + given.faults):
            kinds = tuple(given.kind or FAULTS)
            for one in soak(place, range(seed, seed + 1), rarest(kinds, given.record, seen) if given.rarest else kinds):
                print(one, flush=True)
                seen.append(one)
                if one.wrong and given.keep:
                    shutil.copytree(place.folder, given.keep / str(seed), symlinks=True, dirs_exist_ok=True)
                    shutil.copy(place.log, given.keep / f"{seed}.txt")
                if one.wrong:  # the next begins anew
                    place.end()
                    place = begin(Path(folder), server)
                if given.record:
                    remember(given.record, [one])
    print(f"{sum(not one.wrong for one in seen)} of {len(seen)} survived in {sum(one.seconds for one in seen):.0f} s")
    sys.exit(any(one.wrong for one in seen))


if __name__ == "__main__":
    main()
