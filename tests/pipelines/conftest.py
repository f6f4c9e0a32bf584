"""A small project on a table, trained by the real stages, for tests of what comes after training."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.data.frames import Frames
from pipelines import params
from pipelines.record import lineage, recording
from pipelines.record.lineage import StageFacts
from pipelines.stages.baseline import baseline
from pipelines.stages.evaluate import evaluate
from pipelines.stages.prepare import prepare
from pipelines.stages.report import report
from pipelines.stages.stability import stability
from pipelines.stages.train import train

ROOT = Path(__file__).parents[2]
LEARNING = {"n_cvs": 2, "hidden": [12], "activation": "tanh", "cv": "linear", "scale": "feature", "n_seeds": 2, "batch_size": 128,
            "max_epochs": 60, "patience": None, "learning_rate": 0.01, "random_state": 0}


@dataclass(frozen=True)
class Project:
    """A project folder, and what people and DVC do there."""

    folder: Path

    def change(self, *keys: str, **values) -> None:
        """Write values into the section of params.yaml that the keys lead to."""
        yaml = YAML()
        path = self.folder / "params.yaml"
        content = yaml.load(path.read_text())
        section = content
        for key in keys:
            section = section[key]
        section.update(values)
        yaml.dump(content, path)

    def params(self) -> dict:
        return YAML(typ="safe").load((self.folder / "params.yaml").read_text())

    def facts(self, *variants: str) -> dict[str, StageFacts]:
        """What DVC would know of the stages that are recorded."""
        data = {"data/prepared/frames": lineage.file_digest(self.folder / "data/prepared/frames/manifest.json")}
        content = self.params()
        sections = {f"train@{variant}": {f"train.{variant}": content["train"][variant]} for variant in variants or content["train"]}
        sections["baseline"] = {"baseline": content["baseline"]}
        return {stage: StageFacts(f"python -m pipelines.stages.{stage.replace('@', ' ')}", data, section)
                for stage, section in sections.items()}

    def train(self, variant: str) -> None:
        train(variant)
        evaluate(variant)

    def frames(self) -> Frames:
        return Frames.read(self.folder / "data/prepared/frames")

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "data/raw/table.csv")


def write_table(path: Path, rows: int = 1200, seed: int = 0) -> None:
    """Two hidden factors on five columns, in 12 trajectories: a bent one on four, another on the fifth."""
    rng = np.random.default_rng(seed)
    t, u = rng.uniform(-2, 2, rows), rng.normal(size=rows)
    columns = np.stack([t, t**2, np.sin(1.5 * t), np.cos(t), u], axis=1)
    table = pd.DataFrame(columns + 0.02 * rng.normal(size=columns.shape), columns=list("abcde"))
    table["run"] = np.repeat([f"run{i}" for i in range(12)], rows // 12)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


@pytest.fixture(scope="session")
def trained_folder(made_once) -> Path:
    """A project with every stage run once; nothing recorded."""
    return made_once("trained", _train_everything) / "project"


def _train_everything(parent: Path) -> None:
    folder = parent / "project"
    folder.mkdir()
    yaml = YAML()
    content = yaml.load((ROOT / "params.yaml").read_text())
    del content["simulate"]
    content["prepare"].update(trajectories=["data/raw/*.csv"], topology=None, features="columns", labels=[], group="run")
    content["prepare"]["split"].update(block_frames=20, gap_frames=1, shares=[0.5, 0.2, 0.3])
    content["train"] = {"collective": dict(LEARNING), "boosted": dict(LEARNING)}
    content["baseline"] = dict(LEARNING, n_seeds=1, max_epochs=5)
    content["stability"]["replicas"] = 2
    content["record"]["model_name"] = "small-table"
    yaml.dump(content, folder / "params.yaml")
    shutil.copy(ROOT / "dvc.yaml", folder)
    write_table(folder / "data/raw/table.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HAE_THREADS", "1")
        run_all_stages()


def run_all_stages() -> None:
    """What `dvc repro` runs, in the working directory, without the simulation."""
    variants = params.load().train
    prepare()
    for variant in variants:
        train(variant)
    baseline()
    for variant in variants:
        evaluate(variant)
        stability(variant)
    report()


@pytest.fixture(scope="session")
def all_stages() -> Callable[[], None]:
    return run_all_stages


@pytest.fixture(scope="session")
def database(made_once) -> Path:
    """An MLflow database with its tables and nothing in them: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    return made_once("database", lambda folder: MlflowClient(f"sqlite:///{folder}/mlflow.db").search_registered_models()) / "mlflow.db"


@pytest.fixture
def bare(database, tmp_path, monkeypatch) -> Path:
    """A project with params.yaml, dvc.yaml and an empty store; the working directory is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".hae").mkdir()
    shutil.copy(database, tmp_path / ".hae")
    return tmp_path


@pytest.fixture
def trained(trained_folder, database, tmp_path, monkeypatch) -> Project:
    """A copy of the trained project, with an empty store of its own; the working directory is there."""
    folder = tmp_path / "project"
    shutil.copytree(trained_folder, folder)
    (folder / ".hae").mkdir(exist_ok=True)
    shutil.copy(database, folder / ".hae")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HAE_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(folder)


@pytest.fixture(scope="session")
def recorded(trained_folder, made_once) -> Project:
    """The trained project, recorded and promoted once: for looking only."""
    from pipelines.gate import promotion

    def record(parent: Path) -> None:
        folder = parent / "project"
        shutil.copytree(trained_folder, folder)
        project = Project(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            recording.record(folder, project.facts(), "first")
            promotion.promote(folder, project.facts())

    return Project(made_once("recorded", record) / "project")
