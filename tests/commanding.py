"""The command hae in this process, for tests of what it says and not of how it starts: a process of its own imports for seconds."""

import io
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click

from pipelines import cli, output

__all__ = ["Told", "hae"]


@dataclass(frozen=True)
class Told:
    """As of subprocess.run."""

    returncode: int
    stdout: str
    stderr: str


def hae(*arguments: str, folder: Path) -> Told:
    """Run the command with these arguments in a folder, and leave the environment as it was."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with mock.patch.dict(os.environ), chdir(folder), redirect_stdout(out), redirect_stderr(err):
        try:
            with output.refusals():
                cli.hae(list(arguments), standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
        except click.ClickException as error:
            error.show()
            code = 2
    return Told(code, out.getvalue(), err.getvalue())
