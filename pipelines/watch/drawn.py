"""Drift over time, drawn: each look at new rows, against what it may be before it is an alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.dates import date2num

__all__ = ["drift_over_time"]


def drift_over_time(axes: Axes, looks: Sequence[Mapping], beyond: float) -> None:
    """Draw looks (entries of .hae/drift.jsonl, in any order) on axes: the column that moved most and the rows beyond the training range,
    each over what is allowed (beyond: drift.beyond of params.yaml), and each level's error over that on the test blocks. Filled: alarms.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> look = {"at": "2026-01-01T00:00:00+00:00", "beyond": 0.1, "distance": {"a": 0.2}, "allowed": {"a": 0.1}, "error": [1.5],
    ...         "alarms": {"beyond": ["10 % ..."]}}
    >>> drift_over_time(axes, [look], beyond=0.05)
    >>> [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    ['columns', 'rows beyond', 'error, level 1']
    """
    looks = sorted(looks, key=lambda look: datetime.fromisoformat(look["at"]))
    times = date2num([datetime.fromisoformat(look["at"]) for look in looks])
    series = {
        "columns": ("distribution", [max((far / look["allowed"][name] for name, far in look["distance"].items()
                                          if look.get("allowed", {}).get(name)), default=0.0) for look in looks]),
        "rows beyond": ("beyond", [look["beyond"] / beyond if beyond else 0.0 for look in looks]),
    }
    for k in range(max((len(look["error"]) for look in looks), default=0)):
        series[f"error, level {k + 1}"] = ("error", [look["error"][k] if k < len(look["error"]) else float("nan") for look in looks])
    for label, (kind, values) in series.items():
        (line,) = axes.plot(times, values, marker="o", fillstyle="none", label=label)
        alarms = [(time, value) for time, value, look in zip(times, values, looks) if kind in look["alarms"]]
        axes.plot([time for time, _ in alarms], [value for _, value in alarms], "o", color=line.get_color())
    axes.xaxis_date()
    axes.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    axes.set_ylabel("times what is allowed; error, times that of the test blocks")
    axes.legend(frameon=False)
