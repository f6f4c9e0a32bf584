"""The kinds of CVs. Without torch, which processes that run exported CVs don't load.

Whatever depends on a kind looks it up in a table, here or of its own, so that one that is missing there is a KeyError and no number.
"""

import math

__all__ = ["PERIODS", "WIDTHS"]

WIDTHS = {"linear": 1, "tanh": 1, "circular": 2}  # pre-activations, and coordinates, of a CV of each kind
# A CV without a period is its one coordinate, one with a period the angle of its two.
PERIODS: dict[str, float | None] = {"linear": None, "tanh": None, "circular": 2 * math.pi}
