"""What commands share: the project of a call, and lines for the person at the terminal."""

import logging
import re
import shutil
import sys
import textwrap
from pathlib import Path

import click

from pipelines import settings
from pipelines.masking import masked

__all__ = ["folded", "project_here", "say"]


def say(line: str) -> None:
    """A line on the terminal, where a long one is folded, and in the log file where one is kept."""
    words = masked(line)
    click.echo(folded(words, shutil.get_terminal_size().columns) if sys.stdout.isatty() else words)
    logging.getLogger("hae").info("%s", line)


def folded(line: str, width: int) -> str:
    """A line no wider than `width`, where words allow it: what follows begins below the second column, or two letters in.

    Example: Several lines, as of a table, stay as they are.
        >>> print(folded("champion   version 2 (boosted): better by more than the interval", 44))
        champion   version 2 (boosted): better by
                   more than the interval
    """
    if "\n" in line.strip("\n"):
        return line
    columns = re.match(r"\n?((?:\w[\w ]{0,8}\w)? {2,})(?=\S)", line)
    return textwrap.fill(line, width, subsequent_indent=" " * (len(columns[1]) if columns else 2), break_long_words=False,
                         break_on_hyphens=False, replace_whitespace=False)


def project_here() -> Path:
    """The project of this call, with the environment of the tools set."""
    project = settings.project(click.get_current_context().obj)
    settings.prepare_environment(project)
    return project
