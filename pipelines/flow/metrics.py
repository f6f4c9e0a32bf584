"""GET /metrics of hae serve --cron, for Prometheus: last success, durations, decision, FVE, drift, disk, from the files that say it."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector, CollectorRegistry

from pipelines import locks, paths, settings
from pipelines.flow import drifting, reading, retraining, server
from pipelines.record import backup

__all__ = ["Project", "served"]

HOST = "127.0.0.1"
ENDINGS = (*retraining.GOOD, "failed")


class Project(Collector):
    """What there is to say of a project now. Nothing is asked of MLflow, so a scrape takes a moment whoever is at work."""

    def __init__(self, project: Path):
        self.project = project

    def collect(self) -> Iterator[GaugeMetricFamily]:
        notes = retraining.notes(self.project, 2000)
        yield from _retrainings(notes)
        seconds = reading.seconds(self.project)
        yield _family("hae_stage_seconds", "What the last run of a stage took.", "stage", seconds)
        yield _one("hae_at_work", "1 while a retraining holds the project.", float(bool(locks.holder(self.project))))
        champion = (backup.kept(settings.home(self.project), settings.tracking_uri(self.project)) or {}).get("aliases", {}).get("champion")
        if champion:
            yield _one("hae_champion_version", "The version that is champion.", float(champion))
        yield _fve(self.project)
        yield from _drift(drifting.history(self.project, 1))
        disk = shutil.disk_usage(self.project)
        yield _one("hae_disk_free_bytes", "Free where the project lies.", disk.free)
        yield _one("hae_disk_size_bytes", "Of the disk where the project lies.", disk.total)
        yield _one("hae_home_bytes", "Of the files in .hae.", float(_size(settings.home(self.project))))


def _retrainings(notes: list[dict]) -> Iterator[GaugeMetricFamily]:
    if not notes:
        return
    good = next((note for note in notes if _word(note) != "failed"), None)
    yield _one("hae_last_retraining_timestamp_seconds", "When the last one began.", _stamp(notes[0]))
    yield _one("hae_last_retraining_seconds", "What it took.", notes[0]["seconds"])
    if good:
        yield _one("hae_last_success_timestamp_seconds", "When the last one that ended well began.", _stamp(good))
    last = _word(notes[0])
    yield _family("hae_last_decision", "1 for how the last one ended.", "decision", {word: float(word == last) for word in ENDINGS})
    counts = Counter(map(_word, notes))
    yield _family("hae_retrainings", "Those in .hae/retrainings.jsonl, by how they ended.", "decision",
                  {word: float(counts[word]) for word in ENDINGS})


def _fve(project: Path) -> GaugeMetricFamily:
    family = GaugeMetricFamily("hae_fve", "Held-out FVE of today's variants.", labels=["variant", "level"])
    with suppress(OSError, ValueError, KeyError, TypeError):
        for row in json.loads((project / paths.RESULTS / "table.json").read_text()):
            family.add_metric([row["variant"], str(row["cv"])], float(row["fve"]))
    return family


def _drift(entries: list[dict]) -> Iterator[GaugeMetricFamily]:
    for entry in entries:
        yield _one("hae_drift_rows_beyond_share", "Share of new rows beyond the range of the training data.", entry["beyond"])
        yield _family("hae_drift_distance", "Kolmogorov's distance of a column of new rows from the training data.", "column",
                      entry["distance"])
        yield _family("hae_drift_error_ratio", "Reconstruction error of new rows over that of the test blocks.", "level",
                      {str(k): ratio for k, ratio in enumerate(entry["error"], 1)})
        yield _family("hae_drift_alarms", "Alarms of the last look, by kind.", "kind",
                      {kind: float(len(entry["alarms"].get(kind, ()))) for kind in drifting.KINDS})


def _word(note: dict) -> str:
    word = note["ending"].partition(":")[0]
    return word if word in retraining.GOOD else "failed"


def _stamp(note: dict) -> float:
    return datetime.fromisoformat(note["started"]).timestamp()


def _one(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)


def _family(name: str, words: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; what goes away meanwhile counts as nothing."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size


@contextmanager
def served(project: Path, port: int | None) -> Iterator[None]:
    """Answer at 127.0.0.1:port/metrics for the time of the block; nobody where there is no port. Raises BadInput for one that is taken."""
    if port is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(Project(project))
    listener, thread = start_http_server(server.free(port, "--metrics"), HOST, registry)
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
