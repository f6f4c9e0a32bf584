"""The stages: each a function from files and its own section of params.yaml to files."""

import inspect
import os
import sys
from collections.abc import Callable

from hae.errors import BadInput
from pipelines import output, processes, settings

__all__ = ["run_stage"]

# Stages run side by side and their networks are small: threads of one would only wait for those of another. Said here since
# NumPy and torch read it once, when a stage imports them.
os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("HAE_THREADS", "1"))


def run_stage(stage: Callable[..., object]) -> None:
    """Run a stage, in the project folder: `python -m pipelines.stages.train boosted` calls train("boosted").

    What people can put right (BadInput, a file that can't be read or written) is one line on stderr, exit code 2.
    """
    processes.end_with_parent()
    output.guard_output()
    try:
        with output.refusals():
            os.chdir(settings.project())
            settings.prepare_environment()
            _check(stage)
            stage(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)


def _check(stage: Callable[..., object]) -> None:
    try:
        inspect.signature(stage).bind(*sys.argv[1:])
    except TypeError as error:
        raise BadInput(f"{stage.__name__}: {error}; allowed: {stage.__name__}{inspect.signature(stage)}") from None
