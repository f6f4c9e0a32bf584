"""What commands share: the project of a call, and lines for the person at the terminal."""

import logging
from pathlib import Path

import click

from pipelines import settings
from pipelines.masking import masked

__all__ = ["project_here", "say"]


def say(line: str) -> None:
    """A line on the terminal, and in the log file where one is kept."""
    click.echo(masked(line))
    logging.getLogger("hae").info("%s", line)


def project_here() -> Path:
    """The project of this call, with the environment of the tools set."""
    project = settings.project(click.get_current_context().obj)
    settings.prepare_environment(project)
    return project
