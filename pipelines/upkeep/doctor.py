"""hae doctor: what is wrong with this place, each finding with its mend, and the safe mends done on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hae.errors import BadInput
from pipelines.masking import masked
from pipelines.upkeep import checkout, machine
from pipelines.upkeep.finding import Finding

__all__ = ["doctor"]

Check = Callable[[Path], Iterable[Finding]]
# What others need goes first: a check may take for granted what those before it looked at.
CHECKS: dict[str, Check] = {
    "python": machine.python, "packages": machine.packages, "gpu": machine.gpu, "disk": machine.disk, "modes": machine.modes,
    "clock": machine.clock, "telemetry": machine.telemetry, "params": checkout.parameters, "locks": checkout.held,
    "processes": checkout.processes_left, "servers": checkout.servers, "dvc": checkout.results, "mlflow": checkout.database,
}  # fmt: skip


def doctor(project: Path, mend: bool = False) -> Iterator[Finding]:
    """Look at everything, one finding after the other. mend: do the mends that lose nothing, and look again.

    No check ends the others: what one of them stumbles over is a finding too.
    """
    for name, check in CHECKS.items():
        found = _looked(name, check, project)
        if mend and any(finding.safe for finding in found if finding.wrong):
            found = _mended(found, lambda: _looked(name, check, project))  # noqa: B023  # called at once
        yield from found


def _looked(name: str, check: Check, project: Path) -> list[Finding]:
    try:
        found = list(check(project))
    except BadInput as error:
        said, _, allowed = str(error).partition("; allowed: ")
        found = [Finding(said, wrong=True, mend=allowed)]
    except Exception as error:  # of a tool that is broken itself, which is what a doctor is asked about
        first = next(iter(str(error).strip().splitlines()), "")
        found = [Finding(f"{type(error).__name__}: {first}", wrong=True, mend="pip install again what raises it")]
    return [replace(finding, what=name, words=masked(finding.words)) for finding in found]


def _mended(found: list[Finding], look: Callable[[], list[Finding]]) -> list[Finding]:
    """Do the safe mends; a fault counts as mended when a second look no longer finds it. One that can't be mended now ends nothing."""
    faults: dict[str, str] = {}
    for finding in found:
        if finding.wrong and finding.safe:
            try:
                finding.safe()
            except (BadInput, OSError) as error:  # somebody is at work, files of somebody else
                faults[finding.words] = masked(str(error))
    after = [replace(finding, mend=f"{finding.mend} (not now: {faults[finding.words]})") if finding.words in faults else finding
             for finding in look()]
    still = {finding.words for finding in after}
    gone = [replace(finding, words=f"{finding.words}: mended", wrong=False, mend="", safe=None)
            for finding in found if finding.wrong and finding.safe and finding.words not in still]
    return [*gone, *after]
