"""Evaluate one variant on the test blocks: what each CV is worth and is, whether the order holds, beside both baselines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.molecules import Recipe
from hae.data.parts import read_positions
from hae.data.rows import Shelf
from hae.data.sides import StoredSide, sides_of
from hae.data.trajectories import write_movie
from hae.devices import set_threads
from hae.errors import BadInput
from hae.files import check_writable, write_csv, write_json, written_whole
from hae.importance.evaluate import errors_at
from hae.importance.evaluate import evaluate as measure
from hae.importance.gradients import Gradients, gradients
from hae.importance.intervals import Sampling
from hae.importance.relation import frames_along, relations, sensitivity
from hae.importance.report import ImportanceReport
from hae.importance.series import Series, made
from hae.importance.smoothness import PER_NM
from hae.memory import memory_limit
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import encode, encoded
from hae.storage import load_members, load_networks
from hae.training.pairs import Pairs
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["evaluate", "levels_table", "main"]

Side = Frames | StoredSide

ALONG = 25  # frames of a movie along a CV
LOOKED_AT = 200_000  # rows, evenly spread, among which these are looked for
GRADIENTS = 20_000  # rows whose gradients are written


def evaluate(variant: str) -> None:
    """models/VARIANT, models/baseline and the test blocks -> results/variants/VARIANT: importance.json, importance.csv, metrics.json,
    levels.csv, labels.csv, features.csv, gradients.csv, passages.csv, along/ (frames along each CV: a table, and a PDB movie of
    coordinates)."""
    everything = params.load()
    everything.variant(variant)
    set_threads()
    limit, scratch = memory_limit(), settings.home() / "rows" / f"evaluate-{variant}"
    with sides_of(paths.FRAMES, scratch, limit) as (train, test, seen, shelf):
        if shelf.folder is not None:
            print(f"evaluate {variant}: the rows, and what is made of them, stay in files (HAE_MEMORY_LIMIT)")
        _evaluate(variant, everything, train, test, seen, shelf)


def _evaluate(variant: str, everything: params.Params, train: Side, test: Side, seen: Side, shelf: Shelf) -> None:
    """shelf: for what is made of all rows."""
    if not len(test):
        raise BadInput(f"{paths.FRAMES}: no test rows; allowed: prepare.split.shares that leave some")
    network, *members = load_members(paths.model(variant))
    recipe = Recipe.from_json(paths.RECIPE.read_text(encoding="utf-8"))
    networks, _, _ = load_networks(paths.model(paths.BASELINE))
    folder = paths.results(variant)
    check_writable(folder)
    sampling = Sampling.of(len(test), test.trajectory, test.frame, test.weights, shelf)
    report = measure(
        network,
        _pairs(train),
        _pairs(test),
        seen=_pairs(seen),
        blocks=sampling.blocks(everything.prepare.split.block_frames),
        baselines=_baseline_errors(networks, test, network.n_cvs, sampling),
        members=members,
        eps=everything.evaluate.eps,
        features=test.features,
        groups=recipe.groups,
        sampling=sampling,
        progress=f"evaluate {variant}",
    )
    found = _gradients(network, test, recipe, shelf)
    if found is not None:
        report = replace(report, smoothness=found.smoothness)
    with written_whole(folder / "importance.json") as partial:
        partial.write_text(report.to_json() + "\n")
    cvs = [shelf.keep(encoded(network, side.values)) for side in (train, test)]
    kinds = network.bottleneck.kinds
    told = relations(cvs, kinds, [train.labels, test.labels], test.label_periods, sampling, train.weights)
    moved = pd.DataFrame(
        sensitivity(network, test.values, test.weights).T, columns=[f"sensitivity_cv{k + 1}" for k in range(len(kinds))]
    )
    gained = report.by_feature.to_frame().reset_index(names="feature")
    for name, table in (
        ("importance.csv", report.to_frame()),
        ("levels.csv", levels_table(report)),
        ("labels.csv", told),
        ("features.csv", pd.concat([gained, moved], axis=1)),
    ):
        write_csv(folder / name, table)
    some = np.linspace(0, len(test) - 1, min(len(test), LOOKED_AT)).round().astype(int)
    for k, kind in enumerate(kinds):
        rows = some[frames_along(cvs[1][some], k, kind, min(ALONG, len(test)))]
        _write_along(folder / "along", k, test.select(rows), network, recipe)
    _write_gradients(folder, found)
    write_json(folder / "metrics.json", flat_metrics(report))
    print(f"{variant}: {report.sentence()}")


def _pairs(side: Side) -> Pairs:
    return Pairs(side.values, side.values, side.weights, side.trajectory, side.frame)  # type: ignore[arg-type]  # files for arrays


def levels_table(report: ImportanceReport) -> pd.DataFrame:
    """One row for each level: FVE and gain with their intervals, and those of PCA and of the plain autoencoder with as many CVs."""
    table = report.to_frame()[["cv", "fve", "fve_low", "fve_high", "gain", "gain_low", "gain_high"]].rename(columns={"cv": "level"})
    for name in ("pca", "plain"):
        rows = report.compared(name)
        for ours, theirs in ((f"{name}_fve", "fve"), (f"above_{name}", "difference")):
            for bound in ("", "_low", "_high"):
                table[f"{ours}{bound}"] = [getattr(row, f"{theirs}{bound}") for row in rows]
    return table


def flat_metrics(report: ImportanceReport) -> dict:
    """The figures of a report under flat names, for DVC and MLflow; what has no value (no interval) is left out."""
    metrics: dict[str, float | int | str] = {"test_rows": report.n_frames, "n_eff": report.n_eff, "status": report.status}
    if report.n is not None:
        metrics["n_alive"] = report.n
    intervals_of_others = [f"{name}_fve_{bound}" for name in ("pca", "plain") for bound in ("low", "high")]
    for level, row in enumerate(levels_table(report).drop(columns=intervals_of_others).to_dict("records"), start=1):
        metrics |= {f"{name}_{level}": value for name, value in row.items() if name != "level" and np.isfinite(value)}
    for cv in report.cvs:
        figures = {"info_gain": cv.info_gain, "info_gain_low": cv.info_gain_low, "info_gain_high": cv.info_gain_high, "overfit": cv.overfit}
        metrics |= {f"{name}_{cv.cv}": value for name, value in figures.items() if np.isfinite(value)}
        metrics |= {f"verdict_{cv.cv}": cv.verdict} | ({f"order_{cv.cv}": cv.order} if cv.order else {})
    if report.smoothness and report.smoothness.unit == PER_NM:
        for k, found in enumerate(report.smoothness.gradients, start=1):
            metrics |= {f"gradient_{k}": found.largest, f"gradient_median_{k}": found.median, f"gradient_verdict_{k}": found.verdict}
    return metrics


def _baseline_errors(networks: dict, test: Side, n: int, sampling: Sampling) -> dict[str, np.ndarray | Series]:
    """Errors (n, N) of PCA's levels, and of the plain autoencoders of 1 to n nodes."""
    of = lambda name: errors_at(networks[name], test.values, None, None, None, sampling).e  # noqa: E731
    last = [made(lambda e: e[-1], of(f"plain-{k}")) for k in range(1, n + 1)]
    return {"pca": made(lambda e: e[:n], of("pca")), "plain": made(lambda *e: np.stack(e), *last)}


def _gradients(network: HierarchicalNetwork, test: Side, recipe: Recipe, shelf: Shelf) -> Gradients | None:
    """Of the CVs at the test rows; None where features are distances or torsions whose positions prepare could not keep."""
    if recipe.kind in ("coordinates", "columns"):
        return gradients(network, test.values, recipe, shelf=shelf, weights=test.weights)
    positions = read_positions(paths.FRAMES, None if shelf.folder is None else shelf.folder / "positions")
    return None if positions is None else gradients(network, test.values, recipe, positions, shelf, test.weights)


def _write_gradients(folder: Path, found: Gradients | None) -> None:
    """gradients.csv: of each CV at up to GRADIENTS test rows, evenly spread, and those where one is largest. passages.csv: each CV along
    the straight line where it is steepest. Without rows where nothing was measured."""
    n = 0 if found is None else found.sizes.shape[1]
    names = [f"cv{k + 1}" for k in range(n)]
    rows, sizes, along = np.zeros(0, int), np.zeros((0, n)), np.zeros((0, n + 1))
    if found is not None:
        spread = np.linspace(0, len(found.sizes) - 1, min(GRADIENTS, len(found.sizes))).round().astype(int)
        rows = np.union1d(spread, found.steepest_rows)
        sizes, along = found.sizes[rows], np.column_stack([found.steps, found.passages.T])
    write_csv(folder / "gradients.csv", pd.DataFrame(sizes, columns=names).assign(row=rows)[["row", *names]])
    write_csv(folder / "passages.csv", pd.DataFrame(along, columns=["step", *names]))


def _write_along(folder: Path, k: int, frames: Frames, network: HierarchicalNetwork, recipe: Recipe) -> None:
    """Real frames along CV k (from 0) as a table, and where the features are coordinates as a PDB file of as many models."""
    cvs = encode(network, frames.values)
    table = pd.DataFrame({"trajectory": frames.trajectory, "frame": frames.frame})
    for j in range(cvs.shape[1]):
        table[f"cv{j + 1}"] = cvs[:, j]
    table = pd.concat([table, frames.labels, pd.DataFrame(frames.values, columns=list(frames.features))], axis=1)
    write_csv(folder / f"cv{k + 1}.csv", table)
    if recipe.kind != "coordinates":
        return
    with written_whole(folder / f"cv{k + 1}.pdb") as partial:
        write_movie(partial, recipe, frames.values)


def main() -> None:
    run_stage(evaluate)


if __name__ == "__main__":
    main()
