"""Retraining as a Prefect flow: the stale stages of dvc.yaml as tasks, wave by wave, then record, then promote."""

from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from hae.errors import BadInput
from pipelines import processes, promotion, recording, retraining, settings, versioning

if TYPE_CHECKING:
    from pipelines.promotion import Outcome

__all__ = ["retrain"]

# What DVC says around a stage's own output, and nobody needs on the task's page.
CHATTER = ("Generating lock file", "Updating lock file", "To track the changes", "\tgit add", "To enable auto staging",
           "\tdvc config core.autostage", "Use `dvc push`")
ANNOUNCED = ("Running stage ", "> ")


@task(cache_policy=NO_CACHE, task_run_name="{name}", retries=1, retry_delay_seconds=5,
      retry_condition_fn=lambda task, run, state: state.name == "Killed")
def run_stage(project: Path, name: str, gpu: bool, retraining_name: str) -> State:
    """Run one stage, or fetch its result from DVC's cache. Its output is this task's log.

    Ends as Failed with the stage's own last line, and is tried once more only when something killed the stage.
    """
    log, said = get_run_logger(), []

    def say(line: str) -> None:
        if line.startswith(CHATTER):
            return
        log.info(line)
        if line.startswith("ERROR: ") or not line.startswith(ANNOUNCED):
            said.append(line)

    with ExitStack() as held:
        if gpu and settings.has_gpu():
            held.enter_context(concurrency(_gpu_limit(project), strict=True))
            held.enter_context(processes.device_lock())
        # Only a training has curves worth watching while it runs.
        live = recording.live(project, name, versioning.stage_facts(project, name), retraining_name)
        held.enter_context(live if name.startswith("train@") else nullcontext())
        code = processes.run(versioning.command(name), project, say)
    if code == 0:
        return Completed(message="done")
    if code < 0 or "exited with -" in "".join(said[-1:]):
        return Failed(name="Killed", message=f"{name}: something killed it (out of memory?)")
    own = [line for line in said if not line.startswith("ERROR: failed to reproduce")] or said
    return Failed(message=f"{name}: {own[-1] if own else f'DVC ended with {code}'}")


@task(cache_policy=NO_CACHE, task_run_name="record")
def record(project: Path, retraining_name: str) -> "State | recording.Records":
    """Copy what the stages wrote to MLflow: runs and versions."""
    try:
        return recording.record(project, retraining.facts(project, versioning.read_graph(project)), retraining_name)
    except BadInput as error:
        return Failed(message=f"record: {error}")


@task(cache_policy=NO_CACHE, task_run_name="promote")
def promote(project: Path, decide: bool) -> "State | Outcome":
    """Name the candidate, decide, move the aliases."""
    facts = retraining.facts(project, versioning.read_graph(project))
    try:
        return promotion.promote(project, facts) if decide else promotion.nominate(project, facts)
    except BadInput as error:
        return Failed(message=f"promote: {error}")


@flow(name="retrain", flow_run_name=lambda: f"{datetime.now():%Y-%m-%d %H:%M:%S}")
def retrain(project: str, promotes: bool = True, served: bool = False) -> "State | Outcome":
    """Run what is stale, record it, decide on it.

    project: its folder. promotes: whether aliases may move. served: started by `hae serve`, so it waits for
    a retraining at work here instead of ending, and ends with the server.
    """
    if served:
        processes.end_with_parent()
    folder, started = Path(project), datetime.now(UTC).astimezone()
    log, ran, ending = get_run_logger(), [], "interrupted"
    try:
        with processes.only_one(folder, wait=served), processes.children():
            look = retraining.look(folder, promotes)
            for path in look.snapshots:
                log.info("Snapshot of own data: %s", path)
            if look.complete:
                ending = "nothing new"
                return Completed(message=ending)
            _reset_gpu_limit(folder)
            try:
                recording.initialise(folder)  # once, before anything runs side by side
            except BadInput as error:
                log.warning("%s; training goes on, the record waits for the next retraining", error)
            before = []
            for wave in look.graph.waves():
                before = [
                    run_stage.submit(folder, stage, look.graph.stages[stage].gpu, flow_run.name, wait_for=before)
                    for stage in wave
                ]
                wait(before)
                ran += wave
                failed = [future.state for future in before if not future.state.is_completed()]
                if failed:
                    ending = failed[0].message
                    return Failed(message=ending)
            step = record(folder, flow_run.name, return_state=True)
            if step.is_completed():
                step = promote(folder, promotes, return_state=True)
            if not step.is_completed():
                ending = step.message
                return Failed(message=ending)
            outcome = step.result()
            ending = f"{outcome.action}: {outcome.reason}"
            _show(folder, outcome)
            return outcome
    except BadInput as error:
        ending = str(error)
        return Failed(message=ending)
    except Exception as error:
        ending = f"{type(error).__name__}: {error}"
        raise
    finally:
        retraining.note(folder, started, ran, ending)


def _show(project: Path, outcome: "Outcome") -> None:
    rows = retraining.table(project, outcome)
    if rows:
        create_table_artifact(rows, key="result", description="Held-out FVE of every level, and what became of it")
    links = "\n".join(f"    {line}" for line in retraining.pages(project))
    create_markdown_artifact(f"**{outcome.action}**: {outcome.reason}\n\n{links}\n", key="links",
                             description="Decision, report and pages")


def _gpu_limit(project: Path) -> str:
    return f"gpu of {settings.place(project)}"


def _reset_gpu_limit(project: Path) -> None:
    """One GPU stage at a time in this checkout. A killed retraining leaves its slot taken, so this sets it free;
    the checkout's lock is held, so nobody else can have it."""
    name = _gpu_limit(project)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
