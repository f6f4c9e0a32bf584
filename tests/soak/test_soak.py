"""The soak: its record is the published one, and a few faults of it, done here."""

import json
from pathlib import Path

import pytest

from tests.soak import run
from tests.soak.losses import FAULTS

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "docs" / "soak.json").read_text())


def test_the_published_counts_are_those_of_the_record():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert run.table(RECORD) in page, "python -m tests.soak.run --show docs/soak.json prints the table"
    assert set(RECORD["faults"]) <= set(FAULTS)


def test_what_was_not_survived_is_told(tmp_path):
    record = tmp_path / "soak.json"
    whole, torn, late = (run.Survived("two at once", seed, words, 2.0, wrong)
                         for seed, words, wrong in ((1, "at train", ()), (2, "at start", ("no champion",)), (3, "too late", ())))
    run.remember(record, [whole])
    run.remember(record, [torn, late])
    kept = json.loads(record.read_text())
    assert kept["faults"] == {"two at once": {"done": 2, "survived": 1}} and kept["seconds"] == 6
    assert kept["failed"] == [{"kind": "two at once", "seed": 2, "words": "at start", "wrong": ["no champion"]}]
    assert "| **all** | 2 | 1 |" in run.table(kept)


def test_the_rarest_kind_is_next(tmp_path):
    record = tmp_path / "soak.json"
    assert run.rarest(("SIGTERM", "two at once"), record, []) == ("SIGTERM",)
    run.remember(record, [run.Survived("SIGTERM", 1, "at train", 2.0, ())])
    assert run.rarest(("SIGTERM", "two at once"), record, []) == ("two at once",)
    assert run.rarest(("SIGTERM", "two at once"), record, [run.Survived("two at once", 2, "too late", 2.0, ())] * 2) == ("SIGTERM",)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_a_few_faults_are_survived(tmp_path):
    with run.ready(tmp_path) as (place, _):
        for kind in ("kill -9 all at once", "an alias deleted", "the disk is full"):
            (one,) = run.soak(place, range(7, 8), (kind,))
            assert not one.wrong, str(one)
