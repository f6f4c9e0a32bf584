"""A trained network as an MLflow model that stands alone: made, matched to the champion, checked in a fresh process, loaded."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import hae
from hae.data.frames import concatenate, read_pieces
from hae.data.parts import Manifest
from hae.errors import BadInput
from hae.network.kinds import PERIODS
from pipelines.record.digests import TAG, cleaned_and_checked, digests
from pipelines.record.store import Passing, Store

__all__ = ["Loaded", "check", "fetch", "intact", "load", "pack", "placed", "write_code"]

CHECK_ROWS, MATCH_ROWS = 200, 5000
REQUIREMENTS = ("mlflow", "torch", "safetensors", "numpy", "pandas", "pyarrow")
TOLERANCE = 1e-6  # times the standard deviation of each CV; all work in float64 here

# Runs without hae and without pickle: what a stranger's process does with the model.
CHECK = """
import json, sys
sys.modules["hae"] = sys.modules["pipelines"] = None
import mlflow, numpy as np, pandas as pd
folder = sys.argv[1]
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
    """A registered model in this process. network: the module, in float64 on the CPU; about, recipe: their JSON; rows: (N, D) of some
    training rows."""

    version: str
    network: Any
    about: dict
    recipe: dict
    rows: np.ndarray

    def program(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CVs (N, n) and levels (n, N, D) of rows s (N, D) in raw units."""
        import torch

        with torch.no_grad():
            cvs, levels = self.network(torch.from_numpy(np.ascontiguousarray(s, dtype=np.float64)))
        return cvs.numpy(), levels.numpy()

    def encode(self, s: np.ndarray) -> np.ndarray:
        """CVs (N, n) alone: levels are many times as large."""
        import torch

        with torch.no_grad():
            return self.network.encode(torch.from_numpy(np.ascontiguousarray(s, dtype=np.float64))).numpy()


def pack(folder: Path, network, frames: Path, recipe: Path, champion: Loaded | None, about: dict, mlflow_model) -> list[str]:
    """Write the MLflow model of a network to `folder`, its CVs matched to the champion's: what was done to each CV, in words.

    frames: the folder of the data set, read a piece at a time. about: facts to be kept in about.json. The model is weights
    (safetensors), a description (JSON), the network's own code, the recipe, and some training rows with the network's CVs, so that
    `check` can be done anywhere and at any time. The network stays as it is.
    """
    import mlflow
    import torch
    from mlflow.models import infer_signature
    from safetensors.torch import save_file

    from hae.network.canonical import match

    network = copy.deepcopy(network).to("cpu", torch.float64).eval()
    manifest, kinds = Manifest.read(frames), network.bottleneck.kinds
    training, weights = _spread(frames, manifest.sides["train"])
    if champion is None:
        matching = ["kept: no champion"] * len(kinds)
    elif not set(champion.about["features"]) <= set(manifest.features):
        matching = ["kept: the champion reads other features"] * len(kinds)
    else:
        columns = [manifest.features.index(name) for name in champion.about["features"]]
        matching = match(network, training, champion.program(training[:, columns])[0], tuple(champion.about["cv"]), weights)
    with torch.no_grad():
        cvs = network.encode(torch.from_numpy(training)).numpy()

    names = [f"cv{k + 1}" for k in range(len(kinds))]
    some = np.linspace(0, len(training) - 1, min(len(training), CHECK_ROWS)).astype(int)
    rows = pd.DataFrame(training[some], columns=list(manifest.features))
    expected = pd.DataFrame(cvs[some], columns=names)
    about = about | {
        "features": list(manifest.features),
        "units": list(manifest.units),
        "cv": list(kinds),
        **_ranges(network, frames),
        "mean": network.output_mean.expand(len(manifest.features)).tolist(),
        "scale": network.output_scale.expand(len(manifest.features)).tolist(),
        "matching": matching,
        "matched_to": champion.version if champion is not None else None,
    }
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {name: Path(temporary) / name for name in ("about.json", "check.parquet", "weights.safetensors", "recipe.json")}
        about |= {"spec": network.spec, "code": write_code(Path(temporary))}
        parts["about.json"].write_text(json.dumps(about, indent=1) + "\n")
        parts["recipe.json"].write_bytes(recipe.read_bytes())
        rows.join(expected.add_prefix("expected:")).to_parquet(parts["check.parquet"])
        save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, parts["weights.safetensors"])
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            code_paths=[str(Path(temporary) / about["code"])],
            artifacts={path.stem: str(path) for path in parts.values()},
            signature=infer_signature(rows, expected),
            input_example=rows.head(3),
            pip_requirements=[f"{name}=={metadata.version(name).split('+')[0]}" for name in REQUIREMENTS],
            mlflow_model=mlflow_model,
        )
    return matching


def _spread(frames: Path, number: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Up to `MATCH_ROWS` of so many training rows, evenly spread, (N, D) in float64, and their weights."""
    wanted, kept, first = np.linspace(0, number - 1, min(number, MATCH_ROWS)).astype(int), [], 0
    for piece in read_pieces(frames):
        side = piece.select("train")
        kept.append(side.select(wanted[(first <= wanted) & (wanted < first + len(side))] - first))
        first += len(side)
    some = concatenate(kept)
    return some.values.astype(np.float64), some.weights


def _ranges(network, frames: Path) -> dict[str, list[float]]:
    """Of all training rows: lowest and highest value of each feature (low, high) and of each CV (cv_low, cv_high), and cv_std, its standard
    deviation by the rows' weights, of a circular CV that of its point on the circle."""
    import torch

    circular = np.array([PERIODS[kind] is not None for kind in network.bottleneck.kinds])
    d, n, origin = len(Manifest.read(frames).features), len(circular), None
    low, high, sums = np.full(d + n, np.inf), np.full(d + n, -np.inf), np.zeros((3, n))
    for piece in read_pieces(frames):
        side = piece.select("train")
        if not len(side):
            continue
        values = side.values.astype(np.float64)
        with torch.no_grad():
            cvs = network.encode(torch.from_numpy(values)).numpy()
        both = np.concatenate([values, cvs], axis=1)
        low, high = np.minimum(low, both.min(0)), np.maximum(high, both.max(0))
        points = np.where(circular, np.exp(1j * cvs), cvs)
        origin = points[0] if origin is None else origin  # so that a CV that never varies has 0, whatever its value
        weights, away = np.ones(len(side)) if side.weights is None else side.weights, points - origin
        sums = sums + np.stack([np.full(n, weights.sum()), weights @ away, weights @ abs(away) ** 2])
    total, first, second = sums
    return {"low": low[:d].tolist(), "high": high[:d].tolist(), "cv_low": low[d:].tolist(), "cv_high": high[d:].tolist(),
            "cv_std": np.sqrt(np.maximum((second / total).real - abs(first / total) ** 2, 0)).tolist()}


def check(store: Store, version: str) -> str:
    """Why a registered version must not be used, or "". Its files have to be those that were registered; then it is asked in a fresh
    process, with pickle forbidden and without hae, and has to give the trained network's CVs of its day, to `TOLERANCE`.

    Raises:
        Passing: it could not be asked: files gone or changed, the process killed or out of time.
    """
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": store.uri,
                                "MLFLOW_REGISTRY_URI": store.uri, "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            folder = fetch(store, version, Path(elsewhere))
            command = [sys.executable, "-c", CHECK, str(folder)]
            done = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=300)
        except BadInput as error:
            raise Passing(str(error)) from None
        except subprocess.TimeoutExpired:
            raise Passing("the registered model did not load in 300 s") from None
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no message"]
        raise Passing(f"the registered model does not load in a fresh process ({last[0].strip()[:300]})")
    difference = json.loads(done.stdout.splitlines()[-1])["difference"]
    if not difference <= TOLERANCE:
        return f"the registered model gives other CVs than the trained network (by {difference:.1e} of their standard deviation)"
    return ""


def fetch(store: Store, version: str, target: Path) -> Path:
    """The files of a registered version, copied below `target` and checked there, so that nobody can change them in between.

    Raises:
        BadInput: they are gone, or not the files that were registered.
    """
    import mlflow

    what = f"{store.name} version {version}"
    try:
        source = store.client.get_model_version_download_uri(store.name, version)
        tags = store.client.get_model_version(store.name, version).tags
        folder = Path(mlflow.artifacts.download_artifacts(source, dst_path=str(target / "model"), tracking_uri=store.uri))
    except (OSError, mlflow.MlflowException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(f"{what}: its files can't be read ({reason[:200]})") from None
    cleaned_and_checked(folder, tags, what)
    return folder


def intact(store: Store, version) -> bool:
    """Whether the files of a version (as MLflow gives it) are those that were registered; of a remote store, whether they are there."""
    from mlflow.artifacts import list_artifacts

    said = json.loads(version.tags.get(TAG, "{}"))
    if version.source.startswith("file://"):
        return bool(said) and digests(Path(version.source.removeprefix("file://"))) == said
    try:
        there = {Path(file.path).name for file in list_artifacts(version.source, tracking_uri=store.uri)}
    except Exception:  # whatever the store of the day raises for what is gone
        return False
    return bool(said) and {name.partition("/")[0] for name in said} <= there


def placed(store: Store, versions: list[str]) -> dict[str, dict[str, str]] | None:
    """Folder -> path in it -> SHA-256, of these versions as they were registered; None where one of them is not on this machine's disk."""
    found = {}
    for number in versions:
        version = store.client.get_model_version(store.name, number)
        source = version.source or ""
        if not source.startswith("file://"):
            return None
        found[source.removeprefix("file://")] = json.loads(version.tags.get(TAG, "{}"))
    return found


def load(store: Store, version: str) -> Loaded:
    """The network, recipe and facts of a registered version, built by the code that the version carries, once its files are checked.

    Raises:
        BadInput: its files are gone, or not those that were registered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = fetch(store, version, Path(temporary))
        about, recipe = (json.loads((folder / "artifacts" / name).read_text()) for name in ("about.json", "recipe.json"))
        reader = _module(folder / "code", about["code"])
        network = reader.read_network(about["spec"], folder / "artifacts" / "weights.safetensors")
        rows = pd.read_parquet(folder / "artifacts" / "check.parquet", columns=about["features"]).to_numpy(dtype=float)
    return Loaded(version, network, about, recipe, rows)


def write_code(folder: Path) -> str:
    """Copy the network's own code below `folder`, as a package that works without hae; gives its name, which tells its content."""
    home = Path(hae.__file__).parent
    files = {"__init__.py": b'"""The code of a registered network, as it was when the network was trained."""\n',
             "errors.py": (home / "errors.py").read_bytes()}
    files |= {f"network/{path.name}": path.read_bytes() for path in sorted((home / "network").glob("*.py"))}
    name = "hae_" + hashlib.sha256(b"\0".join(part for path, code in files.items() for part in (path.encode(), code))).hexdigest()[:12]
    for path, code in files.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_bytes(code)
    return name


def _module(code: Path, name: str):
    """The reader of a version's own code. Its package's name tells its content, so that versions of different code live side by side."""
    importlib.invalidate_caches()
    sys.path.insert(0, str(code))
    try:
        return importlib.import_module(f"{name}.network.weights")
    finally:
        sys.path.remove(str(code))
