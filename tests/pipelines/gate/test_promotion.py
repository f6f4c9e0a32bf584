"""From training to champion: the better one is promoted, the worse one held, the rejected one stays away, each with its reason."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hae import HierarchicalAutoencoder
from hae.data.split import split_rows
from hae.errors import BadInput
from pipelines import locks, paths
from pipelines.gate import promotion
from pipelines.gate.comparison import compare
from pipelines.gate.gates import Margins
from pipelines.gate.promotion import is_decided, promote, promote_version, rollback
from pipelines.record import digests, packaging, recording, recovery, registry
from pipelines.record.store import Passing, opened
from pipelines.stages.baseline import baseline
from pipelines.stages.evaluate import evaluate
from pipelines.stages.prepare import prepare
from pipelines.stages.train import train


def aliases(project) -> dict:
    return {alias: row.version for row in registry.rows(opened(project.folder)) for alias in row.aliases}


def learn(project, evaluated=True, **values):
    """Train and record the collective variant after a change of its params, without a decision, for which it has to be evaluated."""
    project.change("train", "collective", **values)
    train("collective")
    if evaluated:
        evaluate("collective")
    facts = project.facts("collective")
    recording.record(project.folder, facts, "again")
    return facts


def retrain(project, **values):
    """What `hae retrain` does after a change of params."""
    facts = learn(project, **values)
    outcome = promote(project.folder, facts)
    assert is_decided(project.folder, facts) and promote(project.folder, facts).champion == outcome.champion
    return outcome


def test_the_better_variant_on_validation_is_the_candidate_and_the_first_champion(recorded):
    fve = {name: json.loads((recorded.folder / f"results/variants/{name}/training.json").read_text()) for name in ("collective", "boosted")}
    better = max(fve, key=lambda name: fve[name]["validation_fve_1"] + fve[name]["validation_fve_2"])
    rows = registry.rows(opened(recorded.folder))
    assert {row.variant: row.aliases for row in rows} == {better: ("champion",), min(set(fve) - {better}): ()}
    again = promote(recorded.folder, recorded.facts())
    assert again.action == "nothing new" and "better on validation" in next(
        row.reason for name, row in again.versions.items() if name != better)


def test_a_variant_whose_validation_is_no_number_is_never_the_better_one(recorded):
    store, facts = opened(recorded.folder), recorded.facts()
    for name, other in (("collective", "boosted"), ("boosted", "collective")):
        path = recorded.folder / f"results/variants/{name}/training.json"
        kept = path.read_text()
        path.write_text(json.dumps(json.loads(kept) | {"validation_fve_1": None}))
        assert promotion._today(store, recorded.folder, facts).better == other
        path.write_text(kept)


@pytest.fixture
def unchecked(monkeypatch):
    """Takes every model as it is: the check in a fresh process has tests of its own, and takes seconds each time."""
    monkeypatch.setattr(packaging, "check", lambda uri, tracking_uri: "")


def interrupted(*_):
    raise KeyboardInterrupt


def test_worse_is_held_better_is_promoted_and_the_rejected_does_not_come_back(trained, unchecked, monkeypatch):
    good = trained.params()["train"]["collective"]["max_epochs"]
    key = trained.facts("collective")["train@collective"].key
    weak = learn(trained, max_epochs=16)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry, "crown", interrupted)  # the call dies between decision and crown
        promote(trained.folder, weak)
    assert not is_decided(trained.folder, weak)
    assert promote(trained.folder, weak).action == "promoted" and aliases(trained) == {"champion": "1"}
    assert is_decided(trained.folder, weak) and promote(trained.folder, weak).action == "nothing new"

    facts = learn(trained, max_epochs=good)  # the way up; at first its evidence can't be read
    frames = next((trained.folder / paths.FRAMES).glob("*.parquet"))
    kept = frames.read_bytes()
    frames.write_bytes(b"damaged")
    with pytest.raises(BadInput):
        promote(trained.folder, facts)
    assert aliases(trained) == {"champion": "1"}
    frames.write_bytes(kept)
    better = promote(trained.folder, facts)
    assert better.action == "promoted" and "version 1" in better.reason
    assert aliases(trained) == {"champion": "2", "previous": "1"}

    worse = retrain(trained, max_epochs=3)  # made worse on purpose
    assert worse.action == "held" and "the champion (version 2, collective)" in worse.reason and worse.champion == "2"
    assert aliases(trained) == {"champion": "2", "previous": "1", "candidate": "3"}

    back = rollback(trained.folder)
    assert (back.action, back.champion) == ("rolled back", "1") and aliases(trained) == {"champion": "1", "candidate": "3"}
    with pytest.raises(BadInput, match="no champion before version 1"):
        rollback(trained.folder)

    same = retrain(trained, max_epochs=good)  # the same data and params: the same key
    assert trained.facts("collective")["train@collective"].key == key
    assert same.action == "held" and "taken back" in same.reason and aliases(trained) == {"champion": "1", "candidate": "3"}

    by_hand = promote_version(trained.folder, "2")  # a person may bring it back
    assert by_hand.action == "promoted" and aliases(trained) == {"champion": "2", "previous": "1", "candidate": "3"}
    promote_version(trained.folder, "1")  # and what a person chose is not undone by the next call
    facts = trained.facts("collective")
    assert is_decided(trained.folder, facts)
    outcome = promote(trained.folder, facts)
    assert outcome.champion == "1" and "chosen by hand" in outcome.reason


def test_a_model_that_gives_other_cvs_or_does_not_load_is_held(trained):
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "first")
    store = opened(trained.folder)
    folder = Path(registry.versions(store)[0].source.removeprefix("file://"))

    def changed(name, content):
        """A file of the model changed by somebody who may also write to the registry."""
        (folder / "artifacts" / name).write_bytes(content)
        store.client.set_model_version_tag(store.name, "1", digests.TAG, digests.to_tag(folder))

    checked = pd.read_parquet(folder / "artifacts/check.parquet")
    checked["expected:cv2"] += 1e-4
    changed("check.parquet", checked.to_parquet())
    outcome = promote(trained.folder, facts)
    assert outcome.action == "held" and "other CVs than the trained network" in outcome.reason and outcome.champion is None
    assert aliases(trained) == {"candidate": "1"}
    changed("weights.safetensors", b"no weights")
    with pytest.raises(BadInput, match=r"does not load in a fresh process .*; no alias was moved"):
        promote_version(trained.folder, "1")
    assert aliases(trained) == {"candidate": "1"}


def test_signs_follow_the_champion(trained):
    """The next model's CVs point where the champion's do, and give the same levels as the trained network."""
    recording.record(trained.folder, trained.facts("collective"), "first")
    store, values = opened(trained.folder), trained.frames().values
    registry.crown(store, "1")
    for seed in (1, 2):
        learn(trained, evaluated=False, random_state=seed)
    first, *others = (packaging.load(store, str(number)) for number in range(1, 4))
    words = []
    for other in others:
        cvs = other.program(values)[0]
        correlation = [np.corrcoef(first.program(values)[0][:, k], cvs[:, k])[0, 1] for k in range(2)]
        assert min(correlation) > 0
        words += other.about["matching"]
        assert other.about["matched_to"] == "1"
    assert set(words) <= {"flipped", "kept"}
    own = HierarchicalAutoencoder.load(trained.folder / "models/collective")
    np.testing.assert_allclose(others[-1].program(values)[1][1], own.reconstruct(values, level=2), atol=1e-5)


def test_the_champion_is_compared_on_blocks_that_neither_was_trained_on(trained, monkeypatch):
    recording.record(trained.folder, trained.facts("collective"), "first")
    trained.change("prepare", "split", salt="another")
    prepare()
    learn(trained, evaluated=False, max_epochs=30)
    store = opened(trained.folder)
    champion, candidate = packaging.load(store, "1"), packaging.load(store, "2")
    frames = trained.frames()
    split = {name: value for name, value in champion.about["split"].items() if name not in ("group", "id")}
    old = split_rows(frames.trajectory, frames.frame, values=frames.values, **split)
    rows = frames.select((frames.split == "test") & (old == "test")).values
    assert 0 < len(rows) < (frames.split == "test").sum()
    scale, mean = np.array(candidate.about["scale"]), np.array(candidate.about["mean"])
    variance = (((rows - mean) / scale) ** 2).mean()
    expected = [
        [1 - (((rows - level) / scale) ** 2).mean() / variance for level in model.program(rows)[1]] for model in (champion, candidate)
    ]
    beside = compare(champion, candidate, trained.folder)
    np.testing.assert_allclose([beside.fve, beside.candidate_fve], expected, atol=1e-12)
    monkeypatch.setattr("pipelines.gate.comparison.ROWS", 97)
    in_pieces = compare(champion, candidate, trained.folder)
    for name in ("fve", "candidate_fve", "low", "high"):
        np.testing.assert_allclose(getattr(in_pieces, name), getattr(beside, name), atol=1e-12, err_msg=name)


def test_another_target_is_held_for_a_person(trained, unchecked):
    recording.record(trained.folder, trained.facts("collective"), "first")
    registry.crown(opened(trained.folder), "1")
    trained.change("prepare", columns=["a", "b", "c"])
    prepare()
    baseline()
    outcome = retrain(trained)
    assert outcome.action == "held" and "another target" in outcome.reason and "hae promote" in outcome.reason
    assert aliases(trained) == {"champion": "1", "candidate": "2"}


def test_the_registered_model_works_in_a_stranger_s_process(recorded, tmp_path):
    """By alias, with pickle forbidden, without this package: a DataFrame in, cv1..cvn out, the estimator's own CVs."""
    store = opened(recorded.folder)
    row = registry.champion(store)
    table = recorded.table()
    table.drop(columns="run").iloc[:, ::-1].to_parquet(tmp_path / "in.parquet")  # columns in another order
    script = (
        "import sys; sys.modules['hae'] = sys.modules['pipelines'] = None\n"
        "import mlflow, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model('models:/{store.name}@champion')\n"
        "model.predict(pd.read_parquet('in.parquet')).to_parquet('out.parquet')"
    )
    environment = {"PATH": "/usr/bin:/bin", "MLFLOW_TRACKING_URI": store.uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
                   "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = pd.read_parquet(tmp_path / "out.parquet")
    own = HierarchicalAutoencoder.load(recorded.folder / "models" / row.variant).transform(table.drop(columns="run").to_numpy())
    assert list(out.columns) == ["cv1", "cv2"]
    np.testing.assert_allclose(out.to_numpy(), own, atol=1e-5 * own.std())


def test_the_registered_model_says_what_it_takes_gives_and_needs(recorded):
    import mlflow

    store = opened(recorded.folder)
    source = Path(registry.versions(store)[0].source.removeprefix("file://"))
    about = mlflow.models.Model.load(str(source))
    assert about.signature.inputs.input_names() == list("abcde") and about.signature.outputs.input_names() == ["cv1", "cv2"]
    requirements = (source / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in requirements) and any(line.startswith("torch==") for line in requirements)
    assert (source / "input_example.json").exists() and json.loads((source / "artifacts/recipe.json").read_text())["kind"] == "columns"


def recorded_again(project, number: int) -> dict:
    """One more version of the files that are there, under a key of its own."""
    facts = {stage: replace(its, params=its.params | {"night": {"number": number}}) for stage, its in project.facts("collective").items()}
    recording.record(project.folder, facts, f"night {number}")
    return facts


def test_a_fault_that_passes_is_no_verdict(trained, unchecked, monkeypatch):
    """The champion's files away for a moment, a check that was killed: nothing is decided, and the next call tries again."""
    recorded_again(trained, 1)
    store = opened(trained.folder)
    registry.crown(store, "1")
    facts = recorded_again(trained, 2)
    source = Path(next(row.source for row in registry.versions(store) if str(row.version) == "1").removeprefix("file://"))
    source.rename(source.with_name("away"))
    outcome = promote(trained.folder, facts)
    source.with_name("away").rename(source)
    assert (outcome.action, outcome.champion) == ("failed", "1") and "the next retraining tries again" in outcome.reason
    assert not is_decided(trained.folder, facts) and not registry.find(store, "2").decision
    with monkeypatch.context() as patch:
        patch.setattr(packaging, "check", lambda store, version: raising(Passing("the registered model did not load in 300 s")))
        assert promote(trained.folder, facts).action == "failed"
    assert not is_decided(trained.folder, facts) and aliases(trained) == {"champion": "1"}
    assert promote(trained.folder, facts).action == "held" and is_decided(trained.folder, facts)


def raising(error: Exception):
    raise error


def test_who_decides_sees_what_another_checkout_moved_meanwhile(trained, unchecked, monkeypatch):
    """Between a look and its move a person makes another version champion, on the same registry."""
    for number in (1, 2):
        recorded_again(trained, number)
    store = opened(trained.folder)
    for version in ("1", "2"):
        registry.crown(store, version)
    facts, compared = recorded_again(trained, 3), promotion._candidate

    def meanwhile(*arguments):
        if registry.champion(store).version == "2":
            registry.crown(store, "1")
        return compared(*arguments)

    monkeypatch.setattr(promotion, "_candidate", meanwhile)
    outcome = promote(trained.folder, facts)
    assert outcome.action == "held" and "version 1" in outcome.reason
    assert aliases(trained) == {"champion": "1", "previous": "2", "candidate": "3"} and registry.history(store) == ["1", "2", "1"]

    registry.crown(store, "3")
    monkeypatch.setattr(promotion, "_must_load", lambda store, version: registry.crown(store, "2"))
    with pytest.raises(BadInput, match="the champion changed meanwhile, so nothing was rejected"):
        rollback(trained.folder)
    assert registry.champion(store).version == "2" and not registry.find(store, "3").rejected


def test_whoever_moves_the_champion_holds_the_checkout(trained, unchecked, monkeypatch):
    facts, holders, mend = recorded_again(trained, 1), [], recovery.mend
    monkeypatch.setattr(recovery, "mend", lambda store: holders.append(locks.holder(trained.folder)) or mend(store))
    promote(trained.folder, facts)
    recorded_again(trained, 2)
    promote_version(trained.folder, "2")
    rollback(trained.folder)
    assert len(holders) >= 3 and all(f"process {os.getpid()} " in holder for holder in holders), holders


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_twenty_retrainings_with_other_seeds_move_the_champion_at_most_once(trained, unchecked):
    champions = [retrain(trained, random_state=seed).champion for seed in range(20)]
    assert sum(a != b for a, b in pairwise(champions)) <= 1


def test_rollback_and_promote_say_what_is_allowed(bare):
    with pytest.raises(BadInput, match="there is no champion to reject"):
        rollback(bare)
    with pytest.raises(BadInput, match="no version 5; allowed: none yet"):
        promote_version(bare, "5")


def test_the_margins_of_the_gate_are_those_of_params(trained):
    section = trained.params()["promote"]
    assert section.pop("by_hand") is False and Margins(**section) == Margins()


def test_where_a_person_decides_the_gate_only_proposes(trained, unchecked):
    trained.change("promote", by_hand=True)
    facts = trained.facts("collective")
    recording.record(trained.folder, facts, "first")
    outcome = promote(trained.folder, facts)
    assert (outcome.action, outcome.champion) == ("held", None) and aliases(trained) == {"candidate": "1"}
    assert outcome.reason.startswith('awaits approval (hae promote 1 --by NAME --because "...")')
    for by, because in (("", ""), ("Ada", ""), ("", "looks right"), (" ", "looks right")):
        with pytest.raises(BadInput, match="asks who decides and why; allowed: --by NAME --because WHY"):
            promote_version(trained.folder, "1", by, because)
    assert promote_version(trained.folder, "1", "Ada", "looks right").action == "promoted"
    store = opened(trained.folder)
    row, tags = registry.champion(store), store.client.get_model_version(store.name, "1").tags
    assert row.reason == "version 1 (collective) is promoted by hand, by Ada: looks right" and aliases(trained) == {"champion": "1"}
    assert {"by": "Ada", "because": "looks right"}.items() <= json.loads(tags["approval"]).items()
    kept = json.loads((trained.folder / ".hae" / "registry.json").read_text())
    assert kept["versions"]["1"]["tags"]["approval"] == tags["approval"]
    assert is_decided(trained.folder, facts) and promote(trained.folder, facts).action == "nothing new"
