"""Tell people: by any address of apprise, each in an environment variable, or by a command. It never stops what it tells about."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hae.errors import BadInput
from hae.files import write_json
from pipelines import params, settings
from pipelines.masking import masked
from pipelines.sections import Event, Notify

__all__ = ["check_disk", "ended", "tell", "test"]

AGAIN = 24 * 3600.0  # seconds after which the same words are told again
ONCE = ("held", "failed", "drift", "silence", "disk")  # events that say the same night after night
_told: dict[tuple[str, str], tuple[str, float]] = {}  # what this process told: a disk that is full keeps nothing
QUIET = ("nothing new", "nominated", "interrupted")  # endings of a retraining that are nobody's news


def tell(project: Path, event: Event, text: str) -> list[str]:
    """Tell of an event whoever params.yaml names, unless the same was told within a day: what went wrong with it, in lines.

    Never raises, and takes no longer than `notify.seconds`: a retraining waits for nobody.
    """
    try:
        wanted = params.load(project / "params.yaml").notify
        if event not in wanted.events or not (wanted.targets or wanted.command) or _is_old(project, event, text):
            return []
        faults = _send(project, wanted, event, masked(text))
        if len(faults) < _number(wanted):  # what reached nobody is news the next time
            _keep(project, event, text)
    except (BadInput, OSError) as error:
        faults = [masked(str(error))]
    for fault in faults:
        logging.getLogger("hae.notify").warning("notify: %s", fault)
    return faults


def ended(project: Path, ending: str) -> None:
    """Tell how a retraining ended, from its line in the history ("held: ...", "promoted: ...", or what stopped it)."""
    word = ending.partition(":")[0]
    if word not in QUIET:
        tell(project, word if word in ("promoted", "held", "failed", "rolled back") else "failed", ending)  # type: ignore[arg-type]
    check_disk(project)


def check_disk(project: Path) -> None:
    """Tell when the disk is nearly full."""
    with suppress(BadInput, OSError):
        least, free = params.load(project / "params.yaml").notify.disk_free_gb, shutil.disk_usage(project).free / 1e9
        if free < least:
            tell(project, "disk", f"less than {least:g} GB are free for {project}; hae clean --keep 5 makes room")


def test(project: Path) -> tuple[int, list[str]]:
    """Send a word to every target, whatever the events: how many there are, and what went wrong.

    Raises BadInput where params.yaml names nobody.
    """
    wanted = params.load(project / "params.yaml").notify
    number = _number(wanted)
    if not number:
        raise BadInput("params.yaml: notify: no targets and no command; allowed: names of environment variables with addresses of apprise")
    return number, _send(project, wanted, "test", f"a test of hae notify, for {project}")


def _number(wanted: Notify) -> int:
    """How many there are to tell."""
    return len(wanted.targets) + (wanted.command is not None)


def _is_old(project: Path, event: str, text: str) -> bool:
    """Whether the same was told within a day, by whichever process."""
    last = _before(project).get(event, {})
    told = (_told.get((str(project), event), ("", 0.0)), (last.get("text"), last.get("at", 0)))
    return event in ONCE and any(words == text and 0 <= time.time() - at < AGAIN for words, at in told)


def _keep(project: Path, event: str, text: str) -> None:
    _told[str(project), event] = text, time.time()
    with suppress(BadInput, OSError):  # of a disk that is full, which is what there is to tell
        write_json(_file(project), _before(project) | {event: {"text": text, "at": time.time()}})


def _before(project: Path) -> dict:
    try:
        return json.loads(_file(project).read_text())
    except (OSError, ValueError):
        return {}


def _file(project: Path) -> Path:
    return settings.home(project) / "told.json"


def _send(project: Path, wanted: Notify, event: str, text: str) -> list[str]:
    """To all side by side; whoever is not done in time is left behind."""
    title = f"hae {project.name}: {event}"
    jobs: dict[str, Callable[[], str]] = {name: lambda name=name: _to_address(name, title, text) for name in wanted.targets}  # type: ignore[misc]
    if wanted.command:
        command = wanted.command
        jobs["command"] = lambda: _to_command(command, project, event, f"{title}: {text}", wanted.seconds)
    answers = {name: f"{name}: no answer in {wanted.seconds:g} s" for name in jobs}

    def work(name: str) -> None:
        try:
            answers[name] = jobs[name]()
        except Exception as error:  # of any of a hundred services
            answers[name] = f"{name}: {type(error).__name__}"  # no more than its name: what it says may hold the address

    threads = [threading.Thread(target=work, args=(name,), name=f"notify {name}", daemon=True) for name in jobs]
    deadline = time.monotonic() + wanted.seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return [answer for answer in list(answers.values()) if answer]


def _to_address(name: str, title: str, text: str) -> str:
    address = os.environ.get(name, "").strip()
    if not address:
        return f"{name}: not set in the environment"
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses
    service = apprise.Apprise()
    if not service.add(address):
        return f"{name}: it does not hold an address that apprise knows"
    return "" if service.notify(title=title, body=text) else f"{name}: its target did not take the message"


def _to_command(command: Sequence[str], project: Path, event: str, line: str, seconds: float) -> str:
    """The line on its standard input, the event in HAE_EVENT. Its group ends with it."""
    try:
        child = subprocess.Popen(command, cwd=project, env=os.environ | {"HAE_EVENT": event}, stdin=subprocess.PIPE, text=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        return f"command: {command[0]}: {error.strerror}"
    try:
        child.communicate(f"{line}\n", timeout=max(seconds - 0.5, 0.1))
    except subprocess.TimeoutExpired:
        return f"command: {command[0]}: not done in {seconds:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return f"command: {command[0]}: ended with {child.returncode}" if child.returncode else ""
