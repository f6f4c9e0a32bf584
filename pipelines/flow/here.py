"""The flow in this process: what `hae retrain` runs."""

import logging
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hae.errors import BadInput
from pipelines import processes, settings
from pipelines.flow import retraining, server

if TYPE_CHECKING:
    from pipelines.gate.outcome import Outcome

__all__ = ["retrain"]


def retrain(project: Path, promotes: bool, stale: bool) -> "Outcome":
    """Run the flow in this process, on a server of its own where none is named. stale: whether stages have to run.

    Raises BadInput with the one line of a flow that failed, or of a Prefect that doesn't answer.
    """
    server.check_proxies()
    os.environ["HAE_PARENT"] = processes.identity()

    def meanwhile() -> None:
        """What takes seconds and needs no server."""
        if stale:
            processes.warm_up(project)
        import_module("pipelines.flow.flows")

    with processes.children():
        if not os.environ.get("PREFECT_API_URL"):
            settings.close_door(project)
            server.temporary(project, meanwhile)
        from pipelines.flow import flows

        try:
            state = flows.retrain(promotes, return_state=True)
            if state.is_completed():
                return state.result()  # type: ignore[return-value]  # a completed flow gives its outcome
        except Exception as error:  # of Prefect itself: what the flow raises is in its state
            logging.raiseExceptions = False  # Prefect's last logs go to the same server at exit: each would say so behind our line
            retraining.room(project)
            first = next(iter(str(error).strip().splitlines()), "")
            raise BadInput(f"Prefect: its server does not start or no longer answers ({type(error).__name__}: {first}); what was "
                           "finished is kept; allowed: hae retrain again") from error
    raise BadInput(state.message or f"the flow ended as {state.name}")
