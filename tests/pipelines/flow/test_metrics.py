"""GET /metrics of a project: figures from the files that say them, served on this machine alone."""

import json
import socket

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hae.errors import BadInput
from pipelines.flow import metrics


def figures(text: str) -> dict[str, float]:
    """name or name{label} -> value; of several labels in the order of their names."""
    return {"".join([sample.name, *(f"{{{value}}}" for _, value in sorted(sample.labels.items()))]): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def line(started: str, seconds: float, ending: str) -> str:
    return json.dumps({"started": started, "seconds": seconds, "stages": [], "ending": ending}) + "\n"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_the_files_say_is_answered(tmp_path, port, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home, results = tmp_path / ".hae", tmp_path / "results"
    for folder in (home / "took", results):
        folder.mkdir(parents=True)
    with metrics.served(tmp_path, port):
        empty = figures(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        assert empty["hae_at_work"] == 0 and empty["hae_disk_free_bytes"] > 0 and "hae_last_success_timestamp_seconds" not in empty
        (home / "retrainings.jsonl").write_text(
            line("1970-01-01T00:01:00+00:00", 9, "promoted: it is better") + line("1970-01-01T00:02:00+00:00", 4.5, "held: it is not")
            + line("1970-01-01T00:03:00+00:00", 2, "prepare: no such file") + '{"started": "1970')
        (home / "took" / "train@collective.json").write_text('{"seconds": 7.5, "code": 0}')
        (home / "took" / "prepare.json").write_text('{"seconds": 0.5, "code": 2}')
        (home / "registry.json").write_text('{"aliases": {"champion": "12"}}')
        (results / "table.json").write_text(json.dumps([{"variant": "collective", "cv": 1, "fve": 0.75}]))
        entry = {"at": "now", "of": "transform", "beyond": 0.25, "distance": {"a": 0.5}, "error": [1.5, 2.0], "alarms": {"error": ["b"]}}
        (home / "drift.jsonl").write_text(json.dumps(entry) + "\n")
        found = figures(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    wanted = {
        "hae_last_success_timestamp_seconds": 120, "hae_last_retraining_timestamp_seconds": 180, "hae_last_retraining_seconds": 2,
        "hae_last_decision{failed}": 1, "hae_last_decision{held}": 0, "hae_retrainings{failed}": 1, "hae_retrainings{promoted}": 1,
        "hae_stage_seconds{train@collective}": 7.5, "hae_champion_version": 12, "hae_fve{1}{collective}": 0.75,
        "hae_drift_rows_beyond_share": 0.25, "hae_drift_distance{a}": 0.5, "hae_drift_error_ratio{2}": 2, "hae_drift_alarms{error}": 1,
        "hae_drift_alarms{missing}": 0,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "hae_stage_seconds{prepare}" not in found  # it failed
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_a_taken_port_is_said_in_one_line(tmp_path, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(BadInput, match=f"^--metrics: {port} is taken"), metrics.served(tmp_path, port):
            pass
