"""What leaves a process: logs and tracebacks without secrets, and a refusal in one line."""

import errno
import html
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import NoReturn

from hae.errors import BadInput
from pipelines.masking import masked

__all__ = ["as_markdown", "guard_output", "in_a_line", "log_to", "refusals", "refuse"]

MARKUP = re.compile(r"([\\`*_\[\]#|~$])")


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


class _Log(RotatingFileHandler):
    """A log that can't be written, as on a full disk, is no reason to say anything else than what was to be said."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def log_to(path: Path) -> None:
    """From here on, what this process logs goes to a file too; five of 2 MB stay. What Prefect and hae say counts, each line once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _Log(path, maxBytes=2_000_000, backupCount=4, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s  %(levelname)-7s  %(message)s"))
    for name in ("hae", "prefect"):  # neither hands its lines on to the root
        logger = logging.getLogger(name)
        if not any(isinstance(other, RotatingFileHandler) and other.baseFilename == file.baseFilename for other in logger.handlers):
            logger.addHandler(file)
    logging.getLogger("hae").setLevel(logging.INFO)
    logging.getLogger("hae").propagate = False


def as_markdown(text: str) -> str:
    """The text so that a page that reads Markdown shows it as it is: a name from the data is no link, picture or markup there."""
    return MARKUP.sub(r"\\\1", html.escape(text, quote=False))


def refuse(message: str) -> NoReturn:
    """End this process with exit code 2 and one line on stderr."""
    line = " ".join(masked(message).split())
    print(line, file=sys.stderr, flush=True)
    if logging.getLogger("hae").handlers:
        logging.getLogger("hae").error("%s", line)
    sys.exit(2)


def in_a_line(error: OSError) -> str:
    """What the system said of a file or a disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk is full; what was finished is kept; allowed: the same command again once there is room"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


@contextmanager
def refusals() -> Iterator[None]:
    """What people can put right (BadInput, a file that can't be read or written) ends the process in one line."""
    try:
        yield
    except BadInput as error:
        refuse(str(error))
    except OSError as error:
        refuse(in_a_line(error))
