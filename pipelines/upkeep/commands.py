"""The command hae copy. What it needs is imported when it is called."""

from __future__ import annotations

import click

from pipelines.terminal import project_here, say

__all__ = ["COMMANDS"]


@click.command()
@click.argument("version")
@click.option("--to", required=True, metavar="URI", help="Address of MLflow: sqlite:///FILE, https://HOST, postgresql://...")
@click.option("--name", metavar="NAME", help="Name of the model there; default: its own.")
def copy(version: str, to: str, name: str | None) -> None:
    """Copy VERSION, a number or an alias, with its receipt into another registry."""
    project = project_here()
    from pipelines.record.elsewhere import copy as write

    say(str(write(project, version, to, name)))


COMMANDS = (copy,)
