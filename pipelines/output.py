"""What leaves a process: logs and tracebacks without secrets, and a refusal in one line."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from hae.errors import BadInput
from pipelines.settings import masked

__all__ = ["guard_output", "refusals", "refuse"]

def guard_output() -> None:
    """From here on, logs and tracebacks of this process are masked, whoever writes them."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def record(*arguments, **options) -> logging.LogRecord:
        made = make(*arguments, **options)
        try:
            text = made.getMessage()
        except Exception:  # a log line that is wrong in itself is logging's to report
            return made
        if (clean := masked(text)) != text:
            made.msg, made.args = clean, ()
        if made.exc_info and made.exc_info[0]:
            made.exc_text = masked("".join(traceback.format_exception(*made.exc_info)).rstrip())
        return made

    record.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
    sys.excepthook = lambda *error: print(masked("".join(traceback.format_exception(*error))), end="", file=sys.stderr)
    threading.excepthook = lambda fault: sys.excepthook(fault.exc_type, fault.exc_value, fault.exc_traceback)  # type: ignore[arg-type]


def refuse(message: str) -> NoReturn:
    """End this process with exit code 2 and one line on stderr."""
    print(" ".join(masked(message).split()), file=sys.stderr, flush=True)
    sys.exit(2)


@contextmanager
def refusals() -> Iterator[None]:
    """What people can put right (BadInput, a file that can't be read or written) ends the process in one line."""
    try:
        yield
    except BadInput as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
