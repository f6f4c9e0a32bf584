"""Record and promote, dead at each of their writes: after the next clean retraining the record is whole and there is one champion."""

import re
import shutil
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crashing import CHILDREN, Died, act, act_and_be_killed, writes

from pipelines.gate import promotion
from pipelines.record import backup, packaging, recording, registry
from pipelines.record.store import opened

SCENES = ("first retraining", "better model", "rollback")
ON_DISK = ("models", "results", "params.yaml")
EVERY = 11  # of the points, in `make test`; `make acceptance` has them all


@dataclass
class Stage:
    """A project whose trained models and records can be put back as they were before each scene."""

    project: object
    kept: Path
    counted: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, name: str) -> None:
        """Keep what is on disk, and the records."""
        for part in (*ON_DISK, ".hae"):
            source, target = self.project.folder / part, self.kept / name / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    def put_back(self, name: str) -> None:
        """The database keeps its file, since MLflow has it open; its content is that of the copy."""
        home = self.project.folder / ".hae"
        for part in (*ON_DISK, *(f".hae/{name}" for name in ("artifacts", "copies", "registry.json"))):
            old, new = self.project.folder / part, self.kept / name / part
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            if new.exists():
                shutil.copytree(new, old) if new.is_dir() else shutil.copy(new, old)
        with closing(sqlite3.connect(self.kept / name / ".hae/mlflow.db")) as kept, closing(sqlite3.connect(home / "mlflow.db")) as now:
            kept.backup(now)

    @property
    def facts(self) -> dict:
        return self.project.facts("collective")

    def run(self, scene: str) -> None:
        act(self.project.folder, self.facts, scene)


@pytest.fixture(scope="module")
def stage(recorded, trained_folder, database, tmp_path_factory):
    """The three scenes: a weak model in an empty store; a better one after it; the better one, champion, to be taken back."""
    folder = tmp_path_factory.mktemp("crashes") / "project"
    shutil.copytree(trained_folder, folder)
    (folder / ".hae").mkdir(exist_ok=True)
    shutil.copy(database, folder / ".hae")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stage = Stage(type(recorded)(folder), folder.parent / "kept")
        opened(folder)
        epochs = stage.project.params()["train"]["collective"]["max_epochs"]
        for scene, after in zip(SCENES, (16, epochs, epochs)):
            if scene != "rollback":
                stage.project.change("train", "collective", max_epochs=after)
                stage.project.train("collective")
            stage.keep(scene)
            if scene != "rollback":
                stage.run(scene)
        yield stage


def points(stage: Stage, scene: str) -> list[str]:
    """The writes of a scene that nothing disturbs."""
    if scene not in stage.counted:
        stage.put_back(scene)
        with writes() as stage.counted[scene]:
            stage.run(scene)
    return stage.counted[scene]


def whole(stage: Stage, scene: str, where: str) -> None:
    """One champion that loads, one finished run and one version a training, history in order, nothing left to do."""
    folder, store = stage.project.folder, opened(stage.project.folder)
    runs = store.client.search_runs([store.experiment])
    assert {run.info.status for run in runs} == {"FINISHED"}, where
    assert set(Counter(run.data.tags["key"] for run in runs).values()) == {1}, where
    rows = registry.rows(store)
    assert [row.version for row in rows] == (["1"] if scene == "first retraining" else ["2", "1"]), where
    taken_back = [row.version for row in rows if row.rejected]
    champions = {"first retraining": ["1"], "better model": ["1", "2"]}.get(scene) or (["1"] if taken_back else ["1", "2"])
    assert registry.history(store) == champions and taken_back in ([], ["2"] if scene == "rollback" else []), where
    previous = {"previous": "1"} if champions == ["1", "2"] else {}
    assert registry.aliases(store) == {"champion": champions[-1], **previous}, where
    row = registry.champion(store)
    assert row.reason and packaging.load(store, row.version).about["variant"] == "collective", where
    kept = backup.kept(store.home, store.uri)
    assert (kept["aliases"], kept["history"]) == (registry.aliases(store), champions), where
    assert recording.complete(folder, stage.facts) and promotion.is_decided(folder, stage.facts), where


def die(stage: Stage, scene: str, number: int) -> None:
    with pytest.raises(Died), writes(number):
        stage.run(scene)


def be_killed(stage: Stage, scene: str, number: int) -> None:
    child = CHILDREN.Process(target=act_and_be_killed, args=(stage.project.folder, stage.facts, scene, number))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def every_end(stage: Stage, scene: str, end, every: int) -> None:
    names = points(stage, scene)
    for number in range(1, len(names) + 1, every):
        stage.put_back(scene)
        end(stage, scene, number)
        stage.run("clean")
        whole(stage, scene, f"{scene}: dead at write {number} of {len(names)}, {names[number - 1]}")


def test_the_number_of_points_is_the_published_one(stage):
    page = Path(__file__).parents[3] / "docs" / "reliability.md"
    published = dict(re.findall(r"^\| ([a-z ]+) \| (\d+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert published == {scene: str(len(points(stage, scene))) for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES)
def test_a_write_that_fails_is_made_good(stage, scene):
    every_end(stage, scene, die, EVERY)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("end", [die, be_killed])
def test_every_end_at_every_write_is_made_good(stage, scene, end):
    every_end(stage, scene, end, 1)
