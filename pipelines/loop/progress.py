"""Nanoseconds as they are done, as a line that a terminal overwrites, or one now and then in a log."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]


class Progress:
    """Called with the nanoseconds done and words: of a walker that has stopped, or ""."""

    def __init__(self, name: str):
        self.name, self._said, self._terminal = name, 0.0, sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self._terminal and self._said:
            print(file=sys.stderr)

    def __call__(self, done: float, words: str) -> None:
        if words:
            print(f"\n{self.name}: {words}" if self._terminal else f"{self.name}: {words}", file=sys.stderr, flush=True)
        if time.monotonic() - self._said > (0.5 if self._terminal else 20):
            self._said = time.monotonic()
            print(f"\r{self.name}: {done:.2f} ns" if self._terminal else f"{self.name}: {done:.2f} ns", file=sys.stderr,
                  end="" if self._terminal else "\n", flush=True)
