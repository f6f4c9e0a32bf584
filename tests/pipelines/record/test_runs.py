"""One run, brought to what is on disk: begun once, each epoch sent once, and known again by its key and weights."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from pipelines import paths, settings
from pipelines.record import runs
from pipelines.record.curves import History
from pipelines.record.lineage import Code
from pipelines.record.runs import RunWriter
from pipelines.record.store import opened

STAGE = "train@boosted"


@pytest.fixture
def writer(trained) -> RunWriter:
    return RunWriter(opened(trained.folder), trained.folder, STAGE, trained.facts()[STAGE], "tonight", Code("c0ffee", "a patch", (".env",)))


def history(writer: RunWriter, rows: int | None = None) -> History:
    """The first rows of the history on disk, or all."""
    whole = History.read(writer.project / paths.results("boosted") / "history.csv")
    return whole if rows is None else History(whole.lines[: 1 + rows])


def points(writer: RunWriter, run) -> Counter:
    """How often each (name, step) of the members' curves is in the database."""
    with closing(sqlite3.connect(writer.project / ".hae/mlflow.db")) as database:
        query = "select key, step from metrics where run_uuid = ? and key like 'member%'"
        return Counter(database.execute(query, (run.info.run_id,)))


def artifact(writer: RunWriter, run, name: str) -> str:
    return writer.store.client.download_artifacts(run.info.run_id, name)


def test_a_run_says_before_its_stage_starts_what_will_make_it(writer):
    run = writer.begin(None, started=1000.0)
    tags = run.data.tags
    assert run.info.status == "RUNNING" and run.info.start_time == 1_000_000
    assert (tags["key"], tags["stage"], tags["variant"], tags["retraining"]) == (writer.facts.key, STAGE, "boosted", "tonight")
    assert (tags["git_commit"], tags["uncommitted_code"], tags["params_hash"]) == ("c0ffee", "yes", writer.facts.params_hash)
    assert run.data.params["max_epochs"] == "60"
    with open(artifact(writer, run, "receipt/uncommitted.patch")) as patch, open(artifact(writer, run, "receipt/untracked.txt")) as names:
        assert patch.read() == "a patch" and names.read() == "left out, since git does not track them:\n.env\n"


def test_what_is_begun_is_not_begun_again(writer):
    run = writer.begin(None, started=1000.0)
    again = RunWriter(writer.store, writer.project, STAGE, writer.facts, "tomorrow", Code("other", "")).begin(run, started=2000.0)
    assert again.info.run_id == run.info.run_id and again.data.tags == run.data.tags
    assert len(runs.runs_of(writer.store, writer.facts)) == 1


def test_each_epoch_is_sent_once_however_the_history_grows(writer):
    run = writer.begin(None, started=1000.0)
    whole = history(writer)
    for rows in (7, 7, 40, len(whole)):
        run = writer.copy(run, history(writer, rows))
        assert runs.continues(run, whole)
    sent = points(writer, run)
    columns = [name for name in whole.table if name not in ("member", "epoch", "seconds")]
    assert set(sent.values()) == {1} and len(sent) == len(whole) * len(columns)


def test_a_run_continues_its_own_history_and_no_other(writer):
    run = writer.begin(None, started=1000.0)
    whole = history(writer)
    assert runs.continues(run, whole) and runs.continues(run, History())  # nothing was seen yet
    run = writer.copy(run, history(writer, 20))
    other = History((*whole.lines[:5], whole.lines[5].replace(",", ",9", 4), *whole.lines[6:]))
    later = History((whole.lines[0], *(",".join([*line.split(",")[:2], "99.5", *line.split(",")[3:]]) for line in whole.lines[1:])))
    assert runs.continues(run, whole) and runs.continues(run, later)  # another clock is no other training
    assert not runs.continues(run, other) and not runs.continues(run, history(writer, 19))


def test_a_run_is_found_by_its_weights_or_as_the_one_that_is_not_finished(writer):
    assert runs.find(writer.store, writer.facts, "") is None
    first = writer.begin(None, started=1000.0)
    assert runs.find(writer.store, writer.facts, "w1").info.run_id == first.info.run_id  # its training may have made them
    writer.store.client.set_tag(first.info.run_id, runs.WEIGHTS, "w1")
    assert runs.find(writer.store, writer.facts, "w1").info.run_id == first.info.run_id
    assert runs.find(writer.store, writer.facts, "w2") is None
    second = writer.begin(None, started=2000.0)
    assert runs.find(writer.store, writer.facts, "w2").info.run_id == second.info.run_id
    assert runs.find(writer.store, writer.facts, "w1").info.run_id == first.info.run_id
    assert [run.info.run_id for run in runs.runs_of(writer.store, writer.facts)] == [second.info.run_id, first.info.run_id]


def test_a_run_is_whole_with_its_content_its_end_and_all_files_of_its_version(writer):
    run = writer.write(None, "weights", "content")
    assert run.info.status == "FINISHED" and runs.is_trained(run)
    assert runs.is_whole(writer.store, run, STAGE, "content") and not runs.is_whole(writer.store, run, STAGE, "another")
    assert not runs.is_whole(writer.store, None, STAGE, "content")
    assert set(points(writer, run).values()) == {1}
    again = writer.write(run, "weights", "content")
    assert again.info.run_id == run.info.run_id and set(points(writer, again).values()) == {1}
    version, = writer.store.client.search_model_versions(f"name = '{writer.store.name}'")
    model = next((writer.project / ".hae" / "artifacts").rglob("weights.safetensors"))
    assert version.run_id == run.info.run_id
    model.unlink()
    assert not runs.is_whole(writer.store, run, STAGE, "content")


def test_a_history_that_is_none_of_its_own_gets_a_run_of_its_own(writer):
    """A training that was killed left its run; the one that replaced it was another."""
    lines = history(writer).lines
    run = writer.copy(writer.begin(None, started=1000.0), History((*lines[:3], lines[3].replace(",", ",9", 4))))
    made = writer.write(run, "weights", "content")
    assert made.info.run_id != run.info.run_id
    assert writer.store.client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"


def test_runs_that_say_running_are_those_of_this_checkout_in_a_shared_database(writer):
    mine = writer.begin(None, started=1000.0)
    other = writer.begin(None, started=2000.0)
    writer.store.client.set_tag(other.info.run_id, runs.PLACE, settings.place(writer.project.parent))
    left = [{run.info.run_id for run in runs.left_running(store, writer.project)} for store in (
        writer.store, replace(writer.store, home=writer.project.parent))]  # the checkout's own database, and one that others use
    assert left == [{mine.info.run_id, other.info.run_id}, {mine.info.run_id}]
