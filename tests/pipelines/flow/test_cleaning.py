"""hae clean: after many trainings sizes level off, the way back stays, and nothing that is needed goes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hae.errors import BadInput
from pipelines import locks, processes
from pipelines.flow import cache, cleaning, versioning
from pipelines.gate import promotion
from pipelines.record import backup, contents, packaging, pruning, recording, recovery, registry
from pipelines.record.lineage import Code
from pipelines.record.store import opened


@pytest.fixture
def project(trained, monkeypatch):
    """A trained project whose code is always the same, and whose models are taken as they are."""
    monkeypatch.setattr(contents, "code", lambda folder: Code("c0ffee", "a patch", ()))
    monkeypatch.setattr(packaging, "check", lambda store, version: "")
    return trained


def retrain(project, number: int) -> dict:
    """Record one more training of collective and of the baseline: real records of the files that are there, under a new key."""
    facts = {name: its.__class__(its.command, its.dependencies, its.params | {"night": {"number": number}})
             for name, its in project.facts("collective").items()}
    recording.record(project.folder, facts, f"night {number}")
    return facts


def clean(store, project, keep: int, **today) -> pruning.Old:
    old = pruning.old(store, project.folder, keep, **today)
    pruning.remove(store, old)
    cleaning._give_back(store.own_database)
    return old


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nights", "keep"), [(8, 2), pytest.param(12, 3, marks=pytest.mark.acceptance)])
def test_sizes_level_off_and_the_way_back_stays(project, nights, keep):
    store, home = opened(project.folder), project.folder / ".hae"
    sizes, crowned = [], []
    for night in range(nights):
        retrain(project, night)
        newest = registry.rows(store)[0].version
        if night % 2 == 0:  # every other one becomes champion
            registry.crown(store, newest)
            crowned.append(newest)
        else:
            registry.nominate(store, newest)
        recovery.keep(store)
        clean(store, project, keep)
        sizes.append(bytes_of(home / "artifacts") + (home / "mlflow.db").stat().st_size)
    assert sizes[keep] > 1.2 * sizes[0]  # it grew as long as there were no more than are kept
    assert max(sizes[2 * keep + 2:]) < 1.05 * max(sizes[2 * keep - 1:2 * keep + 2])
    there = {row.version for row in registry.rows(store)}
    assert registry.aliases(store) == {"champion": crowned[-1], "previous": crowned[-2], "candidate": str(nights)}
    assert registry.way_back(store) == crowned[-keep - 1:-1]
    assert set(crowned[-keep - 1:]) <= there and crowned[-keep - 2] not in there
    assert all(packaging.intact(store, version) for version in registry.versions(store))
    runs = {version.run_id for version in registry.versions(store)}
    assert runs <= {run.info.run_id for run in store.client.search_runs([store.experiment])}
    assert set(backup.kept(store.home, store.uri)["versions"]) == there and recovery.mend(store) == ""

    for back in crowned[-2:-keep - 2:-1]:
        assert promotion.rollback(project.folder).champion == back
        assert packaging.load(store, back).about["variant"] == "collective"
    with pytest.raises(BadInput, match="to go back to"):
        promotion.rollback(project.folder)

    old = clean(store, project, 1)  # marks of rejection stay, though their files go
    assert old.marks and {row.version for row in registry.rows(store) if row.rejected} == set(crowned[-keep:])
    assert not clean(store, project, 1).marks
    assert {run.info.run_id for run in store.client.search_runs([store.experiment])} >= {registry.champion(store).run_id}


def test_what_is_on_disk_now_stays_though_it_is_old(project):
    store = opened(project.folder)
    first = retrain(project, 0)
    for night in (1, 2):
        retrain(project, night)
    keys = {its.key for its in first.values()}
    clean(store, project, 1, today=keys)
    assert keys <= {run.data.tags["key"] for run in store.client.search_runs([store.experiment])}
    assert recording.complete(project.folder, first)


def test_a_cleaning_that_was_killed_is_done_by_the_next(project, monkeypatch):
    store = opened(project.folder)
    for night in range(3):
        retrain(project, night)
    registry.crown(store, "3")
    whole = bytes_of(project.folder / ".hae" / "artifacts")

    def dies(*_):
        raise KeyboardInterrupt

    for where in ("delete_model_version", "delete_run"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(store.client), where, dies)
            clean(store, project, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning, "_empty_trash", dies)
        clean(store, project, 1)
    clean(store, project, 1)
    assert [row.version for row in registry.rows(store)] == ["3"] and packaging.intact(store, registry.versions(store)[0])
    assert len(store.client.search_runs([store.experiment])) == 2  # its training and its baseline
    assert bytes_of(project.folder / ".hae" / "artifacts") < 0.5 * whole


def test_the_cache_keeps_what_stays_and_loses_the_rest(new_project):
    """Real runs of DVC: data that grow each night."""
    folder = new_project()
    command = "cp data/raw/table.csv made.csv"
    (folder / "dvc.yaml").write_text(f"stages:\n  copy:\n    cmd: {command}\n    deps: [data/raw/table.csv]\n    outs: [made.csv]\n")
    versioning.read_graph(folder)  # makes it a project of DVC
    kept = []
    for night in range(5):
        with open(folder / "data/raw/table.csv", "a") as file:
            file.write("0,0,0,0,0,run0\n" * (night + 1))
        with processes.children():
            assert processes.run(versioning.command("copy"), folder, lambda line: None) == 0
        kept.append(versioning.stage_facts(folder, "copy").dependencies["data/raw/table.csv"])
    files_there = folder / ".dvc" / "cache" / "files" / "md5"
    there = lambda name: (files_there / name[:2] / name[2:]).exists()  # noqa: E731
    assert all(map(there, kept))
    before = bytes_of(folder / ".dvc" / "cache")
    files, size = cache.prune(folder, 2, {kept[0]}, dry_run=True)
    assert files == 4 and bytes_of(folder / ".dvc" / "cache") == before
    assert cache.prune(folder, 2, {kept[0]}) == (4, size)
    assert [there(name) for name in kept] == [True, False, False, True, True]
    assert bytes_of(folder / ".dvc" / "cache") == before - size
    assert cache.not_cached(folder) == [] and not versioning.read_graph(folder).stale


def test_it_is_refused_while_somebody_works_here(recorded, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(recorded.folder, tmp_path / "project"))
    script = ("import sys, pathlib; from pipelines import locks\n"
              "with locks.checkout_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(locks.Busy, match="at work here already"):
            list(cleaning.clean(folder, 1))
    finally:
        holder.kill()
        holder.wait()
