"""The report: one table, one page and the figures, whatever the data are like."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.errors import BadInput
from pipelines.page.choice import choose, which
from pipelines.page.evidence import gather
from pipelines.stages.report import report

ROOT = Path(__file__).parents[3]
FIRST = ["variant", "cv", "fve"]
COLUMNS = {"variant", "cv", "fve", "fve_low", "fve_high", "gain", "gain_low", "gain_high", "pca_fve", "plain_fve", "info_gain",
           "info_gain_low", "info_gain_high", "verdict", "order", "n_eff", "status"}


def test_the_table_has_a_row_a_variant_and_cv_and_agrees_with_what_was_evaluated(trained_folder):
    table = pd.read_csv(trained_folder / "results/table.csv")
    assert set(table.columns) >= COLUMNS and list(table.columns[:3]) == FIRST
    assert list(zip(table["variant"], table["cv"], strict=True)) == [(v, k) for v in ("collective", "boosted") for k in (1, 2)]
    rows = json.loads((trained_folder / "results/table.json").read_text())
    assert set(rows[0]) == set(table.columns)
    for variant, part in table.groupby("variant"):
        told = json.loads((trained_folder / f"results/variants/{variant}/importance.json").read_text())
        assert np.allclose(part["fve"], [cv["fve"] for cv in told["cvs"]], atol=1e-12)
        assert np.allclose(part["gain"], np.diff([0, *part["fve"]]))
        assert part["verdict"].tolist() == [cv["verdict"] for cv in told["cvs"]]


def test_one_importance_file_of_all_variants_says_verdicts_first(trained_folder):
    together = json.loads((trained_folder / "results/importance.json").read_text())
    assert list(together) == ["verdicts", "which", "choice", "variants", "stability", "paired"]
    assert set(together["verdicts"]) == set(together["variants"]) == {"collective", "boosted"}
    table = pd.read_csv(trained_folder / "results/importance.csv")
    assert list(table.columns[:2]) == ["variant", "cv"] and len(table) == 4
    paired = together["paired"]["collective - boosted"]
    fve = table.pivot(index="cv", columns="variant", values="fve")
    assert np.allclose([row["difference"] for row in paired], fve["collective"] - fve["boosted"], atol=1e-5)


def test_the_same_results_make_the_same_page_and_verdicts_are_printed_first(trained, capsys):
    files = ["results/report.html", "results/fve.svg", "results/table.csv", "results/importance.json"]
    before = {name: Path(name).read_bytes() for name in files}
    report()
    assert {name: Path(name).read_bytes() for name in files} == before
    printed = capsys.readouterr().out
    assert printed.index("boosted: ") < printed.index("plain AE FVE") and "results/report.html" in printed


def test_a_variant_that_was_not_evaluated_is_named(trained):
    Path("results/variants/boosted/importance.json").unlink()
    with pytest.raises(BadInput, match=r"results/variants/boosted/importance\.json: no such file"):
        report()


def test_one_variant_alone_makes_a_report(trained):
    content = trained.params()
    del content["train"]["boosted"]
    YAML().dump(content, trained.folder / "params.yaml")
    report()
    assert set(pd.read_csv("results/table.csv")["variant"]) == {"collective"}
    assert re.search(r"With 2 CVs, PCA explains [\d.]+, collective [\d.]+ \([\d.]+ more\)", Path("results/report.html").read_text())


def test_dvc_is_told_of_every_file_that_the_report_reads():
    """A file of ours that the stage imports or reads, and its deps don't name, would change without a new report."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    deps = set(stages["report"]["deps"])
    assert {"models", "results/variants"} <= deps  # the folders of all variants, whichever params.yaml names
    assert {"data/prepared/frames", "data/prepared/recipe.json", "hae/figures", "pipelines/page"} <= deps
    assert all((ROOT / path).exists() for path in deps if path.startswith(("hae/", "pipelines/")))


def small_project(folder: Path, columns: int, n: int, labels: int) -> None:
    """A project on random factors, to be trained for two epochs."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(600, 8)) * np.linspace(2, 0.5, 8)
    values = np.tanh(factors @ rng.normal(size=(8, columns))) + 0.05 * rng.normal(size=(600, columns))
    table = pd.DataFrame(values, columns=[f"c{j}" for j in range(columns)])
    for j in range(labels):
        table[f"label{j}"] = factors[:, j]
    (folder / "data/raw").mkdir(parents=True)
    table.to_csv(folder / "data/raw/table.csv", index=False)
    content = YAML().load((ROOT / "params.yaml").read_text())
    del content["simulate"]
    content["prepare"].update(trajectories=["data/raw/table.csv"], topology=None, features="columns",
                              labels=[f"label{j}" for j in range(labels)])
    learning = {"n_cvs": n, "hidden": [8], "scale": "feature", "n_seeds": 1, "max_epochs": 2, "patience": None}
    for section in (*content["train"].values(), content["baseline"]):
        section.update(learning)
    YAML().dump(content, folder / "params.yaml")
    (folder / "dvc.yaml").write_text("stages: {}\n")


def test_stability_of_the_levels_and_what_is_tied_are_said(trained):
    found = json.loads(Path("results/variants/collective/stability.json").read_text())
    assert f"level 1 {found['levels'][0]:.2f}, level 2 {found['levels'][1]:.2f}." in Path("results/report.html").read_text()
    Path("results/variants/collective/stability.json").write_text(json.dumps(found | {"levels": [0.5, 0.97], "tied": [[1, 2]]}))
    Path("results/variants/boosted/stability.json").write_text("{}\n")
    report()
    said = json.loads(Path("results/importance.json").read_text())
    tied = "on other draws of the data the reconstructions of level 1 agree to 0.50 only, those of level 2 to 0.97 (tied levels)"
    assert tied in said["verdicts"]["collective"] and "tied" not in said["verdicts"]["boosted"]
    assert said["stability"]["collective"]["levels"] == [0.5, 0.97] and said["stability"]["boosted"] is None
    text = Path("results/report.html").read_text()
    assert text.count("Agreement of the reconstructions") == 1
    assert "Other draws of the data may give another CV1: their reconstructions agree to 0.50 of 1 only; CV1 and CV2 together are" in text


@pytest.mark.parametrize(
    ("columns", "n", "labels"),
    [
        (5, 2, 1),
        (1, 1, 0),
        pytest.param(5, 1, 1, marks=pytest.mark.acceptance),
        pytest.param(10, 8, 5, marks=pytest.mark.acceptance),
        pytest.param(1000, 3, 0, marks=pytest.mark.acceptance),
    ],
)
def test_few_and_many_columns_cvs_and_labels_make_a_full_report(tmp_path, monkeypatch, all_stages, columns, n, labels):
    monkeypatch.chdir(tmp_path)
    small_project(tmp_path, columns, n, labels)
    all_stages()
    text = Path("results/report.html").read_text()
    assert len(text) < 3e6
    groups = {path.stem.split("-")[0] for path in Path("results/figures").iterdir()}
    with_labels = {"labels"} if labels > 1 or (labels and n == 1) else set()
    assert groups == {"fve", "differences", "along", "energy", "gains", "rebuilt", "steep", "training"} | with_labels | (
        {"pairs"} if labels and n > 1 else set())
    assert len(pd.read_csv("results/table.csv")) == 2 * n
    assert ("What the CVs are" in text) == bool(labels)


@pytest.mark.parametrize(
    ("difference", "half", "words"),
    [
        (0.10, 0.02, "Choose collective"),
        (0.00, 0.005, "Choose boosted: each"),
        (-0.05, 0.01, "explains 0.050 [0.040, 0.060] less than boosted"),
        (0.02, 0.03, "undecided"),
        (0.10, float("nan"), "too few independent frames"),
    ],
)
def test_which_variant_follows_from_the_paired_interval(trained_folder, monkeypatch, difference, half, words):
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective", "boosted"])
    row = evidence.paired["collective - boosted"][-1]
    for title, sign in (("collective - boosted", 1), ("boosted - collective", -1)):
        own = sign * difference
        turned = replace(row, difference=own, difference_low=own - half, difference_high=own + half)
        assert words in which(replace(evidence, paired={title: (turned,)}))


def beside_pca(evidence, difference, half):
    """The evidence with these differences from PCA at every level of every variant."""
    def turned(row):
        return replace(row, difference=difference, difference_low=difference - half, difference_high=difference + half)

    return replace(evidence, variants=tuple(
        replace(variant, importance=replace(variant.importance, against=tuple(map(turned, variant.importance.compared("pca")))))
        for variant in evidence.variants))


@pytest.mark.parametrize(("difference", "half", "pca"), [
    (-0.03, 0.01, True),  # worse
    (0.005, 0.001, True),  # surely better, by nothing that matters
    (0.02, 0.03, True),  # perhaps better
    (0.05, 0.01, False),
    (0.05, float("nan"), False),
])
def test_pca_is_chosen_where_no_network_is_surely_better(trained_folder, monkeypatch, difference, half, pca):
    monkeypatch.chdir(trained_folder)
    evidence = beside_pca(gather(["collective", "boosted"]), difference, half)
    assert (choose(evidence) == "PCA") is pca
    assert ("Use PCA" in which(evidence)) is pca


def test_the_words_on_pca_are_figures(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    report = beside_pca(gather(["collective"]), 0.013, 0.012).variants[0].importance
    first = report.compared("pca")[0]
    said = f"CV1 {first.fve + 0.013:.3f}, PC1 {first.fve:.3f}: 0.013 [0.001, 0.025] more; 2 CVs "
    assert report.beside_pca().startswith(said)


def with_verdicts(variant, number, difference, half):
    """The variant with so many CVs worth having, and this difference from PCA at every level."""
    rows = tuple(replace(row, difference=difference, difference_low=difference - half, difference_high=difference + half)
                 for row in variant.importance.compared("pca"))
    return replace(variant, importance=replace(variant.importance, n=number, against=rows))


def test_one_network_alone_may_be_better_than_pca_and_the_choice_says_by_how_much(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective", "boosted"])
    collective, boosted = evidence.variants
    one = replace(evidence, variants=(with_verdicts(collective, 2, 0.05, 0.01), with_verdicts(boosted, 2, 0.005, 0.02)))
    assert choose(one) == "collective"
    assert "(0.050 [0.040, 0.060] more)" in which(one) and "Choose collective, which is surely better than PCA" in which(one)
    nan = float("nan")
    unsure = replace(evidence, variants=(with_verdicts(collective, None, 0.05, nan), with_verdicts(boosted, None, 0.0, nan)))
    assert choose(unsure) == "" and "too few independent rows" in which(unsure)
    for difference, said in ((-0.3, "PCA is better"), (-0.005, "PCA is as good")):  # without intervals the figures have to do
        variants = tuple(with_verdicts(variant, None, difference, nan) for variant in evidence.variants)
        words = which(replace(evidence, variants=variants))
        assert choose(replace(evidence, variants=variants)) == "PCA" and f"by these figures {said}, and there are too few" in words


def test_the_samples_of_a_table_are_rows_unless_they_come_from_a_simulation(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective"])
    molecule, table = (replace(evidence, recipe=replace(evidence.recipe, kind=kind), temperature=None) for kind in ("torsions", "columns"))
    said = [one.called("63 evaluated frames") for one in (molecule, table, replace(table, temperature=300.0))]
    assert said == ["63 evaluated frames", "63 evaluated rows", "63 evaluated frames"]


def test_a_cv_that_is_undecided_is_not_worth_having(trained_folder, monkeypatch):
    """The choice is made at the last CV that is surely alive of any variant; where none is, at the first."""
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective", "boosted"])
    for numbers, said in (((1, 0), "With 1 CV,"), ((0, 0), "With 1 CV,"), ((2, 1), "With 2 CVs,"), ((1, None), "With 1 CV,"),
                          ((None, None), "With 2 CVs,")):
        variants = tuple(with_verdicts(variant, n, -0.02, 0.01) for variant, n in zip(evidence.variants, numbers, strict=True))
        assert which(replace(evidence, variants=variants)).startswith(said)
        assert ": PCA is better. Use PCA" in which(replace(evidence, variants=variants))


def test_decoders_that_are_not_converged_are_a_reason_to_wait(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    evidence = gather(["collective", "boosted"])

    def with_decoders(variant, converged):
        cvs = tuple(replace(cv, converged=converged or cv.cv == 1) for cv in variant.importance.cvs)
        return replace(variant, importance=replace(variant.importance, cvs=cvs))

    collective, boosted = evidence.variants
    said = which(replace(evidence, variants=(with_decoders(collective, True), with_decoders(boosted, False))))
    assert said.endswith("But boosted has decoders that are not converged: train longer (max_epochs), then choose again.")
    assert "converged" not in which(replace(evidence, variants=(with_decoders(collective, True), with_decoders(boosted, True))))


def test_every_figure_in_the_page_has_ids_of_its_own(trained_folder):
    text = (trained_folder / "results/report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 50
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert target in set(ids)
