"""Report: both variants and both baselines in one table and one figure."""

import json
from pathlib import Path

import pandas as pd

from hae import plots
from hae.files import written_whole
from pipelines import params
from pipelines.stages import run_stage
from pipelines.stages.train import write_json

__all__ = ["main", "report", "table_text"]


def report() -> None:
    """results/VARIANT/levels.csv of every variant -> results/{table.csv, table.json, fve.svg, fve.png}; prints the table."""
    everything = params.load()
    table = pd.concat([_rows(variant) for variant in everything.train], ignore_index=True)
    with written_whole(Path("results/table.csv")) as partial:
        table.to_csv(partial, index=False)
    write_json(Path("results/table.json"), json.loads(table.to_json(orient="records")))
    figure, axis = plots.figure()
    plots.fve_by_level(table, axis)
    for name in ("results/fve.svg", "results/fve.png"):
        with written_whole(Path(name)) as partial:
            figure.savefig(partial, dpi=everything.report.dpi, metadata={"Date": None} if name.endswith("svg") else None)
    print(table_text(table))


def table_text(table: pd.DataFrame) -> str:
    """The table as people read it: a row a variant and CV."""
    names = {"cv": "CV", "fve": "FVE", "gain": "gain", "pca_fve": "PCA FVE", "plain_fve": "plain AE FVE"}
    shown = table[["variant", *names]].rename(columns=names)
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3f}")


def _rows(variant: str) -> pd.DataFrame:
    levels = pd.read_csv(Path("results", variant, "levels.csv")).rename(columns={"level": "cv"})
    levels.insert(0, "variant", variant)
    return levels


def main() -> None:
    run_stage(report)


if __name__ == "__main__":
    main()
