"""A process that has imported what stages import, and forks them: imports are paid once a retraining, not once a stage.

DVC, torch and scikit-learn take seconds to import, and a retraining runs DVC and a stage some ten times each. `Warm` is the side of whoever
starts them; this module, run by itself, is the process. Of hae nothing that a stage depends on is imported before the fork, so a
stage runs the code that lies there when it starts, which is the code that DVC records. A fork has the process group that a process
started anew would have, its name in `ps` and its exit code; whatever goes wrong here, the stage is started anew instead.

Requests go over a socket that keeps messages apart, with the file descriptors for output and for the answer: a pid, then an exit code.
"""

import importlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any, NoReturn

__all__ = ["AVAILABLE", "Forked", "Warm"]

AVAILABLE = sys.platform == "linux"  # elsewhere a fork is not safe once such packages are imported, or the sockets are missing
IMPORTED = ("dvc.cli", "dvc.commands.repro", "dvc.repo.reproduce", "dvc.stage.run", "torch", "torch._dynamo", "sklearn.base", "scipy.stats",
            "scipy.sparse.csgraph", "pandas", "pyarrow.parquet", "matplotlib.figure", "safetensors.torch", "pydantic", "ruamel.yaml",
            "jinja2", "tqdm")
PATIENCE = 60.0  # seconds for the imports and a first answer
LARGEST = 200_000  # bytes of a request
# The command of a stage of ours; one with anything that is a shell's matter (&&, $, quotes) is left to the shell.
STAGE = re.compile(r"python -m (pipelines\.stages\.\w+)((?: [\w@%+=:,./-]+)*)")
TITLES = {"SPT_NOENV": "1"}  # setproctitle leaves the environment alone, by which what is left of a killed retraining is known
# The last argument of the process, for who reads `ps`. Names of forks are written over it, so it is no shorter than they are.
WORDS = "has imported what the stages of this retraining need, and runs each of them, and DVC around it, as a fork of itself"


class Forked:
    """A process that was forked for us, with what is needed of subprocess.Popen.

    pid: also its process group.
    """

    def __init__(self, pid: int, answer: socket.socket) -> None:
        self.pid, self._answer, self._lock = pid, answer, threading.Lock()
        self._code: int | None = None
        try:
            self._end = os.pidfd_open(pid)
        except ProcessLookupError:  # ended and waited for
            self._end = -1

    def wait(self) -> int:
        """Its exit code, minus a signal's number where one ended it. The end is seen here: who forked it might be stopped or dead."""
        with self._lock:
            if self._code is None:
                waits: list[Any] = [self._answer] if self._end < 0 else [self._answer, self._end]
                if self._answer not in select.select(waits, [], [])[0]:
                    select.select([self._answer], [], [], 5.0)
                self._answer.setblocking(False)
                with suppress(OSError, ValueError):
                    self._code = int(self._answer.recv(32))
                if self._code is None:
                    self._code = -signal.SIGKILL
                self._answer.close()
                if self._end >= 0:
                    os.close(self._end)
            return self._code


class Warm:
    """Starts the process, in a session of its own; it ends with whoever started it, and what it forked too."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.warm", str(theirs.fileno()), WORDS], cwd=folder, env={**environment, **TITLES},
                start_new_session=True, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        self.pid = self._process.pid

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fork(self, command: Sequence[str], folder: Path, out: int) -> Forked:
        """Run `dvc` with arguments in a folder; what it says goes to this file descriptor. Raises OSError where that can't be done here."""
        pid, answer = _ask(self._requests, {"what": command[0], "arguments": list(command[1:]), "folder": str(folder)}, [out, out])
        return Forked(pid, answer)

    def close(self) -> None:
        """End it and what it forked."""
        self._requests.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _ask(requests: socket.socket, request: dict[str, Any], outputs: list[int]) -> tuple[int, socket.socket]:
    """The pid of a new fork, and the socket from which its exit code will come. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        message = json.dumps(request).encode()
        if len(message) > LARGEST:
            raise OSError("an environment that is too large to hand over")
        socket.send_fds(requests, [message], [*outputs, theirs.fileno()])
    ours.settimeout(PATIENCE)
    try:
        pid = int(ours.recv(32))
    except (OSError, ValueError) as error:
        ours.close()
        raise OSError("no answer") from error
    ours.settimeout(None)
    return pid, ours


class _Server:
    """The process itself: one thread, which forks, and tells exit codes."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.inside, self.inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # `inner`: of forks, which ask for others
        self.events = DefaultSelector()
        for requests in (self.control, self.inside):
            self.events.register(requests, EVENT_READ, lambda requests=requests: self._request(requests))
        self.forks: dict[BaseProcess, tuple[int, socket.socket]] = {}

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self.events.select():
                key.data()

    def _request(self, requests: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(requests, LARGEST + 1000, 3)
        if not message:  # whoever started us is gone
            self._end()
        *outputs, answer = descriptors
        request = json.loads(message)
        process = get_context("fork").Process(target=self._become, args=(request, outputs))  # type: ignore[attr-defined]
        process.start()
        assert process.pid is not None  # it has started
        for descriptor in outputs:
            os.close(descriptor)
        group: int = request.get("group") or process.pid
        with suppress(OSError):
            os.setpgid(process.pid, group)  # here and in the fork: whoever is first
        self.forks[process] = group, socket.socket(fileno=answer)
        self._tell(process, process.pid)
        self.events.register(process.sentinel, EVENT_READ, lambda: self._ended(process))

    def _ended(self, process: BaseProcess) -> None:
        self.events.unregister(process.sentinel)
        process.join()
        self._tell(process, process.exitcode)
        self.forks.pop(process)[1].close()
        process.close()

    def _tell(self, process: BaseProcess, number: int | None) -> None:
        with suppress(OSError):  # nobody waits for it any more
            self.forks[process][1].send(str(number).encode())

    def _end(self) -> NoReturn:
        for group, _ in self.forks.values():
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        os._exit(0)

    def _become(self, request: dict[str, Any], outputs: list[int]) -> None:
        """In the fork: be DVC, or a stage."""
        from setproctitle import setproctitle

        with suppress(OSError):
            os.setpgid(0, request.get("group", 0))
        for descriptor, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, descriptor)
        for descriptor in outputs:
            os.close(descriptor)
        self.control.close()
        self.inside.close()
        for _, answer in self.forks.values():
            answer.close()
        setproctitle(shlex.join(["python", "-m", request["what"], *request["arguments"]]))
        if "environment" in request:
            os.environ.clear()
            os.environ.update(request["environment"])
        os.chdir(request["folder"])
        what, arguments = request["what"], request["arguments"]
        sys.argv = [what, *arguments]
        if what == "dvc":
            _dvc(self.inner, arguments)
        else:
            self.inner.close()
            importlib.import_module(what).main()


def _dvc(requests: socket.socket, arguments: list[str]) -> None:
    """Run DVC, whose stages are forks of the process that this is a fork of."""
    from dvc.cli import main
    from dvc.stage import run

    run._run = _stage_runner(requests, run._run)
    sys.exit(main(arguments))


def _stage_runner(requests: socket.socket, anew: Callable[..., None]) -> Callable[..., None]:
    """What DVC runs a stage's command with: a fork where the command is one of our stages, else `anew`, DVC's own way."""
    from dvc.stage.exceptions import StageCmdFailedError

    def run(executable: str | None, cmd: str, **options: Any) -> None:
        ours = STAGE.fullmatch(cmd.strip())
        if ours is None:
            return anew(executable, cmd, **options)
        request = {"what": ours[1], "arguments": ours[2].split(), "folder": str(options["cwd"]), "environment": options["env"],
                   "group": os.getpgrp()}
        try:
            pid, answer = _ask(requests, request, [1, 2])
        except OSError:
            return anew(executable, cmd, **options)
        if code := Forked(pid, answer).wait():
            raise StageCmdFailedError(cmd, code)

    return run


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        with suppress(ImportError):
            importlib.import_module(name)
    _Server(control).serve()


if __name__ == "__main__":
    main()
