"""What the stages left on disk, as the record wants it: names of contents, params, data set, files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from hae.data.parts import Manifest
from pipelines import paths
from pipelines.record import lineage
from pipelines.record.lineage import Code, StageFacts

__all__ = [
    "code",
    "dataset",
    "everything",
    "findings",
    "flat_params",
    "folder",
    "gather",
    "read_json",
    "verdicts",
    "weights",
]



def gather(project: Path, stage: str, target: Path) -> None:
    """Copy table and figures to target/report, what belongs to this stage alone to target/results."""
    if (own := project / paths.results(folder(stage))).is_dir():
        shutil.copytree(own, target / "results")
    (target / "report").mkdir()
    for file in (project / paths.RESULTS).glob("*.*"):
        if file.suffix in (".csv", ".json", ".svg", ".png", ".html", ".md"):
            shutil.copy(file, target / "report")


def dataset(project: Path, facts: StageFacts):
    """The data set as MLflow shows it, by the hash that DVC knows it by."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import ColSpec, Schema

    manifest = Manifest.read(project / paths.FRAMES)
    found = Dataset(
        name="frames",
        digest=facts.dependencies.get(str(paths.FRAMES), lineage.file_digest(project / paths.MANIFEST))[:36],
        source_type="local",
        source=json.dumps({"uri": str((project / paths.FRAMES).resolve())}),
        schema=json.dumps({"mlflow_colspec": Schema([ColSpec("double", name) for name in manifest.features]).to_dict()}),
        profile=json.dumps({"num_rows": manifest.rows, "num_features": len(manifest.features)}),
    )
    return DatasetInput(found, [InputTag("mlflow.data.context", "training")])


def flat_params(sections: Mapping) -> list:
    """Params of a section train.VARIANT or baseline under their own names, others with their section's in front."""
    from mlflow.entities import Param

    flat: dict[str, object] = {}
    for section, values in sections.items():
        prefix = "" if section.startswith(("train.", "baseline")) else f"{section}."
        flat |= {f"{prefix}{name}": value for name, value in values.items()} if isinstance(values, Mapping) else {section: values}
    return [Param(name, str(value)) for name, value in flat.items()]


def code(project: Path) -> Code:
    """The project's code, or, where the project is not a checkout, this package's."""
    found = lineage.code(project)
    return found if found.commit else lineage.code(Path(__file__).parent)


def everything(project: Path, stage: str) -> str:
    """A name for all that is recorded of this stage alone: its results and its model."""
    folders = [project / place(folder(stage)) for place in (paths.results, paths.model)]
    files = [file for place in folders for file in sorted(place.rglob("*")) if file.is_file()]
    return lineage.digest({str(file.relative_to(project)): lineage.file_digest(file) for file in files})


def findings(results: Path) -> dict:
    """What training, evaluation and stability found, under flat names."""
    stability = read_json(results / "stability.json").get("levels", [])
    return (read_json(results / "training.json") | read_json(results / "metrics.json")
            | {f"stability_{k}": value for k, value in enumerate(stability, start=1)})


def verdicts(project: Path, stage: str) -> str:
    """What the evaluation says of the CVs, and stability of their levels, in a sentence ("" if there is none)."""
    from hae.importance.report import ImportanceReport
    from hae.importance.stability import Stability

    importance, stability = (project / paths.results(folder(stage)) / f"{name}.json" for name in ("importance", "stability"))
    words = [ImportanceReport.from_json(importance.read_text(encoding="utf-8")).sentence()] if importance.exists() else []
    found = Stability.from_json(stability.read_text(encoding="utf-8")) if stability.exists() else None
    return "; ".join([*words, *([found.sentence()] if found else [])])


def weights(project: Path, stage: str) -> str:
    """A name for the trained model that is on disk ("" if there is none)."""
    files = sorted(file for file in (project / paths.model(folder(stage))).glob("*") if file.is_file())
    return lineage.digest({file.name: lineage.file_digest(file) for file in files}) if files else ""


def folder(stage: str) -> str:
    """The folder of a stage under models/ and results/: its variant, or baseline."""
    return stage.removeprefix("train@")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
