"""The command hae. Every tool is imported by the command that needs it, so that help and refusals are quick."""

import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

try:
    import click

    from pipelines import output, settings
    from pipelines.loop import commands as loop
    from pipelines.terminal import project_here, say
    from pipelines.upkeep import commands as upkeep
except ModuleNotFoundError as missing:
    sys.exit(f"hae: {missing.name} is not installed; the command needs: pip install 'hae[pipeline,md]'")

from hae.version import __version__

__all__ = ["main"]

FAILED, NO_CHAMPION = 1, 3


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 no decision, 2 what was given can't be used (one line says why), 3 no champion."""
    # Every end goes by way of the finally blocks. A shell starts its background jobs with SIGINT ignored; not here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    output.guard_output()
    try:
        with output.refusals():
            hae(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(128 + signal.SIGINT)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hae")
@click.option("--project", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="The project; default: the nearest folder upwards with params.yaml and dvc.yaml.")
@click.pass_context
def hae(context: click.Context, project: Path | None) -> None:
    """Hierarchical autoencoders: train both variants, measure what each CV explains, keep a champion."""
    context.obj = project


@hae.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, metavar="", type=click.Path(path_type=Path))
@click.option("--data", multiple=True, type=click.Path(path_type=Path), metavar="FILE...",
              help="Trajectories, or tables: .csv, .xlsx, .parquet, .npy, COLVAR and others.")
@click.option("--topology", type=click.Path(path_type=Path), metavar="FILE", help="Atoms of the trajectories, such as PDB, GRO or PSF.")
@click.option("--features", type=click.Choice(["coordinates", "distances", "torsions"]),
              help="Features of trajectories.  [default: coordinates]")
@click.option("--atoms", metavar="SELECTION", help="heavy, or a selection in mdtraj's language; 'name CA every 4' takes each fourth.")
@click.option("--columns", metavar="NAME,...", help="Features of tables.  [default: all columns that suit]")
@click.option("--labels", metavar="NAME,...", help="Columns or torsions to look at beside the CVs, never trained on.")
@click.option("--group", metavar="COLUMN", help="Column that names the trajectory of a row.")
@click.option("--series", is_flag=True, help="Every table is one trajectory, its rows in time order.")
@click.option("--id", metavar="COLUMN", help="Column that names a row.")
@click.option("--missing", type=click.Choice(["error", "drop", "mean"]), default="error", show_default=True,
              help="Rows that lack a value: refused, left out, or filled with the mean.")
@click.option("--shuffle", is_flag=True, help="Put rows in a random order, if they are sorted, as by a class.")
@click.option("--sheet", metavar="NAME", help="Sheet of a workbook, or key of an HDF5 file.  [default: the first]")
@click.option("--weights", metavar="COLUMN", help="Column of positive statistical weights.")
@click.option("--bias", metavar="COLUMN", help="Column of a bias in kJ/mol; weights are then exp(bias / kT).")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), metavar="KELVIN", help="Temperature of the data, or of the system.")
@click.option("--system", metavar="SYSTEM",
              help="Instead of --data, a system to simulate: an OpenMM System (.xml), AMBER, GROMACS, CHARMM, "
              "names of force fields, or alanine-dipeptide; walkers start in the models of --topology.")
@click.option("--ns", type=click.FloatRange(0, min_open=True), metavar="NS", help="Length of each walker in a system's first round.")
def init(folder: Path, more: tuple[Path, ...], data: tuple[Path, ...], series: bool, columns: str | None, labels: str | None,
         group: str | None, system: str | None, ns: float | None, **choices) -> None:
    """Make a project in DIR from your data, or for a system to simulate: say what was found, write params.yaml and dvc.yaml."""
    from pipelines.project.init import Choices
    from pipelines.project.init import init as write

    if series and group:
        raise click.UsageError("--series: not allowed beside --group")
    if bool(data) == bool(system):
        raise click.UsageError("--data FILE..., or --system SYSTEM: one of the two is needed")
    group = "<file>" if series else group
    if system:
        loop.begin(folder, system, ns, Choices((), columns=_names(columns), labels=_names(labels), group=group, **choices))
    else:
        write(folder, Choices(data + more, columns=_names(columns), labels=_names(labels), group=group, **choices), say)
    from pipelines.flow import versioning

    settings.prepare_environment(folder)
    versioning.begin(folder.resolve())


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


@hae.command()
@click.option("--promote/--no-promote", default=True, help="Whether the champion may change.  [default: promote]")
def retrain(promote: bool) -> None:
    """Run stale stages, record them, and decide on a champion: the main command."""
    project = project_here()
    from pipelines import processes
    from pipelines.flow import here, retraining

    output.log_to(settings.home(project) / "logs" / "retrain.log")
    with ExitStack() as held:
        with retraining.refusals_noted(project):
            held.enter_context(processes.only_one(project))
            look = retraining.look(project, promote)
        for line in look.upgrades:
            say(line)
        if look.complete:
            say("Nothing is stale and the record is whole: nothing to do.")
            outcome = look.outcome or _decided(project, look, promote)
            retraining.nothing_new(project)
        else:
            say(f"To do: {', '.join(name for wave in look.graph.waves() for name in wave) or 'the record'}")
            outcome = here.retrain(project, promote, bool(look.stale))
        if look.outcome is None:
            retraining.settle(project)
    _tell(project, outcome)
    sys.exit(FAILED if outcome.action == "failed" else 0 if outcome.champion else NO_CHAMPION)


def _decided(project: Path, look, promote: bool):
    from pipelines.flow import retraining
    from pipelines.gate import promotion  # what it imports takes a second, and MLflow more

    return promotion.promote(project, retraining.facts(project, look.graph), promote)


def _tell(project: Path, outcome) -> None:
    from pipelines.flow import retraining

    verdicts, which = retraining.verdicts(project)
    for variant, words in verdicts.items():
        say(f"\n{variant}: {words}")
    if which:
        say(f"\nwhich: {which}")
    rows = retraining.table(project, outcome)
    say(f"\n{retraining.to_text(rows)}\n" if rows else "")
    say(f"{outcome.action}: {outcome.reason}")
    say(f"champion: version {outcome.champion}" if outcome.champion else "champion: none")
    for line in retraining.pages(project):
        say(line)


@hae.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(as_json: bool) -> None:
    """Say which model is champion, which candidate and why, what is stale, and how the last retrainings ended."""
    from pipelines.flow.status import look, to_lines

    state = look(project_here())
    for line in [json.dumps(state, indent=1)] if as_json else to_lines(state):
        say(line)


@hae.command()
@click.option("--cron", metavar="'0 3 * * *'", help="When to retrain: minute, hour, day, month, weekday.")
@click.option("--watch", type=click.IntRange(1), metavar="SECONDS", help="Also look for changed data this often, and retrain.")
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True,
              help="Port of the Prefect server started here; not used if PREFECT_API_URL names one.")
@click.option("--explore", is_flag=True, help="Each time sample and retrain (hae explore --rounds 1), not retrain alone.")
@click.option("--metrics", type=click.IntRange(1, 65535), metavar="PORT", help="Also serve /metrics on 127.0.0.1, for Prometheus.")
@click.option("--drift", is_flag=True, help="Also retrain when data that hae transform scored have drifted.")
@click.option("--http", type=click.IntRange(1, 65535), metavar="PORT",
              help="Instead of --cron: serve the champion's CVs over HTTP, on 127.0.0.1.")
def serve(cron: str | None, watch: int | None, port: int, explore: bool, metrics: int | None, drift: bool, http: int | None) -> None:
    """Retrain on a schedule, and when the data change, until ended; or compute CVs over HTTP."""
    if (cron is None) == (http is None) or (http and (watch or explore or metrics or drift)) or (explore and (watch or drift)):
        raise click.UsageError("allowed: --cron (with --metrics, and --watch and --drift, or --explore), or --http alone")
    project = project_here()
    if http:
        from pipelines import http as over_http

        return over_http.serve(project, http, say)
    assert cron is not None
    from pipelines.flow import schedules

    schedules.serve(project, cron, watch, port, say, metrics_port=metrics, drift=drift, explore=explore)


@hae.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port of MLflow's page.")
def ui(port: int) -> None:
    """Show MLflow's page of this project's trainings, and the address of Prefect's page, until Ctrl-C."""
    project = project_here()
    from pipelines.ui import ui as show

    show(project, port, say)


@hae.command()
@click.argument("version")
@click.option("--by", default="", metavar="NAME", help="Who decides; needed if promote.by_hand is true.")
@click.option("--because", default="", metavar="WHY", help="Why; needed if promote.by_hand is true.")
def promote(version: str, by: str, because: str) -> None:
    """Make VERSION the champion."""
    project = project_here()
    from pipelines.gate import promotion
    from pipelines.watch.notify import tell

    outcome = promotion.promote_version(project, version, by, because)
    say(f"{outcome.action}: {outcome.reason}")
    if outcome.action == "promoted":
        tell(project, "promoted", outcome.reason)


@hae.command()
def rollback() -> None:
    """Reject the champion for good: the previous one is champion again."""
    project = project_here()
    from pipelines.gate import promotion
    from pipelines.watch.notify import tell

    outcome = promotion.rollback(project)
    say(f"{outcome.action}: {outcome.reason}")
    tell(project, "rolled back", outcome.reason)


@hae.command()
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="Trainings of each variant to keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def clean(keep: int, dry_run: bool) -> None:
    """Remove old runs, versions, artifacts, checkpoints and caches, but not champion, candidate and what a rollback needs."""
    project = project_here()
    from pipelines.flow.cleaning import clean as remove

    size = 0
    for cleaned in remove(project, keep, dry_run):
        size += cleaned.size
        say(str(cleaned))
    say(f"{'would free' if dry_run else 'freed'} {size / 1e6:.1f} MB of files ({size} bytes)")


@hae.command()
@click.option("--mend", is_flag=True, help="Make the repairs that lose nothing.")
def doctor(mend: bool) -> None:
    """Say what is wrong here, and how to repair it. Exit code 1 if anything is wrong."""
    project = project_here()
    from pipelines.upkeep.doctor import doctor as look

    wrong = False
    for finding in look(project, mend):
        wrong |= finding.wrong
        say(str(finding))
    sys.exit(FAILED if wrong else 0)


@hae.command()
@click.option("--test", is_flag=True, required=True, help="Send a test message to every target in params.yaml.")
def notify(test: bool) -> None:
    """Test whether the targets of messages can be reached. Exit code 1 if one can't."""
    project = project_here()
    from pipelines.watch.notify import test as send

    number, faults = send(project)
    for fault in faults:
        say(fault)
    say(f"{number - len(faults)} of {number} told")
    sys.exit(FAILED if faults else 0)


@hae.command()
@click.argument("version", default="champion")
@click.option("--rebuild", is_flag=True, help="Train it again in a clean clone, and compare the weights.")
def verify(version: str, rebuild: bool) -> None:
    """Check the receipt of VERSION, a number or an alias: what is true, what differs, what can't be told. Exit code 1 if it differs."""
    project = project_here()
    from pipelines.upkeep.verify import verify as look

    differs = False
    for checked in look(project, version, rebuild):
        differs |= checked.verdict == "differs"
        say(str(checked))
    sys.exit(FAILED if differs else 0)


@hae.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option("--topology", type=click.Path(path_type=Path), metavar="PDB", help="Atoms of the trajectories; default: the project's.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT", help="A .csv or .parquet file.")
@click.option("--version", help="Version of the model; default: the champion.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Column of the table to copy to OUT; may be given several times.")
def transform(inputs: tuple[Path, ...], topology: Path | None, output: Path, version: str | None, keep: tuple[str, ...]) -> None:
    """Write the champion's CVs of new data, with features made as in training."""
    project = project_here()
    from pipelines.transform import transform as write

    report = write(project, inputs, output, topology, version, keep)
    for line in report.far[:5]:
        click.echo(line, err=True)
    if len(report.far) > 5:
        click.echo(f"... and {len(report.far) - 5} further features", err=True)
    if report.drift:
        click.echo(f"drift {report.drift}", err=True)
    say(f"{report.output}: {report.n_cvs} CVs of {report.rows} rows, from version {report.version}")


@hae.command()
@click.argument("kind", metavar="FORMAT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the files go.")
@click.option("--version", help="Version of the model; default: the champion.")
@click.option("--cvs", type=click.IntRange(1), metavar="K", help="Only the first K CVs.")
@click.option("--topology", type=click.Path(path_type=Path), metavar="PDB", help="Atoms of the simulated system; default: the project's.")
@click.option("--plumed-ann", is_flag=True, help="Use PLUMED's optional module annfunc.")
def export(kind: str, output: Path, version: str | None, cvs: int | None, topology: Path | None, plumed_ann: bool) -> None:
    """Write CVs for other programs: plumed, colvars, openmm, onnx, torchscript, pt2 or numpy."""
    project = project_here()
    from pipelines.export import export as write

    made = write(project, kind, output, version, cvs, topology, plumed_ann)
    for line in (*map(str, made.files), made.checked):
        click.echo(line)


for command in (*loop.COMMANDS, *upkeep.COMMANDS):
    hae.add_command(command)


if __name__ == "__main__":
    main()
