"""Stages train, baseline, evaluate and report on a small project: their figures by another way, and one line for what can't be done."""

import importlib
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raylets import raylets
from sklearn.decomposition import PCA

from hae import HierarchicalAutoencoder
from hae.data.frames import Frames, read_pieces
from hae.storage import load_networks
from pipelines.stages.evaluate import evaluate
from pipelines.stages.report import report
from pipelines.stages.stability import stability
from pipelines.stages.train import train

VARIANTS = ["collective", "boosted"]
ROOT = Path(__file__).parents[3]


def read_json(path) -> dict:
    return json.loads(Path(path).read_text())


def sides(project) -> dict[str, np.ndarray]:
    frames = project.frames()
    return {side: frames.select(side).values for side in ("train", "validation", "test")}


def fve_of(levels, rows, train) -> np.ndarray:
    """(n,) of levels (n, N, D), in units of the training rows' standard deviations, about their mean."""
    mean, scale = train.mean(0), train.std(0)
    v = (((rows - mean) / scale) ** 2).sum()
    return np.array([1 - (((rows - q) / scale) ** 2).sum() / v for q in levels])


def levels_of(model, rows) -> list[np.ndarray]:
    return [model.reconstruct(rows, level=k + 1) for k in range(model.network_.n_cvs)]


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".hae" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("variant", VARIANTS)
def test_train_leaves_a_model_its_history_and_its_figures(trained, variant):
    rows, model = sides(trained), HierarchicalAutoencoder.load(f"models/{variant}")
    told = read_json(f"results/variants/{variant}/training.json")
    for side in ("train", "validation"):
        found = [told[f"{side}_fve_{k}"] for k in (1, 2)]
        np.testing.assert_allclose(found, fve_of(levels_of(model, rows[side]), rows[side], rows["train"]), atol=1e-5)
    assert told["validation_loss"] == pytest.approx(1 - np.mean([told["validation_fve_1"], told["validation_fve_2"]]))
    history = pd.read_csv(f"results/variants/{variant}/history.csv")
    assert history.groupby("member")["epoch"].apply(list).tolist() == [list(range(1, 61))] * 2
    loss = history[["validation_error_1", "validation_error_2"]].mean(axis=1)
    assert history["epoch"][loss.idxmin()] == told["best_epoch"]  # the best member's best epoch
    variance = (((rows["validation"] - rows["train"].mean(0)) / rows["train"].std(0)) ** 2).mean()
    assert loss.min() / variance == pytest.approx(told["validation_loss"], rel=1e-4)


def test_training_again_gives_the_same_bytes_and_test_rows_are_never_seen(trained):
    before = Path("models/collective/weights.safetensors").read_bytes()
    frames = trained.frames()
    values = frames.values.copy()
    values[np.isin(frames.split, ("test", "gap"))] = 1e6
    replace(frames, values=values).write("data/prepared/frames")
    train("collective")
    assert Path("models/collective/weights.safetensors").read_bytes() == before
    assert not list(Path(".hae/checkpoints").glob("*"))


def test_baseline_is_pca_of_the_training_rows_and_a_plain_autoencoder_for_every_k(trained):
    rows = sides(trained)
    networks, _, _ = load_networks("models/baseline")
    assert set(networks) == {"pca", "plain-1", "plain-2"}
    assert [networks[f"plain-{k}"].n_cvs for k in (1, 2)] == [1, 2]
    told = read_json("results/baseline/training.json")
    pca = [PCA(k).fit(rows["train"] / rows["train"].std(0)) for k in (1, 2)]
    scaled = rows["validation"] / rows["train"].std(0)
    levels = [p.inverse_transform(p.transform(scaled)) * rows["train"].std(0) for p in pca]
    found = [told[f"validation_pca_fve_{k}"] for k in (1, 2)]
    np.testing.assert_allclose(found, fve_of(levels, rows["validation"], rows["train"]), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluate_measures_the_test_blocks(trained, variant):
    rows, model = sides(trained), HierarchicalAutoencoder.load(f"models/{variant}")
    table, metrics = pd.read_csv(f"results/variants/{variant}/levels.csv"), read_json(f"results/variants/{variant}/metrics.json")
    expected = fve_of(levels_of(model, rows["test"]), rows["test"], rows["train"])
    np.testing.assert_allclose(table["fve"], expected, atol=1e-5)
    np.testing.assert_allclose(table["gain"], np.diff(expected, prepend=0), atol=1e-5)
    by = rows["train"].std(0)
    pca = PCA(2).fit(rows["train"] / by)
    first = pca.mean_ + np.outer((rows["test"] / by - pca.mean_) @ pca.components_[0], pca.components_[0])
    levels = [first * by, pca.inverse_transform(pca.transform(rows["test"] / by)) * by]
    np.testing.assert_allclose(table["pca_fve"], fve_of(levels, rows["test"], rows["train"]), atol=1e-5)
    for name in ("fve", "gain", "pca_fve", "plain_fve"):
        np.testing.assert_allclose([metrics[f"{name}_{k}"] for k in (1, 2)], table[name])
    assert metrics["test_rows"] == len(rows["test"])
    assert table["fve"][0] > table["pca_fve"][0] + 0.02  # four of the five columns follow a curve


def test_stability_compares_replicas_on_the_test_blocks(trained, capsys, monkeypatch):
    found = read_json("results/variants/collective/stability.json")
    assert found["replicas"] == 2 and len(found["levels"]) == len(found["cvs"]) == 2
    assert found["levels"][0] > 0.7  # the curve is there in every draw
    assert all(0 < cv <= 1 for cv in found["cvs"])
    assert all(low <= mean <= 1 for low, mean in zip(found["lowest"], found["levels"], strict=True))
    trained.change("stability", replicas=0)
    stability("collective")
    assert read_json("results/variants/collective/stability.json") == {}
    trained.change("stability", replicas=2)
    rows = Frames.read("data/prepared/frames").counts()
    monkeypatch.setenv("HAE_MEMORY_LIMIT", "1K")
    monkeypatch.setattr("pipelines.stages.stability.LEAST", rows["test"] // 2)
    stability("collective")
    sampled = read_json("results/variants/collective/stability.json")
    assert 0.2 * rows["test"] < sampled["rows"][1] < 0.8 * rows["test"] and sampled["rows"][0] < 0.5 * rows["train"]
    assert "on a sample" in capsys.readouterr().out and sampled["levels"][0] > 0.6
    assert not list(Path(".hae/replicas").iterdir())


@pytest.mark.acceptance
@pytest.mark.parametrize("engine", ["local", "ray", "three raylets"])
def test_replicas_are_the_same_wherever_they_are_trained(trained, engine):
    trained.change("stability", replicas=3)
    stability("collective")
    alone = read_json("results/variants/collective/stability.json")
    script = "import hae.engine; hae.engine.ALONE_SECONDS = 0; from pipelines.stages.stability import stability; stability('collective')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HAE_THREADS": "2"}
    with ExitStack() as held:
        if engine != "local":
            pytest.importorskip("ray")
        more = {"RAY_ADDRESS": held.enter_context(raylets()).address} if engine == "three raylets" else {"HAE_ENGINE": engine}
        subprocess.run([sys.executable, "-c", script], env=environment | more, check=True)
    spread = read_json("results/variants/collective/stability.json")
    assert alone.pop("seconds") > 0 and spread.pop("seconds") > 0 and spread == alone
    assert not list(Path(".hae/replicas").iterdir())


def test_evaluate_again_gives_the_same_figures(trained):
    names = ("levels.csv", "metrics.json", "labels.csv", "importance.csv")
    before = {name: Path("results/variants/boosted", name).read_bytes() for name in names}
    evaluate("boosted")
    for name, content in before.items():
        assert Path("results/variants/boosted", name).read_bytes() == content


def test_evaluate_of_rows_in_files_a_few_at_a_time_gives_the_same_figures(trained, monkeypatch, capsys):
    """Everything that goes over rows in pieces gets pieces of 97 rows, and the features none of the memory."""
    folder = Path("results/variants/boosted")
    before, tables = read_json(folder / "importance.json"), {path.name: pd.read_csv(path) for path in folder.glob("*.csv")}
    monkeypatch.setenv("HAE_MEMORY_LIMIT", "1K")
    for place in ("network.scoring.CHUNK_ROWS", "importance.relation.ROWS", "importance.decoders.CHUNK_ROWS",
                  "importance.innovations.POLYNOMIAL_ROWS", "importance.intervals.TOGETHER", "importance.timeline.ROWS",
                  "importance.timeline.NUMBERS", "importance.series.TOGETHER", "importance.series.MOST", "importance.gradients.ROWS",
                  "importance.tails.MOST", "importance.correlation.WIDTH"):
        monkeypatch.setattr(f"hae.{place}", 97)
    monkeypatch.setattr("hae.importance.correlation.WHOLE", 0)
    monkeypatch.setattr("hae.data.sides.read_pieces", lambda folder: read_pieces(folder, 97))
    evaluate("boosted")
    assert "stay in files" in capsys.readouterr().out and not Path(".hae/rows/evaluate-boosted").exists()
    after = read_json(folder / "importance.json")
    assert before.pop("seconds") > 0 and after.pop("seconds") > 0
    alike(after, before)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(pd.read_csv(folder / name), table, check_exact=False, rtol=1e-9, atol=1e-9)


def alike(found, expected) -> None:
    """Words are equal, numbers to 1e-9."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
    if isinstance(expected, dict | list):
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            alike(found[key], expected[key])
    else:
        assert found == (pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True) if isinstance(expected, float) else expected)


def test_report_of_rows_in_pieces_draws_the_same_figures(trained, monkeypatch):
    before = snapshot(Path("results"))
    monkeypatch.setattr("pipelines.page.evidence.read_pieces", lambda folder: read_pieces(folder, 97))
    report()
    after = snapshot(Path("results"))
    assert after.keys() == before.keys()
    for name in ("table.csv", "importance.csv", "fve.svg"):
        assert after[name] == before[name], name


def test_report_puts_both_variants_in_one_table(trained, capsys):
    report()
    table, rows = pd.read_csv("results/table.csv"), read_json("results/table.json")
    assert list(zip(table["variant"], table["cv"])) == [(variant, cv) for variant in VARIANTS for cv in (1, 2)]
    for variant in VARIANTS:
        levels = pd.read_csv(f"results/variants/{variant}/levels.csv")
        part = table[table["variant"] == variant]
        for name in ("fve", "gain", "pca_fve", "plain_fve"):
            np.testing.assert_allclose(part[name], levels[name])
            np.testing.assert_allclose([row[name] for row in rows if row["variant"] == variant], levels[name])
    shown = capsys.readouterr().out
    assert "PCA FVE" in shown and f"{table['fve'][0]:.3f}" in shown
    assert Path("results/fve.png").read_bytes().startswith(b"\x89PNG") and "<svg" in Path("results/fve.svg").read_text()


def refused(project, monkeypatch, capfd, stage: str, *arguments: str) -> str:
    """The line a stage is refused with; exit code 2, no traceback, and all files as they were."""
    before = snapshot(project.folder)
    monkeypatch.setattr(sys, "argv", [stage, *arguments])
    monkeypatch.setattr(os, "environ", os.environ.copy())
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit:
        importlib.import_module(f"pipelines.stages.{stage}").main()
    assert exit.value.code == 2
    assert snapshot(project.folder) == before
    shown = capfd.readouterr().err.splitlines()
    lines = [line for line in shown if line.strip() and not re.search(r"step/s|s/step", line)]  # less the bar of evaluate
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def line_of(trained, monkeypatch, capfd):
    return lambda stage, *arguments: refused(trained, monkeypatch, capfd, stage, *arguments)


def test_a_variant_that_does_not_exist(line_of):
    expected = "params.yaml: train.colective: no such variant; allowed: collective, boosted (did you mean collective?)"
    assert line_of("train", "colective") == line_of("evaluate", "colective") == expected


@pytest.mark.parametrize("arguments", [(), ("collective", "boosted")])
def test_a_stage_called_with_other_arguments(line_of, arguments):
    assert line_of("train", *arguments).endswith("allowed: train(variant: str) -> None")


@pytest.mark.parametrize(
    ("keys", "values", "line"),
    [
        (("train", "collective"), {"n_cvs": 0}, "params.yaml: train.collective.n_cvs: 0 is not allowed; allowed: "),
        (("train", "collective"), {"n_cv": 2}, "params.yaml: train.collective.n_cv: no such key; allowed: n_cvs, "),
        (("train", "boosted"), {"variant": "x"}, "params.yaml: train.boosted.variant: no such key; allowed: n_cvs, "),
        (("stability",), {"replicas": 1}, "params.yaml: stability.replicas: 1 is not allowed; allowed: 0, or an integer of 2 or more"),
        (("evaluate",), {"eps": "a"}, "params.yaml: evaluate.eps: 'a' is not allowed; allowed: "),
    ],
)
def test_a_wrong_key_or_value_of_params(trained, line_of, keys, values, line):
    trained.change(*keys, **values)
    assert line_of("train", "collective").startswith(line)


def test_more_cvs_than_features(trained, line_of):
    trained.change("baseline", n_cvs=6)
    trained.change("train", "collective", n_cvs=6)
    assert line_of("train", "collective") == "params.yaml: train.collective.n_cvs: 6 is not allowed; 1 to the number of features, here 5"


def test_a_missing_or_damaged_table_of_frames(trained, line_of):
    path = next(Path("data/prepared/frames").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:1000])
    for stage, *arguments in (("train", "boosted"), ("baseline",), ("evaluate", "boosted")):
        assert line_of(stage, *arguments) == f"{path}: not a part that the stage prepare wrote; allowed: what it wrote (run it again)"
    Path("data/prepared/frames/manifest.json").unlink()
    for stage, *arguments in (("train", "boosted"), ("baseline",), ("evaluate", "boosted")):
        expected = "data/prepared/frames: no data there; allowed: a folder that the stage prepare wrote"
        assert line_of(stage, *arguments) == expected


@pytest.mark.parametrize("stage", [("train", "collective"), ("baseline",)])
def test_a_gpu_where_there_is_none(line_of, monkeypatch, stage):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("HAE_DEVICE", "cuda")
    assert line_of(*stage) == "HAE_DEVICE: 'cuda' is asked for, but torch sees 0 CUDA devices; allowed here: cpu"


def test_a_results_folder_that_cannot_be_written(trained, line_of):
    (trained.folder / "results").rename(trained.folder / "old")
    (trained.folder / "results").write_text("mine")
    for stage, *arguments in (("train", "collective"), ("evaluate", "collective")):
        line = line_of(stage, *arguments)
        assert line.startswith("results/variants/collective/") and line.endswith("allowed: a folder that can be written to")


def test_models_that_are_missing_or_damaged(trained, line_of):
    Path("models/boosted/weights.safetensors").write_bytes(b"damaged")
    expected = "models/boosted: weights.safetensors is not the one that model.json was saved with; allowed: the two files of one save"
    assert line_of("evaluate", "boosted") == expected
    Path("models/baseline/model.json").unlink()
    expected = "models/baseline/model.json: no such file; allowed: a folder that a model was saved to"
    assert line_of("evaluate", "collective") == expected


def test_no_test_rows(trained, line_of):
    frames = trained.frames()
    replace(frames, split=np.where(frames.split == "test", "gap", frames.split)).write("data/prepared/frames")
    expected = "data/prepared/frames: no test rows; allowed: prepare.split.shares that leave some"
    assert line_of("evaluate", "collective") == expected


def test_figures_that_are_missing(line_of):
    Path("results/variants/boosted/importance.json").unlink()
    assert line_of("report").startswith("results/variants/boosted/importance.json: ")


def test_as_a_program_a_stage_says_one_line_and_ends_with_2(trained):
    command = [sys.executable, "-m", "pipelines.stages.train", "third"]
    done = subprocess.run(command, cwd=trained.folder, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == ["params.yaml: train.third: no such variant; allowed: collective, boosted"]
