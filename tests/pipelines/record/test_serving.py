"""mlflow models serve on a registered champion: named CVs over HTTP, and a clear 4xx for what can't be scored."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from pipelines.record import packaging, registry
from pipelines.record.store import opened


def test_mlflow_serves_the_champion(recorded, tmp_path):
    store = opened(recorded.folder)
    model = packaging.load(store, registry.champion(store).version)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{store.name}@champion", "--env-manager", "local",
               "-p", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it starts uvicorn by name
    environment = os.environ | {"MLFLOW_TRACKING_URI": store.uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PATH": path}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as ask:
            until = time.monotonic() + 200
            while time.monotonic() < until:
                try:
                    if ask.get("/ping").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(1)
            rows = pd.DataFrame(model.rows[:20], columns=model.about["features"])
            said = ask.post("/invocations", json={"dataframe_split": rows[rows.columns[::-1]].to_dict("split")})
            got = pd.DataFrame(said.json()["predictions"])
            assert list(got.columns) == ["cv1", "cv2"]
            np.testing.assert_allclose(got.to_numpy(), model.encode(model.rows[:20]), atol=1e-6 * min(model.about["cv_std"]))
            for bad in (rows.iloc[:, 1:], rows.assign(**{rows.columns[0]: "x"}), rows.astype(object).assign(**{rows.columns[0]: None})):
                said = ask.post("/invocations", json={"dataframe_split": bad.to_dict("split")})
                assert 400 <= said.status_code < 500 and said.json()["message"], said.text
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def test_lengths_in_angstrom_are_refused():
    """The model's own code, as MLflow runs it: a row whose lengths are ten times the usual ones is never given a number."""
    mlflow = pytest.importorskip("mlflow")
    from pipelines.record.pyfunc import CVs

    model = CVs()
    model.features, model.lengths, model.usual = ["a", "b"], [True, True], [0.3, 0.4]
    for factor in (10, 0.01):
        with pytest.raises(mlflow.MlflowException, match="Angstrom"):
            model.predict(None, pd.DataFrame([[0.3, -0.2], [0.3 * factor, 0.3 * factor]], columns=["a", "b"]))
