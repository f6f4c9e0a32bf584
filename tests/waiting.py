"""Waiting in tests for what another process does."""

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(holds: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(holds())
