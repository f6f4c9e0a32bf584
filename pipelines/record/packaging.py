"""A trained network as an MLflow model that stands alone: made, matched to the champion, checked in a fresh process, loaded."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.errors import BadInput
from pipelines.record.store import Store

__all__ = ["Loaded", "check", "load", "pack"]

CHECK_ROWS, MATCH_ROWS = 200, 5000
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pyarrow")
TOLERANCE = 1e-6  # times the standard deviation of each CV; program and network both work in float64 here

# Runs without hae and without pickle: what a stranger's process does with the model.
CHECK = """
import json, sys
sys.modules["hae"] = sys.modules["pipelines"] = None
import mlflow, numpy as np, pandas as pd
folder = mlflow.artifacts.download_artifacts(sys.argv[1])
rows = pd.read_parquet(folder + "/artifacts/check.parquet")
about = json.load(open(folder + "/artifacts/about.json"))
got = mlflow.pyfunc.load_model(folder).predict(rows[about["features"]])
want = rows[[f"expected:{name}" for name in got.columns]].to_numpy()
apart = got.to_numpy() - want
circular = np.array([kind == "circular" for kind in about["cv"]])
apart[:, circular] = np.angle(np.exp(1j * apart[:, circular]))
allowed = 1e-12 * np.abs(want).max(0) + np.array(about["cv_std"])  # a CV that never varies is compared with its size
print(json.dumps({"columns": list(got.columns), "difference": float(np.abs(apart / np.where(allowed > 0, allowed, 1)).max())}))
"""


@dataclass(frozen=True)
class Loaded:
    """A registered model in this process. program: s (N, D) float64 -> CVs (N, n), levels (n, N, D); about, recipe: their JSON."""

    version: str
    program: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    about: dict
    recipe: dict


def pack(folder: Path, network, frames: Frames, recipe: Path, champion: Loaded | None, about: dict, mlflow_model) -> list[str]:
    """Write the MLflow model of a network to `folder`, its CVs matched to the champion's: what was done to each CV, in words.

    about: facts to be kept in about.json. Beside the exported program the model holds the recipe, the metric W, and some
    training rows with the network's CVs, so that `check` can be done anywhere and at any time. The network stays as it is.
    """
    import mlflow
    import torch
    from mlflow.models import infer_signature

    from hae.export.program import write_program
    from hae.network.canonical import match

    network = copy.deepcopy(network).to("cpu", torch.float64).eval()
    kinds, d = network.bottleneck.kinds, frames.n_features
    training = frames.select("train").values.astype(np.float64)
    low, high = training.min(0).tolist(), training.max(0).tolist()
    training = training[np.linspace(0, len(training) - 1, min(len(training), MATCH_ROWS)).astype(int)]
    if champion is None:
        matching = ["kept: no champion"] * len(kinds)
    elif not set(champion.about["features"]) <= set(frames.features):
        matching = ["kept: the champion reads other features"] * len(kinds)
    else:
        columns = [frames.features.index(name) for name in champion.about["features"]]
        matching = match(network, training, champion.program(training[:, columns])[0], tuple(champion.about["cv"]))
    with torch.no_grad():
        cvs = network.encode(torch.from_numpy(training)).numpy()

    names = [f"cv{k + 1}" for k in range(len(kinds))]
    some = np.linspace(0, len(training) - 1, min(len(training), CHECK_ROWS)).astype(int)
    rows = pd.DataFrame(training[some], columns=list(frames.features))
    expected = pd.DataFrame(cvs[some], columns=names)
    about = about | {
        "features": list(frames.features),
        "units": list(frames.units),
        "cv": list(kinds),
        "cv_std": [float((np.exp(1j * column) if kind == "circular" else column).std()) for kind, column in zip(kinds, cvs.T)],
        "mean": network.output_mean.expand(d).tolist(),
        "scale": network.output_scale.expand(d).tolist(),
        "low": low,
        "high": high,
        "matching": matching,
        "matched_to": champion.version if champion is not None else None,
    }
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {name: Path(temporary) / name for name in ("about.json", "check.parquet", "program.pt2", "recipe.json")}
        parts["about.json"].write_text(json.dumps(about, indent=1) + "\n")
        parts["recipe.json"].write_bytes(recipe.read_bytes())
        rows.join(expected.add_prefix("expected:")).to_parquet(parts["check.parquet"])
        write_program(network, d, parts["program.pt2"])
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={path.stem: str(path) for path in parts.values()},
            signature=infer_signature(rows, expected),
            input_example=rows.head(3),
            pip_requirements=[f"{name}=={metadata.version(name).split('+')[0]}" for name in REQUIREMENTS],
            mlflow_model=mlflow_model,
        )
    return matching


def check(uri: str, tracking_uri: str) -> str:
    """Why a packed model (a folder or models:/...) can't be used, or "". Asked in a fresh process, with pickle forbidden, without hae.

    It has to give the CVs that the trained network gave when it was packed, to `TOLERANCE`.
    """
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": tracking_uri,
                                "MLFLOW_REGISTRY_URI": tracking_uri, "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            command = [sys.executable, "-c", CHECK, uri]
            done = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            return "the registered model did not load in 300 s"
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no word"]
        return f"the registered model does not load in a fresh process ({last[0].strip()[:300]})"
    difference = json.loads(done.stdout.splitlines()[-1])["difference"]
    if not difference <= TOLERANCE:
        return f"the registered model gives other CVs than the trained network (by {difference:.1e} of their standard deviation)"
    return ""


def load(store: Store, version: str) -> Loaded:
    """The program, recipe and facts of a registered version. Raises BadInput if its files are gone."""
    import mlflow
    import torch

    from hae.export.program import load_program

    try:
        source = store.client.get_model_version_download_uri(store.name, version)
        folder = Path(mlflow.artifacts.download_artifacts(source, tracking_uri=store.uri)) / "artifacts"
        about, recipe = (json.loads((folder / name).read_text()) for name in ("about.json", "recipe.json"))
    except (OSError, mlflow.MlflowException, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(f"{store.name} version {version}: its files can't be read ({reason[:200]})") from None
    module = load_program(folder / "program.pt2")

    def program(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            cvs, levels = module(torch.from_numpy(np.ascontiguousarray(s, dtype=np.float64)))
        return cvs.numpy(), levels.numpy()

    return Loaded(version, program, about, recipe)
