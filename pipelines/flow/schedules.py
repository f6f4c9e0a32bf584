"""Retraining on a schedule and when the data change: a Prefect server, a deployment of the flow, a look at the data."""

import asyncio
import logging
import os
import re
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from hae.errors import BadInput
from pipelines import params, processes, settings
from pipelines.flow import drifting, metrics, retraining, server, versioning
from pipelines.watch import notify

__all__ = ["serve", "silence", "zone"]

HOURS = re.compile(r"(?:[A-Za-z]{3,}|<[\w+-]+>)[+-]?\d{1,2}(?::00){0,2}")  # POSIX's TZ of a fixed offset


def serve(project: Path, cron: str, watch: int | None, port: int, say=print, *, metrics_port: int | None = None,
          drift: bool = False, explore: bool = False) -> None:
    """Serve until ended by Ctrl-C or SIGTERM. cron: in local time. watch: seconds between two looks at the data. metrics_port: of /metrics,
    for Prometheus. drift: whether scored data that drift start a retraining. explore: each time a turn of the loop, not a retraining alone.

    Raises BadInput for a cron text that is none, a port that is taken, a proxy of a kind that is not known, a server that does not come up.
    """
    params.load(project / "params.yaml")
    versioning.read_graph(project)
    server.check_proxies()
    named = os.environ.get("PREFECT_API_URL")
    if not named:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.free(port)}/api"  # Prefect reads it once, at its first import
        settings.close_door(project, f"http://127.0.0.1:{port}")
    schedule = _schedule(cron)
    os.environ["HAE_PARENT"] = processes.identity()  # the runs started from here end with it
    with suppress(KeyboardInterrupt), metrics.served(project, metrics_port), server.named(named) if named else server.own(project, port):
        from prefect.runner import Runner
        from prefect.types.entrypoint import EntrypointType

        from pipelines.flow import flows

        deployment = (flows.explore if explore else flows.retrain).to_deployment(  # type: ignore[attr-defined]
            settings.place(project, alone=not named),  # a server of its own knows no other project
            schedule=schedule,
            parameters={"served": True},
            description=f"{'The loop' if explore else 'Retraining'} of {project}",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        # One at a time by the runner itself: a limit kept by the server stays taken when a run is killed.
        runner = Runner(name="hae", pause_on_shutdown=False, limit=1)
        # Its own handler leaves work undone and warns.
        runner.handle_sigterm = lambda *_: signal.raise_signal(signal.SIGINT)  # type: ignore[method-assign]
        identifier = runner.add_deployment(deployment)  # type: ignore[arg-type]  # no coroutine outside a loop
        page = os.environ["PREFECT_API_URL"].removesuffix("/api")
        say(f"Serving {project}, at '{cron}' ({schedule.timezone})"
            + (f" and when its data change (looking every {watch} s)" if watch else ""))
        say(f"Page: {page}/deployments/deployment/{identifier}")
        if metrics_port:
            say(f"Metrics: http://{metrics.HOST}:{metrics_port}/metrics")
        if not named:
            say(f"The page asks for a password: the line in {settings.home(project) / 'prefect-auth'}")
        threading.Thread(target=_listen, args=(project, datetime.now().astimezone()), name="silence", daemon=True).start()
        if drift:
            threading.Thread(target=_drifting, args=(project, identifier), name="drift", daemon=True).start()
        if watch:
            threading.Thread(target=_watch, args=(project, identifier, watch), name="watch", daemon=True).start()
        with server.needed(os.environ["PREFECT_API_URL"]):
            asyncio.run(runner.start())
    say("Ended; the schedule stays and goes on with the next hae serve.")


def _schedule(cron: str):
    """The schedule, in local time."""
    from prefect.schedules import Cron

    local = zone()
    try:
        return Cron(cron, timezone=local)
    except ValueError:
        raise BadInput(f"--cron: {cron!r} is not allowed; allowed: minute hour day month weekday, as '0 3 * * *'") from None


def zone() -> str:
    """The name of the local time zone. Raises BadInput for a TZ that the database of zones has no name for."""
    import tzlocal

    name, wanted, year = "", os.environ.get("TZ", "").removeprefix(":"), time.localtime().tm_year
    noons = [time.mktime((year, month, 15, 12, 0, 0, 0, 0, -1)) for month in (1, 7)]
    offsets = [time.localtime(noon).tm_gmtoff for noon in noons]  # seconds east of Greenwich, in winter and in summer
    with suppress(Exception):  # of many kinds, where it finds no name
        tzlocal.reload_localzone()
        name = tzlocal.get_localzone_name()
    machines = wanted in ("", "/etc/localtime")  # the zone that the machine has
    if name and (machines or wanted.endswith(name)) and [_offset(noon, name) for noon in noons] == offsets:
        return name
    fixed = f"Etc/GMT{-offsets[0] // 3600:+d}"  # its signs are turned round
    if offsets == [offsets[0] // 3600 * 3600] * 2 and fixed in available_timezones() and (machines or HOURS.fullmatch(wanted)):
        return fixed
    raise BadInput(f"TZ: {wanted!r} names no time zone; allowed: a name such as Europe/Berlin, or whole hours such as UTC-3")


def _offset(moment: float, zone: str) -> float:
    return (datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds()


def _listen(project: Path, since: datetime, seconds: float = 600) -> None:
    """Tell when nothing has succeeded for too long, and when the disk is nearly full, also while no retraining runs."""
    while True:
        said = silence(project, since)
        if said:
            notify.tell(project, "silence", said)
        notify.check_disk(project)
        time.sleep(seconds)


def silence(project: Path, since: datetime) -> str:
    """What to say when no retraining has ended well for notify.silence_hours, counted from `since` at the earliest; else ""."""
    try:
        hours = params.load(project / "params.yaml").notify.silence_hours
    except BadInput:  # which keeps every retraining from ending well
        hours = 24.0
    good = [datetime.fromisoformat(entry["started"]) for entry in retraining.notes(project, 1000)
            if entry["ending"].partition(":")[0] in retraining.GOOD]
    last = max([since, *good])
    if hours is None or datetime.now().astimezone() - last < timedelta(hours=hours):
        return ""
    return f"nothing has succeeded since {last:%Y-%m-%d %H:%M}"


def _watch(project: Path, deployment, seconds: int) -> None:
    """Start one retraining for each new content of the data. What was seen last is kept in `.hae/watched`.

    Content counts once two looks found the same: a file may still be being copied.
    """
    from prefect.deployments import run_deployment

    kept = settings.home(project) / "watched"
    seen = kept.read_text() if kept.exists() else None  # held here too: on a full disk nothing is kept, and each look would start one
    before = None
    while True:
        try:
            now = versioning.data_digest(project)
            if now == before and now != seen:
                run_deployment(deployment, timeout=0, as_subflow=False, tags=["data"])
                seen = now
                kept.write_text(now)
            before = now
        except Exception as error:  # the next look may succeed: a file gone for a moment, a server busy
            logging.getLogger("prefect.hae").warning("Look at the data: %s", error)
        time.sleep(seconds)


def _drifting(project: Path, deployment, seconds: float = 10) -> None:
    """Start one retraining where looks at scored data found alarms that `drift.retrains` names. The last look is kept in `.hae/drifted`."""
    from prefect.deployments import run_deployment

    kept = settings.home(project) / "drifted"
    seen = kept.read_text() if kept.exists() else ""
    while True:
        try:
            wanted = params.load(project / "params.yaml").drift.retrains
            looks = drifting.scored_since(project, seen)
            if any(set(wanted) & set(look["alarms"]) for look in looks):
                run_deployment(deployment, timeout=0, as_subflow=False, tags=["drift"])
            if looks:
                seen = looks[0]["at"]
                kept.write_text(seen)
        except Exception as error:  # the next look may succeed: params being edited, a server busy
            logging.getLogger("prefect.hae").warning("Look at the drift: %s", error)
        time.sleep(seconds)
