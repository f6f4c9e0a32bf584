"""The stages of a project of one's own data, in this process: prepare to report, without DVC and MLflow."""

from hae.network.hierarchy import VARIANTS
from pipelines.stages import baseline, evaluate, prepare, report, stability, train

__all__ = ["run_stages"]


def run_stages() -> None:
    """In the project folder that is the working one."""
    prepare.prepare()
    baseline.baseline()
    for variant in VARIANTS:
        train.train(variant)
        evaluate.evaluate(variant)
        stability.stability(variant)
    report.report()
