"""One thing that a doctor says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """words: what was found. wrong: it stands in the way. mend: what to do about it, "" if nothing.
    safe: does it, where that loses nothing."""

    words: str
    wrong: bool = False
    mend: str = ""
    safe: Callable[[], object] | None = None
    what: str = ""

    def __str__(self) -> str:
        mark = "WRONG" if self.wrong else "note" if self.mend else "ok"
        return f"{mark:<5}  {self.what:<9}  {self.words}" + (f"; mend: {self.mend}" if self.mend else "")
