"""Retraining as a Prefect flow: the stale stages of dvc.yaml as tasks, wave by wave, then record, then promote."""

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed, Failed, State

from hae.errors import BadInput
from pipelines import locks, output, processes, settings
from pipelines.flow import cleaning, drifting, exploring, reading, retraining, server, versioning
from pipelines.gate import promotion
from pipelines.masking import masked
from pipelines.record import recording

if TYPE_CHECKING:
    from pipelines.gate.promotion import Outcome

__all__ = ["explore", "retrain"]

# What DVC says around a stage's own output, and nobody needs on the task's page.
CHATTER = ("Generating lock file", "Updating lock file", "To track the changes", "\tgit add", "To enable auto staging",
           "\tdvc config core.autostage", "Use `dvc push`")
FAILED = "ERROR: failed to reproduce"
ANNOUNCED = ("Running stage ", "> ")

_gpu = threading.Lock()  # the lock of the machine is one of processes, and stages of a wave are threads of one


# A second try only where something killed the first one.
OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "retries": 1, "retry_delay_seconds": 5,
                           "retry_condition_fn": lambda task, run, state: state.name == "Killed"}


@task(task_run_name="{name}", **OPTIONS)
def run_stage(project: Path, name: str, gpu: bool, retraining_name: str) -> State:
    """Run one stage, or fetch its result from DVC's cache. Its output is this task's log.

    Ends as Failed with the stage's own last line, or as Killed. What it reads is compared before and after it (flow/reading.py).
    """
    log, said = get_run_logger(), []

    def say(line: str) -> None:
        if line.startswith(CHATTER):
            return
        if not line.startswith(FAILED):  # said by the task's own state
            log.info(line)
        if not line.startswith(ANNOUNCED):
            said.append(line)

    try:
        with ExitStack() as held:
            if gpu and settings.has_gpu():
                held.enter_context(_gpu)  # among the stages of this flow
                held.enter_context(locks.gpu_lock(log.info))
            if name.startswith("train@"):  # only a training has curves to watch while it runs
                held.enter_context(recording.live(project, name, versioning.stage_facts(project, name), retraining_name))
            code = reading.run(project, name, say)
    except Exception as error:
        return _fault("", error)
    if code == 0:
        return Completed(message="done")
    if code < 0 or "exited with -" in "".join(said[-1:]):
        late = "".join(said[-1:]).startswith(processes.OVER)
        return Failed(name="Killed", message=f"{name}: {said[-1] if late else 'something killed it (out of memory?)'}")
    return Failed(message=masked(f"{name}: {_reason(project, said) or f'DVC ended with {code}'}"))


def _reason(project: Path, said: list[str]) -> str:
    """Why a stage failed: its own last line. DVC says other things, too, after it was stopped by a full disk."""
    try:
        retraining.room(project, 1_000_000)
    except BadInput as full:
        return str(full)
    own = [line for line in said if not line.startswith(FAILED)] or said
    return own[-1] if own else ""


def _fault(where: str, error: Exception) -> State:
    """The end of what failed: a line of our own, or for a fault that nobody foresaw its name, with the traceback in the log."""
    if isinstance(error, BadInput):
        text = str(error)
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = output.in_a_line(error)
    elif isinstance(error, httpx.HTTPError):
        text = f"Prefect: its server no longer answers ({error}); what was finished is kept, hae retrain goes on from there"
    else:
        get_run_logger().error("This should not have happened.", exc_info=error)
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return Failed(message=masked(f"{where}{text}"))


@task(task_run_name="record", **OPTIONS)
def record(project: Path, retraining_name: str) -> "State | recording.Records":
    """Copy what the stages wrote to MLflow: runs and versions."""
    try:
        return recording.record(project, retraining.facts(project, versioning.read_graph(project)), retraining_name)
    except Exception as error:
        return _fault("record: ", error)


@task(task_run_name="promote", **OPTIONS)
def promote(project: Path, decide: bool, objection: str) -> "State | Outcome":
    """Name the candidate, decide, move the aliases."""
    try:
        return promotion.promote(project, retraining.facts(project, versioning.read_graph(project)), decide, objection)
    except Exception as error:
        return _fault("promote: ", error)


@flow(name="retrain", flow_run_name=lambda: f"{datetime.now():%Y-%m-%d %H:%M:%S}")
def retrain(promotes: bool = True, served: bool = False) -> "State | Outcome":
    """Run what is stale, record it, decide on it, in the project that this process was started for (HAE_PROJECT).

    promotes: whether aliases may move. served: started by `hae serve`, so it waits for a retraining at work here instead of
    ending, and ends with the server. A folder is no parameter: who may start a run must not choose the code that it runs.
    """
    if served:
        processes.end_with_parent()
    output.guard_output()
    folder, started = settings.project(os.environ["HAE_PROJECT"]), datetime.now(UTC).astimezone()
    output.log_to(settings.home(folder) / "logs" / "retrain.log")
    ran: list[str] = []
    ending = "interrupted"
    for noisy in ("prefect.events.clients", "prefect._internal.concurrency"):  # of a server that is gone each would say so for every event
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        with server.needed(_address(), lambda line: retraining.note(folder, started, ran, line)):
            if served:
                _catch_up()
            with processes.only_one(folder, wait=served), processes.children():
                look = retraining.look(folder, promotes)
                if look.complete:
                    ending = "nothing new"
                    return Completed(message=ending)
                if look.stale:
                    processes.warm_up(folder)
                _begin(folder, look)
                for wave in _waves(folder, look.graph):
                    ran += wave
                records = _completed(record(folder, flow_run.name, return_state=True)).result()
                drifted = drifting.look(folder, get_run_logger().info, [records.runs[name] for name in records.runs if name != "baseline"])
                outcome = _completed(promote(folder, promotes, drifted.holds, return_state=True)).result()
                if served:
                    cleaning.by_rule(folder, get_run_logger().info)
            ending = f"{outcome.action}: {outcome.reason}"
            _show(folder, outcome)
            return outcome
    except Exception as error:
        state = _fault("", error)
        ending = str(state.message)
        return state
    finally:
        retraining.note(folder, started, ran, ending)
        if served:
            print(masked(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {ending}"), flush=True)


@flow(name="explore", flow_run_name=lambda: f"{datetime.now():%Y-%m-%d %H:%M:%S}")
def explore(served: bool = True) -> State:
    """Take one turn of the loop in the project that this process was started for (HAE_PROJECT). served: it ends with the server."""
    if served:
        processes.end_with_parent()
    output.guard_output()
    code, last = exploring.turn(settings.project(os.environ["HAE_PROJECT"]), lambda line: print(line, flush=True))
    return Completed(message=last) if code == 0 else Failed(message=last)


def _address() -> str:
    """Of the server that this flow runs on, a temporary one as well."""
    with get_client(sync_client=True) as client:
        return str(client.api_url).rstrip("/")


def _catch_up() -> None:
    """Cancel what else of the schedule is due: after a time without a server one run makes up for all that were missed."""
    mine = flow_run.id
    with get_client(sync_client=True) as client:
        here = client.read_flow_run(UUID(mine)).deployment_id if mine else None
        if here is None:
            return
        late = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[here]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),  # type: ignore[arg-type]  # it parses one
        )
        for run in client.read_flow_runs(flow_run_filter=late):
            if "auto-scheduled" in run.tags and str(run.id) != mine:
                client.set_flow_run_state(run.id, Cancelled(message="Missed; a later run makes up for it."), force=True)


def _begin(project: Path, look: retraining.Look) -> None:
    log = get_run_logger()
    for path in look.snapshots:
        log.info("Snapshot of own data: %s", path)
    with get_client(sync_client=True) as client:
        _tidy(project, client)
    try:
        recording.initialise(project)  # once, before anything runs side by side
    except BadInput as error:
        log.warning("%s; training goes on, the record waits for the next retraining", error)


def _waves(project: Path, graph: versioning.Graph) -> Iterator[list[str]]:
    """Run the stale stages; gives the names of each wave after it. Raises BadInput with the line of the first that failed."""
    before: list[PrefectFuture] = []
    for wave in graph.waves():
        before = [
            run_stage.submit(  # type: ignore[call-overload]  # Prefect's overloads know wait_for only beside return_state
                project, name, graph.stages[name].gpu, flow_run.name, wait_for=before
            )
            for name in wave
        ]
        wait(before)
        yield wave
        for future in before:
            _completed(future.state)


def _completed(state: State) -> State:
    if not state.is_completed():
        raise BadInput(state.message)
    return state


def _show(project: Path, outcome: "Outcome") -> None:
    rows = retraining.table(project, outcome)
    if rows:
        create_table_artifact(rows, key="result", description="Held-out FVE of every level, and what became of it")
    links = "\n".join(f"    {line}" for line in retraining.pages(project))
    text = output.as_markdown
    said = "\n".join(f"- **{text(variant)}**: {text(words)}" for variant, words in retraining.verdicts(project)[0].items())
    create_markdown_artifact(masked(f"{said}\n\n**{outcome.action}**: {text(outcome.reason)}\n\n{links}\n"), key="links",
                             description="Verdicts, decision, report and pages")


def _tidy(project: Path, client: SyncPrefectClient) -> None:
    """Put right what a killed retraining of this checkout left in Prefect: its run as running.

    The checkout's lock is held, so it can't be anybody else's.
    """
    mark = settings.home(project) / "prefect" / "run"
    if mark.exists():
        with suppress(ObjectNotFound, ValueError):  # it ran on another server; its mark was cut short by a kill or a full disk
            dead = client.read_flow_run(UUID(mark.read_text()))
            if dead.state and dead.state.is_running():
                client.set_flow_run_state(dead.id, Crashed(message="It was killed."), force=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(str(flow_run.id))
