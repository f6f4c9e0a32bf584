"""hae notify: a real webhook on this machine gets each event once; a target that is down stops nothing, and no secret is shown."""

import json
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commanding import hae

from hae.errors import BadInput
from pipelines.flow import retraining
from pipelines.watch import notify


@pytest.fixture
def webhook():
    """(address, what it was sent, a list whose number is how long it takes to answer)."""
    got, slow = [], [0.0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(slow[0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://me:topsecret@127.0.0.1:{server.server_port}/hook", got, slow
    server.shutdown()


@pytest.fixture
def project(bare):
    def write(**values) -> Path:
        text = (bare / "params.yaml").read_text()
        section = "notify:\n" + "".join(f"  {name}: {json.dumps(value)}\n" for name, value in values.items())
        (bare / "params.yaml").write_text(text[: text.index("notify:")] + section)
        return bare

    return write


def test_each_event_reaches_the_webhook_once(project, webhook, monkeypatch):
    address, got, _ = webhook
    monkeypatch.setenv("HAE_HOOK", address)
    folder = project(targets=["HAE_HOOK"], events=["promoted", "held", "failed"])
    assert notify.tell(folder, "held", "level 1 is below the champion's") == []
    assert got[-1]["title"].endswith(": held") and got[-1]["message"] == "level 1 is below the champion's"
    notify.tell(folder, "held", "level 1 is below the champion's")
    assert len(got) == 1  # the same words night after night
    notify.tell(folder, "held", "another reason")
    notify.tell(folder, "promoted", "better")
    notify.tell(folder, "promoted", "better")
    notify.tell(folder, "disk", "full")  # not asked for
    assert [message["message"] for message in got] == ["level 1 is below the champion's", "another reason", "better", "better"]


@pytest.mark.parametrize(("ending", "event"), [
    ("promoted: level 1 explains more", "promoted"), ("held: no better", "held"), ("failed: the check was killed", "failed"),
    ("prepare: no frames for test", "failed"), ("nothing new: it is the champion", None), ("interrupted", None),
])
def test_the_line_in_the_history_is_what_is_told(project, webhook, monkeypatch, ending, event):
    address, got, _ = webhook
    monkeypatch.setenv("HAE_HOOK", address)
    folder = project(targets=["HAE_HOOK"], disk_free_gb=0.001)
    retraining.note(folder, datetime.now(UTC), [], f"{ending}: at http://me:hunter22@host/")
    assert retraining.notes(folder)[0]["ending"] == f"{ending}: at http://***@host/"
    told = [(message["title"].rpartition(": ")[2], message["message"]) for message in got]
    assert told == ([(event, f"{ending}: at http://***@host/")] if event else [])


def test_a_disk_that_is_nearly_full(project, webhook, monkeypatch):
    address, got, _ = webhook
    monkeypatch.setenv("HAE_HOOK", address)
    folder = project(targets=["HAE_HOOK"], disk_free_gb=1e9)
    notify.ended(folder, "nothing new")
    notify.ended(folder, "nothing new")
    assert [message["title"].rpartition(": ")[2] for message in got] == ["disk"]


def test_a_target_that_is_down_slow_or_wrong_stops_nothing(project, webhook, monkeypatch, caplog):
    address, got, slow = webhook
    slow[0] = 20.0
    for name, value in {"DOWN": "json://me:topsecret@127.0.0.1:9", "SLOW": address, "WRONG": "topsecret"}.items():
        monkeypatch.setenv(name, value)
    folder = project(targets=["DOWN", "SLOW", "WRONG", "MISSING"], seconds=2.0,
                     command=[sys.executable, "-c", "import time; time.sleep(60)"])
    begun = time.monotonic()
    faults = notify.tell(folder, "held", "no better")
    assert time.monotonic() - begun < 15
    assert [fault.partition(":")[0] for fault in faults] == ["DOWN", "SLOW", "WRONG", "MISSING", "command"]
    assert "topsecret" not in "".join(faults) + caplog.text and len(got) >= 1


def test_what_reached_nobody_is_told_the_next_time(project, webhook, monkeypatch):
    address, got, _ = webhook
    folder = project(targets=["HAE_HOOK"])
    monkeypatch.setenv("HAE_HOOK", "json://127.0.0.1:9")
    assert notify.tell(folder, "silence", "nothing has succeeded since then")
    monkeypatch.setenv("HAE_HOOK", address)
    for _ in range(2):
        assert notify.tell(folder, "silence", "nothing has succeeded since then") == []
    assert len(got) == 1


def test_a_full_disk_is_told_though_nothing_can_be_kept(project, webhook, monkeypatch):
    address, got, _ = webhook
    monkeypatch.setenv("HAE_HOOK", address)

    def full(path, content):
        raise BadInput(f"{path}: can't be written (No space left on device)")

    monkeypatch.setattr(notify, "write_json", full)
    folder = project(targets=["HAE_HOOK"])
    for _ in range(2):  # once by each process
        assert notify.tell(folder, "disk", "less than 2 GB are free") == []
    assert [message["message"] for message in got] == ["less than 2 GB are free"]


def test_a_command_of_ones_own(project):
    folder = project(command=[sys.executable, "-c", "import os, sys; open('told', 'w').write(os.environ['HAE_EVENT'] + sys.stdin.read())"])
    assert notify.tell(folder, "rolled back", "version 2 is rejected") == []
    assert (folder / "told").read_text() == f"rolled backhae {folder.name}: rolled back: version 2 is rejected\n"
    assert notify.tell(project(command=["no-such-program"]), "promoted", "x") == ["command: no-such-program: No such file or directory"]


def test_params_that_are_broken_are_no_reason_to_fail(project):
    folder = project(targets=[])
    (folder / "params.yaml").write_text("nonsense: [")
    assert notify.tell(folder, "failed", "x")[0].startswith(str(folder / "params.yaml"))


def test_an_address_in_params_is_refused(project):
    from pipelines import params

    with pytest.raises(BadInput, match=r"notify.targets\[0\]: .*allowed: a list of names of environment variables"):
        params.load(project(targets=["json://host"]) / "params.yaml")


def test_hae_notify_test_says_what_came_of_it(project, webhook, monkeypatch):
    address, got, _ = webhook
    monkeypatch.setenv("HAE_HOOK", address)

    def test(folder):
        return hae("notify", "--test", folder=folder)

    assert test(project(targets=[])).returncode == 2
    told = test(project(targets=["HAE_HOOK"]))
    assert told.returncode == 0 and told.stdout == "1 of 1 told\n" and got[-1]["title"].endswith(": test")
    told = test(project(targets=["HAE_HOOK", "HAE_NOT_SET"]))
    assert told.returncode == 1 and told.stdout == "HAE_NOT_SET: not set in the environment\n1 of 2 told\n"
