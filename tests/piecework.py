"""Functions of parts for tests of engines: what other processes work on has to be in a module that they can import."""

import os
import time
from pathlib import Path

from hae.errors import BadInput

__all__ = ["begin", "die", "die_once", "fail", "refuse", "slowly", "who"]


def who(part: int) -> tuple[int, int, str]:
    """The part, the process that worked on it, and where."""
    return part, os.getpid(), os.getcwd()


def slowly(part: int) -> tuple[int, int, str]:
    time.sleep(0.3)
    return who(part)


def die(tried: str) -> None:
    """kill -9 of its own process, a letter in the file `tried` each time."""
    with open(tried, "a") as file:
        file.write("x")
    os.kill(os.getpid(), 9)


def die_once(tried: str) -> int:
    """As `die` where nobody has tried yet; then the process that did the part."""
    if not Path(tried).exists():
        die(tried)
    return os.getpid()


def fail(tried: str) -> None:
    with open(tried, "a") as file:
        file.write("x")
    raise OSError("the disk\nis tired")


def refuse(tried: str) -> None:
    """BadInput, sooner the later the part."""
    time.sleep(0.3 if tried.endswith("0") else 0)
    with open(tried, "a") as file:
        file.write("x")
    raise BadInput(f"{tried}: no good")


def begin(begun: str) -> None:
    """Say who works, and work for long."""
    Path(begun).write_text(str(os.getpid()))
    time.sleep(600)
