"""One run of MLflow, and its version, brought to what a stage left on disk: every step may find its work done."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hae.errors import BadInput
from pipelines import params, paths, settings
from pipelines.record import claim, contents, lineage, packaging, registry
from pipelines.record.curves import History
from pipelines.record.digests import TAG, to_tag
from pipelines.record.lineage import Code, StageFacts
from pipelines.record.store import Store

__all__ = ["RunWriter", "continues", "find", "is_trained", "is_whole", "left_running", "runs_of"]

BATCH = 1000  # metrics in one call: the most that MLflow takes
INHERITED = ("variant", "git_commit", "uncommitted_code", "data_hash", "params_hash", "key", "retraining")  # versions inherit no tags
PLACE = "place"  # tag of a run: the checkout that writes it
BEGUN, HISTORY, WEIGHTS, WHOLE = "begun", "history", "weights", "recorded"  # tags of a run, written when their part is in


@dataclass
class RunWriter:
    """Brings the run of one stage to what is on disk."""

    store: Store
    project: Path
    stage: str
    facts: StageFacts
    retraining: str
    code: Code

    def write(self, run, weights: str, content: str):
        """All of it, the tag that says 'whole' last. Returns the run."""
        client, name = self.store.client, contents.folder(self.stage)
        results = self.project / paths.results(name)
        history, training = History.read(results / "history.csv"), contents.read_json(results / "training.json")
        if run is not None and not continues(run, history):
            client.delete_run(run.info.run_id)  # a training that was killed left it
            run = None
        ended = min(file.stat().st_mtime for file in (self.project / paths.model(name)).iterdir())
        run = self.begin(run, started=ended - history.seconds)
        run_id = run.info.run_id
        run = self.copy(run, history)
        self.send(run_id, history.of_model(run.info.start_time))
        with tempfile.TemporaryDirectory() as temporary:
            contents.gather(self.project, self.stage, Path(temporary))
            client.log_artifacts(run_id, temporary)
        client.set_tag(run_id, WEIGHTS, weights)
        version = self.version(run, weights) if self.stage != "baseline" else None
        self.findings(run_id, results, version)
        code = Code(run.data.tags.get("git_commit", ""), run.data.tags.get("uncommitted_code", ""), self.code.untracked)
        receipt = lineage.receipt(self.facts, code, training=training, best_member=history.best_member,
                                  retraining=run.data.tags["retraining"], weights=weights)
        if version is not None:
            receipt |= {"version": str(version.version), "matching": version.tags["matching"].split("; ")}
        client.log_dict(run_id, receipt, "receipt/receipt.json")
        client.set_terminated(run_id, "FINISHED", end_time=run.info.start_time + int(1000 * history.seconds))
        client.set_tag(run_id, WHOLE, content)
        return client.get_run(run_id)

    def begin(self, run, started: float):
        """The run, made if there is none, with all that is known before the stage starts: tags, params, data set, code."""
        client, name = self.store.client, contents.folder(self.stage)
        if run is None:
            tags = {
                "key": self.facts.key,
                "stage": self.stage,
                "variant": name if self.stage != "baseline" else "",
                "retraining": self.retraining,
                PLACE: settings.place(self.project),
                "git_commit": self.code.commit or "none",
                "uncommitted_code": "yes" if self.code.patch or self.code.untracked else "",
                "data_hash": self.facts.dependencies.get(str(paths.FRAMES), ""),
                "params_hash": self.facts.params_hash,
                "mlflow.source.name": self.facts.command,
                "mlflow.source.type": "PROJECT",
                "mlflow.source.git.commit": self.code.commit,
            }
            tags = {key: value for key, value in tags.items() if value}
            run = client.create_run(self.store.experiment, start_time=int(started * 1000), run_name=name, tags=tags)
        if BEGUN in run.data.tags:
            return run
        run_id = run.info.run_id
        client.log_batch(run_id, params=contents.flat_params(self.facts.params))
        if self.code.patch:
            client.log_text(run_id, self.code.patch, "receipt/uncommitted.patch")
        if self.code.untracked:
            names = "\n".join(("left out, since git does not track them:", *self.code.untracked, ""))
            client.log_text(run_id, names, "receipt/untracked.txt")
        for file in ("dvc.lock", "params.yaml"):
            if (self.project / file).exists():
                client.log_text(run_id, (self.project / file).read_text(encoding="utf-8"), f"receipt/{file}")
        client.log_inputs(run_id, datasets=[contents.dataset(self.project, self.facts)])
        client.set_tag(run_id, BEGUN, "yes")
        return client.get_run(run_id)

    def copy(self, run, history: History):
        """Send the epochs of every member that the run has not seen."""
        seen = _seen(run)["rows"]
        if len(history) <= seen:
            return run
        self.send(run.info.run_id, history.of_members(run.info.start_time, after=seen))
        state = json.dumps({"rows": len(history), "digest": history.digest(len(history))})
        self.store.client.set_tag(run.info.run_id, HISTORY, state)
        return self.store.client.get_run(run.info.run_id)

    def send(self, run_id: str, metrics: list) -> None:
        for first in range(0, len(metrics), BATCH):
            self.store.client.log_batch(run_id, metrics=metrics[first : first + BATCH])

    def findings(self, run_id: str, results: Path, version) -> None:
        """What training and evaluation found: numbers that the run does not have yet, for run and model; words as tags and description."""
        from mlflow.entities import Metric, RunTag

        client, now = self.store.client, int(time.time() * 1000)
        found = contents.findings(results)
        numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
        known, model_id = client.get_run(run_id).data.metrics, version.model_id if version is not None else None
        self.send(run_id, [Metric(name, value, now, 0, model_id=model_id) for name, value in numbers.items() if known.get(name) != value])
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in found.items() if isinstance(value, str)])
        words = contents.verdicts(self.project, self.stage)
        if words:
            client.set_tag(run_id, "mlflow.note.content", words)
        if words and version is not None:
            client.update_model_version(self.store.name, version.version, words)

    def version(self, run, weights: str):
        """The version of a run, made if there is none: packed, uploaded, and only then registered. Files that are gone are packed again."""
        from mlflow.entities import LoggedModelOutput

        client, run_id, variant = self.store.client, run.info.run_id, contents.folder(self.stage)
        known = registry.version_of_run(self.store, client.get_run(run_id))
        if known is not None and known.tags.get(WEIGHTS) == weights:
            if not packaging.intact(self.store, known):
                tags = self.upload(known.source, run_id, version=known.version)
                for name, value in tags.items():
                    client.set_model_version_tag(self.store.name, known.version, name, value)
            return client.get_model_version(self.store.name, known.version)
        self.forget_unregistered(run_id)
        model = client.create_logged_model(self.store.experiment, variant, run_id, {"variant": variant}, dict(run.data.params))
        try:
            tags = {WEIGHTS: weights, **self.upload(model.artifact_location, run_id, model_id=model.model_id)}
            client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
            client.finalize_logged_model(model.model_id, "READY")
            tags |= {name: run.data.tags[name] for name in INHERITED if name in run.data.tags}
            if not client.search_registered_models(f"name = '{self.store.name}'"):
                claim.made(self.store, self.store.name)
            return client.create_model_version(self.store.name, model.artifact_location, run_id, tags, model_id=model.model_id)
        except BaseException:
            with suppress(Exception):
                client.delete_logged_model(model.model_id)
            raise

    def upload(self, place: str, run_id: str, *, version: str = "", model_id: str | None = None) -> dict[str, str]:
        """Pack what is on disk, matched to the champion, and put its files at a place; gives the tags that its version gets."""
        from mlflow.models import Model
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        from hae.storage import load_members

        variant = contents.folder(self.stage)
        crowned, champion = registry.champion(self.store), None
        if crowned is not None and crowned.version != version:
            with suppress(BadInput):  # a champion whose files are gone must not stop the next model
                champion = packaging.load(self.store, crowned.version)
        prepare = params.load(self.project / "params.yaml").prepare
        split = prepare.split.model_dump(mode="json") | {"group": prepare.group, "id": prepare.id}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            matching = packaging.pack(
                folder,
                load_members(self.project / paths.model(variant))[0],
                self.project / paths.FRAMES,
                self.project / paths.RECIPE,
                champion,
                {"variant": variant, "key": self.facts.key, "split": split},
                Model(artifact_path=place, run_id=run_id, model_uuid=model_id, model_id=model_id),
            )
            get_artifact_repository(place, tracking_uri=self.store.uri).log_artifacts(str(folder))
            return {"matching": "; ".join(matching), "n_cvs": str(len(matching)), TAG: to_tag(folder)}

    def forget_unregistered(self, run_id: str) -> None:
        """Delete models of this run that a killed call left without a version."""
        registered = {version.source for version in registry.versions(self.store)}  # a database does not keep a version's model_id
        for model in self.store.client.search_logged_models([self.store.experiment], f"source_run_id = '{run_id}'"):
            if model.artifact_location not in registered:
                self.store.client.delete_logged_model(model.model_id)


def runs_of(store: Store, facts: StageFacts) -> list:
    """The runs of this key, newest first."""
    return store.client.search_runs([store.experiment], f"tags.key = '{facts.key}'", order_by=["attributes.start_time DESC"])


def left_running(store: Store, project: Path) -> list:
    """Runs of this checkout that say RUNNING. Where its lock is held and nothing trains, they are dead."""
    own = "" if store.own_database else f" and tags.{PLACE} = '{settings.place(project)}'"
    return store.client.search_runs([store.experiment], f"attributes.status = 'RUNNING'{own}")


def find(store: Store, facts: StageFacts, weights: str):
    """The run of this key with these weights, else one whose training has not been recorded to its end, else None."""
    runs = runs_of(store, facts)
    same = [run for run in runs if weights and run.data.tags.get(WEIGHTS) == weights]
    unfinished = [run for run in runs if not is_trained(run)]
    return (same or unfinished or [None])[0]


def is_trained(run) -> bool:
    """Whether the training of this run has been recorded to its end."""
    return WEIGHTS in run.data.tags


def is_whole(store: Store, run, stage: str, content: str) -> bool:
    """Whether all that is on disk of this stage is in its run, and its version is registered with all of its files."""
    if run is None or run.data.tags.get(WHOLE) != content or run.info.status != "FINISHED":
        return False
    if stage == "baseline":
        return True
    version = registry.version_of_run(store, run)
    return version is not None and packaging.intact(store, version)


def _seen(run) -> dict:
    return json.loads(run.data.tags.get(HISTORY, '{"rows": 0, "digest": ""}'))


def continues(run, history: History) -> bool:
    """Whether the run has seen the beginning of this history, and of no other."""
    seen = _seen(run)
    return seen["rows"] == 0 or (seen["rows"] <= len(history) and seen["digest"] == history.digest(seen["rows"]))
