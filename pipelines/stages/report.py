"""Report: all variants and both baselines in one page, one table and the figures."""

import json
from pathlib import Path

import pandas as pd

from hae.figures import plots
from hae.files import write_csv, write_json, written_whole
from hae.importance.report import ImportanceReport
from pipelines import params, paths
from pipelines.page import page
from pipelines.page.choice import choose, which
from pipelines.page.evidence import Evidence, gather
from pipelines.page.pictures import pictures
from pipelines.stages import run_stage
from pipelines.stages.evaluate import levels_table

__all__ = ["main", "report", "table_text"]

PAIRED = ("difference", "difference_low", "difference_high")


def report() -> None:
    """What prepare, train and evaluate left -> results/{report.html, importance.csv, importance.json, table.csv, table.json, fve.svg,
    fve.png, figures/}; prints the verdicts and the table."""
    everything = params.load()
    evidence = gather(list(everything.train), everything.temperature)
    table = pd.concat([_rows(name, importance) for name, importance in evidence.reports.items()], ignore_index=True)
    made = pictures(evidence)
    folder = paths.RESULTS
    write_csv(folder / "table.csv", table)
    write_json(folder / "table.json", json.loads(table.to_json(orient="records", double_precision=15)))
    write_csv(folder / "importance.csv", _importance_table(evidence))
    write_json(folder / "importance.json", _importance_json(evidence))
    for picture in made:
        _write(folder / "figures" / f"{picture.name}.svg", picture.svg)
    _write(folder / "fve.svg", made[0].svg)
    with plots.style(), written_whole(folder / "fve.png") as partial:
        figure, axis = plots.figure()
        plots.fve_by_level(evidence.reports, axis)
        figure.savefig(partial, dpi=everything.report.dpi)
    _write(folder / "report.html", page.html(evidence, made, everything))
    for variant in evidence.variants:
        print(f"{variant.name}: {evidence.called(variant.sentence)}")
    print(f"\n{table_text(table)}\n\nresults/report.html")


def table_text(table: pd.DataFrame) -> str:
    """The table as people read it, verdicts first: one row for each CV of each variant."""
    names = {"cv": "CV", "verdict": "verdict", "order": "and the next", "fve": "FVE", "gain": "gain", "info_gain": "info gain",
             "pca_fve": "PCA FVE", "plain_fve": "plain AE FVE"}
    shown = table[["variant", *names]].rename(columns=names)
    unsure = table["status"] == "not enough data"
    shown.loc[unsure, ["verdict", "and the next"]] = ["too little data", ""]
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3f}")


def _rows(variant: str, importance: ImportanceReport) -> pd.DataFrame:
    levels = levels_table(importance).rename(columns={"level": "cv"})
    words = importance.to_frame()[["cv", "info_gain", "info_gain_low", "info_gain_high", "verdict", "order", "n_eff", "status"]]
    table = levels.merge(words, on="cv")
    table.insert(0, "variant", variant)
    return table


def _importance_table(evidence: Evidence) -> pd.DataFrame:
    parts = [importance.to_frame().assign(variant=name) for name, importance in evidence.reports.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[["variant", *(name for name in table.columns if name != "variant")]]


def _importance_json(evidence: Evidence) -> dict:
    """Verdicts first; then the reports as evaluated, and the variants against each other."""
    return {
        "verdicts": {variant.name: evidence.called(variant.sentence) for variant in evidence.variants},
        "which": evidence.called(which(evidence)),
        "choice": choose(evidence),
        "variants": {name: json.loads(importance.to_json()) for name, importance in evidence.reports.items()},
        "stability": {variant.name: variant.stability and json.loads(variant.stability.to_json()) for variant in evidence.variants},
        "paired": {
            title: [{"level": row.level, **{key: _number(getattr(row, key)) for key in PAIRED}} for row in rows]
            for title, rows in evidence.paired.items()
        },
    }


def _number(value: float) -> float | None:
    return None if value != value else value


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def main() -> None:
    run_stage(report)


if __name__ == "__main__":
    main()
