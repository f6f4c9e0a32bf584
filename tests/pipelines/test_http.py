"""hae serve --http: the champion's CVs by name, bad requests refused in a line, and a promotion is followed."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import mdtraj
import numpy as np
import pytest
from export.dipeptide import TOPOLOGY, frames, trained
from fastapi.testclient import TestClient

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from pipelines.http import Champion, Scorer, application
from pipelines.record import packaging, registry
from pipelines.record.digests import TAG
from pipelines.record.store import opened


@pytest.fixture(scope="module")
def champion(recorded):
    return Champion(recorded.folder)


@pytest.fixture(scope="module")
def client(champion):
    return TestClient(application(champion), base_url="http://127.0.0.1")


def rows(champion, count=5):
    return [dict(zip(champion.scorer.model.about["features"], row)) for row in champion.scorer.model.rows[:count].tolist()]


def test_rows_are_scored_by_name(client, champion):
    want = champion.scorer.model.encode(champion.scorer.model.rows[:5])
    turned = [dict(reversed(row.items())) | {"beside": 1} for row in rows(champion)]
    for asked in (rows(champion), turned):
        said = client.post("/cvs", json={"rows": asked})
        assert said.status_code == 200 and said.json()["version"] == champion.scorer.model.version
        np.testing.assert_allclose([[row["cv1"], row["cv2"]] for row in said.json()["cvs"]], want, atol=1e-12)
    assert said.json()["periods"] == {"cv1": None, "cv2": None}


def test_bad_requests_are_refused_in_a_line_and_counted(client, champion):
    good = rows(champion)
    first = next(iter(good[0]))
    bad = [
        ({"content": b"{"}, 400, "not JSON"),
        ({"content": b"\xff"}, 400, "not JSON"),
        ({"json": []}, 422, "no object"),
        ({"json": {"row": good}}, 422, "keys"),
        ({"json": {"rows": {}}}, 422, "not a list"),
        ({"json": {"rows": [{k: v for k, v in row.items() if k != first} for row in good]}}, 422, f"'{first}' is there 0 times"),
        ({"json": {"rows": [*good, {}]}}, 422, f"column '{first}'"),
        ({"json": {"rows": [row | {first: "1"} for row in good]}}, 422, f"column '{first}'"),
        ({"json": {"rows": [row | {first: True} for row in good]}}, 422, f"column '{first}'"),
        ({"content": b'{"rows": [{"%s": NaN}]}' % first.encode()}, 422, "column"),
        ({"json": {"atoms": ["CA"], "positions": [[[0, 0, 0]]]}}, 422, "columns of a table, not atoms"),
    ]
    for asked, status, word in bad:
        said = client.post("/cvs", **asked)
        assert said.status_code == status and word in said.json()["error"] and "\n" not in said.json()["error"], said.text
    assert client.get("/cvs").status_code == 405 and client.get("/none").json()["error"] == "Not Found"
    assert client.get("/health", headers={"host": "elsewhere.org"}).status_code == 400
    metrics = client.get("/metrics").text
    assert f"hae_request_errors_total{{path=\"/cvs\"}} {len(bad) + 1}.0" in metrics
    assert f"hae_champion_version {champion.scorer.model.version}.0" in metrics and "hae_request_seconds_bucket" in metrics


def test_a_promotion_is_followed_without_a_restart(recorded, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(recorded.folder, folder)
    store = opened(folder)
    first = registry.champion(store).version
    other = next(row.version for row in registry.rows(store) if row.version != first)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "--project", folder, "serve", "--http", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert f"version {first} at http://127.0.0.1:{port}/cvs" in process.stdout.readline()
        ask = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8), timeout=60)
        assert ask.get("/health").json()["champion"] == first
        registry.crown(store, other)
        until = time.monotonic() + 60
        while ask.get("/health").json()["champion"] != other and time.monotonic() < until:
            time.sleep(1)
        model = packaging.load(store, other)
        asked = [dict(zip(model.about["features"], row)) for row in model.rows[:3].tolist()]
        said = ask.post("/cvs", json={"rows": asked}).json()
        assert said["version"] == other
        np.testing.assert_allclose([list(row.values()) for row in said["cvs"]], model.encode(model.rows[:3]), atol=1e-12)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_promoted_version_whose_files_were_changed_is_not_loaded(recorded, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(recorded.folder, folder)
    champion = Champion(folder)
    first, store = champion.scorer.model.version, champion.store
    other = next(row.version for row in registry.rows(store) if row.version != first)
    said = json.loads(store.client.get_model_version(store.name, other).tags[TAG])
    store.client.set_model_version_tag(store.name, other, TAG, json.dumps(dict.fromkeys(said, "0" * 64)))
    registry.crown(store, other)
    with pytest.raises(BadInput, match=f"version {other}"):
        champion.look()
    assert champion.scorer.model.version == first


def test_positions_are_scored_by_the_names_of_their_atoms():
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), "coordinates")
    network = trained(recipe)
    topology, x = frames()
    about = {"features": list(recipe.names), "cv": ["linear", "tanh", "circular"]}
    score = Scorer(packaging.Loaded("7", network, about, json.loads(recipe.to_json()), np.zeros((0, len(recipe.names)))))
    function = hae.export.cv(network, recipe)
    at, atoms = function.indices(topology), list(function.atoms)
    for turn in (slice(None), slice(None, None, -1)):
        said = score({"atoms": atoms[turn], "positions": x[:, at][:, turn].tolist()})
        np.testing.assert_allclose([list(row.values()) for row in said["cvs"]], function(x[:, at])[0], atol=1e-12)
    assert said["periods"] == {"cv1": None, "cv2": None, "cv3": 2 * np.pi}
    good = {"atoms": atoms, "positions": x[:, at].tolist()}
    for bad, word in [
        ({"positions": (10 * x[:, at]).tolist()}, "Angstrom"),
        ({"atoms": ["XY", *atoms[1:]]}, "atoms: not those of the model"),
        ({"atoms": atoms[:-1]}, "atoms: not those of the model"),
        ({"positions": x[:, at[:-1]].tolist()}, "allowed: numbers"),
        ({"positions": [[["0"] * 3] * len(at)]}, "allowed: numbers"),
        ({"positions": [[[0.0] * 3], []]}, "uneven"),
        ({"positions": []}, "allowed: numbers"),
    ]:
        with pytest.raises(BadInput, match=word):
            score(good | bad)


def test_no_champion_is_said(bare):
    with pytest.raises(BadInput, match="no champion"):
        Champion(bare)
