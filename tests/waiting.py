"""Waiting in tests for what another process does."""

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(holds: Callable[[], object], seconds: float = 60, every: float = 0.05) -> bool:
    """Whether it came true in time; looked at every so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(every)
    return bool(holds())
