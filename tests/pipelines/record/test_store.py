"""The store: asked for damage once a retraining, copied once a day, and made again of its copy."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from pipelines.record import backup, recording, registry, store
from pipelines.record.store import opened


def test_a_database_is_checked_by_the_record_and_not_by_every_look(trained, monkeypatch):
    asked, connect = [], sqlite3.connect

    def counted(*arguments, **named):
        connection = connect(*arguments, **named)
        connection.set_trace_callback(lambda statement: asked.append(statement) if "check" in statement else None)
        return connection

    monkeypatch.setattr(store.sqlite3, "connect", counted)
    opened(trained.folder)
    registry.status(trained.folder)
    assert asked == []
    recording.record(trained.folder, trained.facts("collective"), "first")
    recording.complete(trained.folder, trained.facts("collective"))
    assert [statement for statement in asked if "_check" in statement] == ["pragma quick_check(1)"]


def test_the_log_of_a_lost_database_is_never_beside_its_copy(tmp_path, monkeypatch):
    """Whenever the way back is ended: sqlite would apply the log to the copy."""
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "mlflow-2020-01-01.db").write_bytes(b"copy")
    database, log = tmp_path / "mlflow.db", tmp_path / "mlflow.db-wal"
    log.write_bytes(b"log")
    seen, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda *of: (seen.append(log.exists()), replace(*of)))
    assert backup.take_copy_back(database, tmp_path) == "mlflow-2020-01-01.db"
    assert seen == [False] and database.read_bytes() == b"copy"


def test_a_database_is_copied_once_a_day_and_two_copies_stay(bare, monkeypatch):
    found = opened(bare)
    backup.copy_database(found.own_database, found.home)
    first, = (found.home / "copies").iterdir()
    before = first.stat().st_mtime_ns
    backup.copy_database(found.own_database, found.home)
    assert first.stat().st_mtime_ns == before
    for day in ("2020-01-01", "2020-01-02"):
        first.with_name(f"mlflow-{day}.db").write_bytes(b"")
    first.rename(first.with_name("mlflow-2020-01-03.db"))
    backup.copy_database(found.own_database, found.home)
    names = sorted(path.name for path in (found.home / "copies").iterdir())
    assert len(names) == 2 and names[0] == "mlflow-2020-01-03.db"


def test_a_lost_database_is_made_again_of_its_copy_and_a_copy_is_never_half_written(bare):
    found = opened(bare)
    found.client.create_registered_model("of yesterday")
    backup.copy_database(found.own_database, found.home)
    found.own_database.unlink()
    script = "import sys, pathlib; from pipelines.record.store import opened\n" \
             "print([model.name for model in opened(pathlib.Path.cwd()).client.search_registered_models()])"
    done = subprocess.run([sys.executable, "-c", script], cwd=bare, capture_output=True, text=True)
    assert done.stdout.strip() == "['of yesterday']", done.stderr
    with closing(sqlite3.connect(found.own_database)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_no_password_of_a_server_is_in_a_file_s_name_and_each_server_has_its_own(tmp_path):
    for uri in ("http://user:SECRET@host:5000", "http://host:5000", "http://other:5000", f"sqlite:///{tmp_path}/mlflow.db"):
        backup.keep(tmp_path, uri, {"of": uri.replace("user:SECRET@", "")})
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 3 and "registry.json" in names and not any("SECRET" in name for name in names)
    assert backup.kept(tmp_path, "http://host:5000") == {"of": "http://host:5000"}
