"""The stages: each a function from files and its own section of params.yaml to files."""

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable

import psutil

from hae.errors import BadInput
from pipelines import settings

__all__ = ["run_stage"]


def run_stage(stage: Callable[..., object]) -> None:
    """Run a stage, in the project folder: `python -m pipelines.stages.train boosted` calls train("boosted").

    What people can put right (BadInput, a file that can't be read or written) is one line on stderr, exit code 2.
    """
    _end_with_flow()
    try:
        os.chdir(settings.project())
        settings.prepare_environment()
        inspect.signature(stage).bind(*sys.argv[1:])
    except TypeError as error:
        _refuse(f"{stage.__name__}: {error}; allowed: {stage.__name__}{inspect.signature(stage)}")
    except BadInput as error:
        _refuse(str(error))
    try:
        stage(*sys.argv[1:])
    except BadInput as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr, flush=True)
    sys.exit(2)


def _end_with_flow(seconds: float = 1.0) -> None:
    """End this process group once the flow that started it is gone; kill -9 of the flow tells nobody else.

    The flow names itself in HAE_PARENT as "pid start-time"; a number alone could by then belong to another process.
    """
    parent = os.environ.get("HAE_PARENT")
    if not parent:
        return
    pid, started = parent.split()

    def alive(process: psutil.Process) -> bool:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

    def watch() -> None:
        pause = threading.Event()
        try:
            process = psutil.Process(int(pid))
            while abs(process.create_time() - float(started)) < 2 and alive(process):
                pause.wait(seconds)
        except psutil.NoSuchProcess:
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-flow", daemon=True).start()
