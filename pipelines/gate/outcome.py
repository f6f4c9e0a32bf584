"""What a decision came to: plain data, without what decides."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.record.registry import VersionRow

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a call did and why. action: "promoted", "held", "nothing new", "nominated", "rolled back" or "failed".

    "failed": nothing could be measured (files away, a check killed or out of time), so nothing is decided and the next call tries again.
    version, variant: the version it is about. champion: the version afterwards, None if there is none.
    versions: today's variants -> their versions as they stand afterwards, each with its reason.
    """

    action: str
    version: str | None
    variant: str | None
    reason: str
    champion: str | None
    versions: dict[str, VersionRow]
