"""What can go wrong with a place where nobody works: records, caches, results and locks, each lost, spoilt or moved by hand."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.soak.faults import FAULTS, fault
from tests.soak.place import Place

__all__ = ["FAULTS"]  # all kinds, with these


@contextmanager
def records(place: Place) -> Iterator[sqlite3.Connection]:
    """MLflow's database, to be written in by hand."""
    with closing(sqlite3.connect(place.home / "mlflow.db", timeout=60)) as connection:
        yield connection
        connection.commit()


@fault("an alias deleted")
def alias(place: Place, draw: random.Random) -> str:
    with records(place) as database:
        there = [name for (name,) in database.execute("select alias from registered_model_aliases")]
        name = draw.choice(there)
        database.execute("delete from registered_model_aliases where alias = ?", (name,))
    return name


@fault("an alias moved to a version that is gone")
def astray(place: Place, draw: random.Random) -> str:
    with records(place) as database:
        database.execute("update registered_model_aliases set version = 9999 where alias = 'champion'")
    return "champion"


@fault("a version deleted")
def version(place: Place, draw: random.Random) -> str:
    with records(place) as database:
        there = [number for (number,) in database.execute("select version from model_versions where current_stage != 'Deleted_Internal'")]
        number = draw.choice([there[-1], draw.choice(there)])
        for table in ("model_version_tags", "registered_model_aliases", "model_versions"):
            database.execute(f"delete from {table} where version = ?", (number,))
    return f"version {number}, the newest" if number == there[-1] else f"version {number}"


@fault("a run deleted")
def run(place: Place, draw: random.Random) -> str:
    with records(place) as database:
        there = [name for (name,) in database.execute("select run_uuid from runs where lifecycle_stage = 'active'")]
        database.execute("update runs set lifecycle_stage = 'deleted' where run_uuid = ?", (draw.choice(there),))
    return "one of them"


@fault("artifacts deleted")
def artifacts(place: Place, draw: random.Random) -> str:
    root = place.home / "artifacts"
    folder = draw.choice((root, draw.choice([path for path in root.rglob("*") if path.is_dir()])))
    shutil.rmtree(folder)
    return "all" if folder == root else "a folder"


@fault("an artifact altered")
def altered(place: Place, draw: random.Random) -> str:
    file = draw.choice([path for path in (place.home / "artifacts").rglob("*") if path.is_file()])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] + b"?")
    return file.name


@fault("DVC's cache deleted")
def cache(place: Place, draw: random.Random) -> str:
    root = place.folder / ".dvc" / "cache"
    how = draw.choice(("all", "the files", "the runs", "one file"))
    if how == "one file":
        file = draw.choice([path for path in root.rglob("*") if path.is_file()])
        file.parent.chmod(0o755)
        file.unlink()
    else:
        shutil.rmtree({"all": root, "the files": root / "files", "the runs": root / "runs"}[how], ignore_errors=True)
    return how


@fault("an object of DVC's cache damaged")
def rotten(place: Place, draw: random.Random) -> str:
    file = draw.choice([path for path in (place.folder / ".dvc/cache/files").rglob("*") if path.is_file()])
    file.chmod(0o644)
    file.write_bytes(b"rotten")
    return file.suffix or "a file"


@fault("results deleted")
def results(place: Place, draw: random.Random) -> str:
    name = draw.choice(("models", "models/collective", "results", "results/variants", "data/prepared", "results/report.html", ".dvc/tmp",
                        "models/collective/model.json"))
    path = place.folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return name


@fault("dvc.lock lost or spoilt")
def lock(place: Place, draw: random.Random) -> str:
    path = place.folder / "dvc.lock"
    text, how = path.read_text(), draw.choice(("lost", "conflict marks", "cut", "empty", "garbage"))
    half_way = text.index("\n", len(text) // 2) + 1
    content = {"conflict marks": f"{text[:half_way]}<<<<<<< HEAD\n{text[half_way:]}=======\n{text[half_way:]}>>>>>>> other\n",
               "cut": text[: draw.randrange(1, len(text))], "empty": "", "garbage": "\0\1\2: ["}
    path.unlink() if how == "lost" else path.write_text(content[how])
    return how


@fault("MLflow's database spoilt")
def garbage(place: Place, draw: random.Random) -> str:
    path, how = place.home / "mlflow.db", draw.choice(("lost", "empty", "garbage", "cut", "pages"))
    content = path.read_bytes()
    pages = bytearray(content)
    start = draw.randrange(4096, len(pages) - 8192)
    pages[start : start + 8192] = os.urandom(8192)
    after = {"empty": b"", "garbage": os.urandom(50_000), "cut": content[: len(content) // 2], "pages": bytes(pages)}
    path.unlink() if how == "lost" else path.write_bytes(after[how])
    return how


@fault("a file of .hae lost or torn")
def kept(place: Place, draw: random.Random) -> str:
    names = ["registry.json", "retrainings.jsonl", "prefect-auth", "prefect", "copies", "checkpoints", "logs", "mlflow.db.lock", "reading",
             "told.json", "drift.jsonl"]
    path = place.home / draw.choice([name for name in names if (place.home / name).exists()])
    if path.is_dir():
        shutil.rmtree(path)
        return path.name
    how = draw.choice(("lost", "torn", "empty"))
    path.unlink() if how == "lost" else path.write_bytes(b"" if how == "empty" else path.read_bytes()[: path.stat().st_size // 2])
    return f"{path.name} {how}"


@fault("stale locks of living strangers")
def stale(place: Place, draw: random.Random) -> str:
    """The names of a living process on every lock, none of which it holds."""
    stranger = os.getppid()
    (place.home / "lock.holder").write_text(f"process {stranger} since 2026-01-01 00:00:00: hae retrain\n")
    (place.home / "mlflow.db.lock").touch()
    (place.home / "prefect").mkdir(parents=True, exist_ok=True)
    (place.home / "prefect" / "run").write_text("not a run" if draw.random() < 0.5 else "00000000-0000-4000-8000-000000000000")
    temporary = place.folder / ".dvc" / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    held = f'{{"write": {{"{place.folder}/models/collective": {{"pid": {stranger}, "cmd": "/usr/bin/dvc repro"}}}}, "read": {{}}}}'
    (temporary / "rwlock").write_text(held)
    (temporary / "lock").touch()
    return "with work to do: " + place.new_work(draw)


@fault("nothing at all, and new work")
def nothing(place: Place, draw: random.Random) -> str:
    return place.new_work(draw)
