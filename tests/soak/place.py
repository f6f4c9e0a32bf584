"""A project that is retrained in a soak: small, real in all its parts, on a disk of its own that can be filled."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from ruamel.yaml import YAML

__all__ = ["PATIENCE", "Place", "free_port", "make", "mounted"]

ROOT = Path(__file__).parents[2]
MARK = "HAE_SOAK"  # in the environment of all that is started in a place
PATIENCE = 1200.0  # seconds that anything may take on a busy machine
LEARNING = {"n_cvs": 1, "hidden": [], "activation": "identity", "cv": "linear", "scale": "feature", "n_seeds": 1, "batch_size": 64,
            "max_epochs": 2, "patience": None, "learning_rate": 0.05, "random_state": 0}


class Place:
    """The project's folder, what people do there, and who works there."""

    def __init__(self, folder: Path, server: str = ""):
        """server: address of a Prefect server for its retrainings; "": each starts one of its own."""
        self.folder, self.server, self.log = folder, server, folder.parent / "said.txt"
        self.good = (folder / "params.yaml").read_text() if folder.exists() else ""

    @property
    def table(self) -> Path:
        return self.folder / "data" / "raw" / "table.csv"

    @property
    def home(self) -> Path:
        return self.folder / ".hae"

    def start(self, *words: str, before: tuple[str, ...] = (), server: bool = True, **environment: str) -> subprocess.Popen:
        """A command of hae, its words in the log. before: the command's command, such as setpriv."""
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "HAE_"))}
        given |= {MARK: str(self.folder), "OMP_NUM_THREADS": "1", "HAE_THREADS": "1", "PYTHONPATH": str(ROOT),
                  "DO_NOT_TRACK": "true", **environment}
        if server and self.server:
            given["PREFECT_API_URL"] = self.server
        with open(self.log, "w") as log:
            return subprocess.Popen([*before, sys.executable, "-m", "pipelines.cli", *words], cwd=self.folder, env=given,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def retrain(self) -> tuple[int, str]:
        """One retraining to its end: exit code and words."""
        return self.start("retrain").wait(PATIENCE), self.said()

    def at_work(self) -> list[psutil.Process]:
        """All that was started here and lives."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def of(self, role: str) -> list[psutil.Process]:
        """Those at work whose command line holds this."""
        found = []
        for process in self.at_work():
            with suppress(psutil.Error):
                if role in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def change(self, *keys: str, **values) -> None:
        """Write values into the section of params.yaml that the keys lead to."""
        yaml = YAML()
        content = yaml.load((self.folder / "params.yaml").read_text())
        section = content
        for key in keys:
            section = section[key]
        section.update(values)
        yaml.dump(content, self.folder / "params.yaml")

    def rows(self, rng: np.random.Generator, number: int = 20) -> pd.DataFrame:
        t = rng.normal(size=number)
        return pd.DataFrame(np.stack([t, t + 0.3 * rng.normal(size=number), rng.normal(size=number)], 1), columns=list("abc")).round(6)

    def new_work(self, draw: random.Random, late: bool = False) -> str:
        """Something to retrain for: the first stage that is stale by it. late: also what needs no training."""
        kind = draw.choices(("prepare", "train", "evaluate", "report"), (2, 2, 2, 4) if late else (1, 1, 0, 0))[0]
        if kind == "prepare":
            with open(self.table, "a") as file:
                self.rows(np.random.default_rng(draw.randrange(2**32))).to_csv(file, index=False, header=False)
            return kind
        keys, name, value = {"train": (("train", "collective"), "random_state", draw.randrange(10**6)),
                             "evaluate": (("evaluate",), "eps", round(draw.uniform(0.005, 0.02), 6)),
                             "report": (("report",), "dpi", draw.randrange(15, 60))}[kind]
        self.set(*keys, **{name: value})
        return kind

    def set(self, *keys: str, **values) -> None:
        """As `change`, by a person who means it."""
        self.change(*keys, **values)
        self.good = (self.folder / "params.yaml").read_text()

    def end(self) -> None:
        """Kill what works here."""
        for process in self.at_work():
            with suppress(psutil.Error):
                process.kill()


def make(folder: Path, server: str = "") -> Place:
    """A project of one variant on a table of 300 rows, never trained."""
    yaml = YAML()
    content = yaml.load((ROOT / "params.yaml").read_text())
    del content["simulate"]
    content["prepare"].update(trajectories=["data/raw/*.csv"], topology=None, features="columns", labels=[])
    content["prepare"]["split"].update(block_frames=1, gap_frames=0, shares=[0.4, 0.2, 0.4])
    content |= {"train": {"collective": LEARNING | {"linear_path": True}}, "baseline": dict(LEARNING)}
    content["record"]["model_name"] = "soak"
    content["report"]["dpi"] = 20
    content["stability"]["replicas"] = 0
    content["promote"].update(pca=0.9, gain=0.9, worse=0.9, better=0.0)  # champions come and go, however little was learnt
    folder.mkdir(parents=True)
    yaml.dump(content, folder / "params.yaml")
    graph = yaml.load((ROOT / "dvc.yaml").read_text())
    del graph["stages"]["simulate"]
    for stage in graph["stages"].values():
        body = stage.get("do", stage)
        body["deps"] = [path for path in body["deps"] if not path.startswith(("hae/", "pipelines/"))]
        body["params"] = [key for key in body["params"] if not key.startswith("simulate")]
    yaml.dump(graph, folder / "dvc.yaml")
    place = Place(folder, server)
    place.table.parent.mkdir(parents=True)
    place.rows(np.random.default_rng(0), 300).to_csv(place.table, index=False)
    return place


@contextmanager
def mounted(folder: Path, megabytes: int = 1000) -> Iterator[bool]:
    """A disk of its own at the folder, for the time of the block; gives whether there is one: it takes rights that not everybody has."""
    folder.mkdir(parents=True, exist_ok=True)
    there = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "soak", str(folder)], capture_output=True).returncode == 0
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
