"""From recorded versions to a champion: who is the candidate, what the gate says, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from pipelines import params
from pipelines.gate import gates
from pipelines.gate.gates import Candidate, Champion, Margins
from pipelines.record import contents, lineage, packaging, registry
from pipelines.record.lineage import StageFacts
from pipelines.record.registry import VersionRow
from pipelines.record.store import Store, opened, plainly

__all__ = ["Outcome", "promote", "promote_version", "rollback", "settled"]


@dataclass(frozen=True)
class Outcome:
    """What a call did and why. action: "promoted", "held", "nothing new", "nominated" or "rolled back".

    version, variant: the version it is about. champion: the version afterwards, None if there is none.
    versions: today's variants -> their versions as they stand afterwards, each with its reason.
    """

    action: str
    version: str | None
    variant: str | None
    reason: str
    champion: str | None
    versions: dict[str, VersionRow]


@dataclass(frozen=True)
class Today:
    """What the files on disk stand for. better: variant with the lower validation loss. decision: the key of a decision on it."""

    rows: dict[str, VersionRow]
    better: str
    scores: dict[str, float]
    champion: VersionRow | None
    margins: Margins
    decision: str

    @property
    def row(self) -> VersionRow:
        return self.rows[self.better]


def promote(project: Path, facts: Mapping[str, StageFacts], decide: bool = True) -> Outcome:
    """Decide on today's better variant and, if the gate says so, make it the champion. Safe to repeat: one decision for one situation.

    decide: False only names the candidate; the decision is left for later (`hae retrain`) or for a person (`hae promote`).
    All is found out before anything is moved, so a call that fails leaves the aliases as they were.
    """
    store = opened(project)
    with plainly(store.uri):
        today = _today(store, project, facts)
        known = _standing(store, today)
        if known is not None:
            return known
        if not decide:
            registry.nominate(store, today.row.version)
            return _outcome(store, today, "nominated", "awaits a decision")
        champion = _champion(store, project, today)
        decision = gates.decide(_candidate(store, project, today), champion, today.margins)
        registry.nominate(store, today.row.version)
        if decision.promote:
            registry.crown(store, today.row.version)
        registry.decided(store, today.row.version, today.decision, decision.reason)  # last: a call that died before decides again
        return _outcome(store, today, "promoted" if decision.promote else "held", decision.reason)


def settled(project: Path, facts: Mapping[str, StageFacts]) -> bool:
    """Whether `promote` has nothing to decide: a few queries."""
    store = opened(project)
    with plainly(store.uri):
        return _standing(store, _today(store, project, facts)) is not None


def promote_version(project: Path, version: str) -> Outcome:
    """Make a version the champion by hand, a held or even a rejected one; it only has to load and to give its own CVs."""
    store = opened(project)
    with plainly(store.uri):
        row = registry.find(store, version)
        if row is None:
            there = ", ".join(known.version for known in registry.rows(store)) or "none yet"
            raise BadInput(f"{store.name}: no version {version}; allowed: {there}")
        if "champion" in row.aliases:
            return Outcome("nothing new", row.version, row.variant, "it is the champion already", row.version, {})
        _must_load(store, row.version)
        reason = f"version {row.version} ({row.variant}) is promoted by hand" + (f", though {row.rejected}" if row.rejected else "")
        newest = max(int(known.version) for known in registry.rows(store))
        registry.chosen_by_hand(store, row.version, str(newest), reason)
        registry.crown(store, row.version)
        return Outcome("promoted", row.version, row.variant, reason, row.version, {})


def rollback(project: Path) -> Outcome:
    """Take the champion back for good and give its place to the one before it. Repeatable as far as the history goes."""
    store = opened(project)
    with plainly(store.uri):
        now, back = registry.champion(store), registry.way_back(store)
        if now is None:
            raise BadInput(f"{store.name}: there is no champion to take back; allowed: hae rollback once there is one")
        if not back:
            raise BadInput(f"{store.name}: no champion before version {now.version} to go back to; allowed: hae promote VERSION")
        _must_load(store, back[-1])
        version = registry.take_back(store, "taken back by hand")
        row = registry.find(store, version)
        assert row is not None  # the champion of a moment ago
        reason = f"version {now.version} ({now.variant}) is rejected and does not come back by itself"
        return Outcome("rolled back", row.version, row.variant, reason, row.version, {})


def _today(store: Store, project: Path, facts: Mapping[str, StageFacts]) -> Today:
    settings = params.load(project / "params.yaml")
    weights = {stage.removeprefix("train@"): (its.key, contents.weights(project, stage))
               for stage, its in facts.items() if stage.startswith("train@")}
    known = {(row.key, row.weights): row for row in reversed(registry.rows(store))}
    missing = [variant for variant, name in weights.items() if name not in known]
    if missing:
        raise BadInput(f"{store.name}: no version of {' and '.join(missing)} as they stand on disk; allowed: record first (hae retrain)")
    rows = {variant: known[name] for variant, name in weights.items()}
    scores = _validation(project, list(rows))
    better = max(scores, key=scores.__getitem__)
    champion = registry.champion(store)
    margins = Margins(**settings.promote.model_dump())
    evidence = (project / contents.FRAMES, project / "results" / better / "metrics.json")
    stakes = [rows[better].version, champion.version if champion else None, vars(margins)]
    decision = lineage.digest([*stakes, *map(lineage.file_digest, evidence)])
    return Today(rows, better, scores, champion, margins, decision)


def _validation(project: Path, variants: list[str]) -> dict[str, float]:
    """Variant -> 1 - L/V on validation blocks, L the average over the levels that all variants have."""
    fve = {}
    for variant in variants:
        path = project / "results" / variant / "training.json"
        fve[variant] = _levels(contents.read_json(path), "validation_fve")
        if not fve[variant]:
            raise BadInput(f"{path}: no validation_fve_1; allowed: what the stage train writes")
    common = min(map(len, fve.values()))
    return {variant: float(np.mean(levels[:common])) for variant, levels in fve.items()}


def _levels(content: Mapping, name: str) -> tuple[float, ...]:
    """Values of name_1, name_2, ... as far as they go."""
    found: list[float] = []
    while f"{name}_{len(found) + 1}" in content:
        value = content[f"{name}_{len(found) + 1}"]
        found.append(float("nan") if value is None else float(value))
    return tuple(found)


def _standing(store: Store, today: Today) -> Outcome | None:
    """The outcome if nothing is left to decide."""
    row, champion = today.row, today.champion
    if champion is not None and champion.version == row.version:
        return _outcome(store, today, "nothing new", row.reason or "it is the champion")
    rejected = next((old for old in registry.rows(store) if old.rejected and (old.key == row.key or old.weights == row.weights)), None)
    if rejected is not None:
        reason = f"version {rejected.version}, the same model, was {rejected.rejected}; a person may decide (hae promote)"
        return _outcome(store, today, "held", reason)
    if champion is not None and int(registry.by_hand(store, champion.version) or 0) >= int(row.version):
        return _outcome(store, today, "held", f"version {champion.version} was chosen by hand when this one was there")
    if row.decision == today.decision:
        return _outcome(store, today, "held", row.reason)
    return None


def _outcome(store: Store, today: Today, action: str, reason: str) -> Outcome:
    rows = {row.version: row for row in registry.rows(store)}
    champion = next((row.version for row in rows.values() if "champion" in row.aliases), None)
    versions = {}
    for variant, old in today.rows.items():
        row, now = rows[old.version], reason
        if variant != today.better:
            now = (f"{today.better} is better on validation blocks (mean FVE over levels {today.scores[today.better]:.3f}, "
                   f"here {today.scores[variant]:.3f})")
        versions[variant] = replace(row, reason=now)
    return Outcome(action, today.row.version, today.better, reason, champion, versions)


def _candidate(store: Store, project: Path, today: Today) -> Candidate:
    content = contents.read_json(project / "results" / today.better / "metrics.json")
    fve = _levels(content, "fve")
    return Candidate(
        today.row.version,
        today.better,
        fve,
        gain=_levels(content, "gain"),
        pca_fve=_levels(content, "pca_fve"),
        above_pca_high=tuple(float(content.get(f"above_pca_high_{k + 1}", "nan")) for k in range(len(fve))),
        order=tuple(content.get(f"order_{k + 1}", "") for k in range(len(fve) - 1)),
        fault=packaging.check(store, today.row.version),
    )


def _champion(store: Store, project: Path, today: Today) -> Champion | None:
    """The champion beside the candidate, or None without a champion."""
    from pipelines.gate.comparison import compare  # imports torch, which most calls do without

    row = today.champion
    if row is None:
        return None
    try:
        champion, candidate = packaging.load(store, row.version), packaging.load(store, today.row.version)
    except BadInput as error:
        return Champion(row.version, row.variant, not_comparable=str(error))
    return compare(champion, candidate, project)


def _must_load(store: Store, version: str) -> None:
    fault = packaging.check(store, version)
    if fault:
        raise BadInput(f"{store.name} version {version}: {fault}; no alias was moved")
