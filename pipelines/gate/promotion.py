"""From recorded versions to a champion: who is the candidate, what the gate says, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from pipelines import locks, params, paths
from pipelines.gate import gates
from pipelines.gate.gates import Candidate, Champion, Margins
from pipelines.gate.outcome import Outcome
from pipelines.record import contents, lineage, packaging, recovery, registry
from pipelines.record.claim import claimed
from pipelines.record.lineage import StageFacts
from pipelines.record.registry import VersionRow
from pipelines.record.store import Passing, Store, opened, plainly

__all__ = ["Outcome", "is_decided", "promote", "promote_version", "rollback", "standing"]


TRIES = 3  # at a decision: the registry may be shared, and a champion that moved meanwhile is another question


@dataclass(frozen=True)
class Today:
    """What the files on disk stand for. better: variant with the lower validation loss. decision: the key of a decision on it."""

    rows: dict[str, VersionRow]
    better: str
    scores: dict[str, float]
    champion: VersionRow | None
    margins: Margins
    decision: str
    by_hand: bool  # whether only a person makes a champion

    @property
    def row(self) -> VersionRow:
        return self.rows[self.better]


def promote(project: Path, facts: Mapping[str, StageFacts], decide: bool = True, objection: str = "") -> Outcome:
    """Decide on today's better variant and, if the gate says so, make it the champion. Safe to repeat: one decision for one situation.

    decide: False only names the candidate; the decision is left for later (`hae retrain`) or for a person (`hae promote`).
    objection: why only a person may promote, found outside of the gate; "" where there is none.
    All is found out before anything is moved, so a call that fails leaves the aliases as they were.
    """
    with _moving(project) as (store, mended):
        for _ in range(TRIES):
            today = _today(store, project, facts)
            outcome = _standing(store, today) or _decision(store, project, today, decide, objection)
            if outcome is not None:
                return _after(mended, outcome)
    raise BadInput(f"{store.name}: the champion changed {TRIES} times while a candidate was looked at; allowed: hae retrain, once others "
                   "who use this registry are done")


@contextmanager
def _moving(project: Path) -> Iterator[tuple[Store, str]]:
    """The store for whoever may move an alias: the checkout held, what was wrong put right (in words), and all of it kept at the end."""
    with locks.checkout_lock(project, locks.tell):
        store = opened(project)
        with plainly(store.uri):
            with claimed(store):
                mended = recovery.mend(store)
            yield store, mended
            recovery.keep(store)


def _after(mended: str, outcome: Outcome) -> Outcome:
    return replace(outcome, reason=f"{mended}; {outcome.reason}") if mended else outcome


def _decision(store: Store, project: Path, today: Today, decide: bool, objection: str) -> Outcome | None:
    """Judge today's candidate and move the aliases; None if the champion changed meanwhile."""
    version = today.row.version
    if not decide:
        registry.nominate(store, version)
        return _outcome(store, today, "nominated", "awaits a decision")
    try:
        champion = _champion(store, project, today)
        decision = gates.decide(_candidate(store, project, today), champion, today.margins)
    except Passing as fault:
        return _outcome(store, today, "failed", f"{fault}; nothing is decided, and the next retraining tries again")
    with claimed(store):
        return _moved(store, today, champion, decision, objection)


def _moved(store: Store, today: Today, champion: Champion | None, decision: gates.Decision, objection: str) -> Outcome | None:
    """Move the aliases as decided; None if the champion changed meanwhile. The key of the decision is written last."""
    version = today.row.version
    if registry.champion(store) != today.champion:
        return None
    reason = decision.reason
    past = registry.history(store)
    if decision.promote and champion is None and past:
        reason = f"of the champions before it (versions {', '.join(past)}) none is left to compare with"
    crowns = decision.promote and not today.by_hand and not objection
    if decision.promote and not crowns:
        passed = f'awaits approval (hae promote {version} --by NAME --because "..."), for it passed the gate: {reason}'
        reason = f"{objection}; {passed}" if objection else passed
    registry.nominate(store, version)
    registry.reasoned(store, version, reason)
    if crowns:
        registry.crown(store, version)
    registry.decided(store, version, today.decision)
    return _outcome(store, today, "promoted" if crowns else "held", reason)


def is_decided(project: Path, facts: Mapping[str, StageFacts]) -> bool:
    """Whether `promote` has nothing to decide: a few queries."""
    store = opened(project)
    with plainly(store.uri):
        return _standing(store, _today(store, project, facts)) is not None


def standing(project: Path, facts: Mapping[str, StageFacts]) -> tuple[Outcome, dict[str, dict[str, str]]] | None:
    """What `promote` would say where it has nothing to decide, and the folders of today's versions with the digests of their files; None
    where something is left to do, or where the files are not of this machine."""
    store = opened(project)
    with plainly(store.uri):
        outcome = _standing(store, _today(store, project, facts))
        rows = outcome.versions.values() if outcome is not None else ()
        files = packaging.placed(store, [row.version for row in rows])
        return (outcome, files) if outcome is not None and files is not None else None


def promote_version(project: Path, version: str, by: str = "", because: str = "") -> Outcome:
    """Make a version the champion by hand, a held or even a rejected one; it only has to load and to give its own CVs.

    by, because: who decides and why, kept on the version; both are needed where params.yaml says promote.by_hand.
    """
    if params.load(project / "params.yaml").promote.by_hand and not (by.strip() and because.strip()):
        raise BadInput(f"hae promote {version}: promote.by_hand asks who decides and why; allowed: --by NAME --because WHY")
    with _moving(project) as (store, mended), ExitStack() as held:
        row = _there(store, version)
        if "champion" in row.aliases:
            return _after(mended, Outcome("nothing new", row.version, row.variant, "it is the champion already", row.version, {}))
        _must_load(store, row.version)
        held.enter_context(claimed(store))
        row = _there(store, version)  # as it is now: the check takes its time
        reason = f"version {row.version} ({row.variant}) is promoted by hand" + (f", though {row.rejected}" if row.rejected else "")
        reason += (f", by {by}" if by else "") + (f": {because}" if because else "")
        newest = max(int(known.version) for known in registry.rows(store))
        registry.chosen_by_hand(store, row.version, str(newest), reason, by, because)
        registry.crown(store, row.version)
        return _after(mended, Outcome("promoted", row.version, row.variant, reason, row.version, {}))


def _there(store: Store, version: str) -> VersionRow:
    row = registry.find(store, version)
    if row is None:
        there = ", ".join(known.version for known in registry.rows(store)) or "none yet"
        raise BadInput(f"{store.name}: no version {version}; allowed: {there}")
    return row


def rollback(project: Path) -> Outcome:
    """Take the champion back for good and give its place to the one before it. Repeatable as far as the history goes."""
    with _moving(project) as (store, mended), ExitStack() as held:
        now, back = registry.champion(store), registry.way_back(store)
        if now is None:
            raise BadInput(f"{store.name}: there is no champion to reject; allowed: hae rollback once there is one")
        if not back:
            raise BadInput(f"{store.name}: no champion before version {now.version} to go back to; allowed: hae promote VERSION")
        _must_load(store, back[-1])
        held.enter_context(claimed(store))
        if registry.champion(store) != now or registry.way_back(store) != back:  # a person meant the one that was champion
            raise BadInput(f"{store.name}: the champion changed meanwhile, so nothing was rejected; allowed: hae rollback once more")
        row = _there(store, registry.take_back(store, "taken back by hand"))
        reason = f"version {now.version} ({now.variant}) is rejected and does not come back by itself"
        return _after(mended, Outcome("rolled back", row.version, row.variant, reason, row.version, {}))


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
    better = max(scores, key=lambda variant: float(np.nan_to_num(scores[variant], nan=-np.inf)))  # NaN never wins
    champion = registry.champion(store)
    margins = Margins(**settings.promote.model_dump(exclude={"by_hand"}))
    evidence = (project / paths.MANIFEST, project / paths.results(better) / "metrics.json")
    by_hand = settings.promote.by_hand
    stakes = [rows[better].version, champion.version if champion else None, vars(margins), *(["by hand"] if by_hand else [])]
    decision = lineage.digest([*stakes, *map(lineage.file_digest, evidence)])
    return Today(rows, better, scores, champion, margins, decision, by_hand)


def _validation(project: Path, variants: list[str]) -> dict[str, float]:
    """Variant -> 1 - L/V on validation blocks, L the average over the levels that all variants have."""
    fve = {}
    for variant in variants:
        path = project / paths.results(variant) / "training.json"
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
    content = contents.read_json(project / paths.results(today.better) / "metrics.json")
    fve = _levels(content, "fve")
    return Candidate(
        today.row.version,
        today.better,
        fve,
        gain=_levels(content, "gain"),
        pca_fve=_levels(content, "pca_fve"),
        above_pca_high=tuple(float(content.get(f"above_pca_high_{k + 1}", "nan")) for k in range(len(fve))),
        order=tuple(content.get(f"order_{k + 1}", "") for k in range(len(fve) - 1)),
        gradient=_levels(content, "gradient"),
        fault=packaging.check(store, today.row.version),
    )


def _champion(store: Store, project: Path, today: Today) -> Champion | None:
    """The champion beside the candidate, or None without a champion. Raises Passing where one of them can't be read."""
    from pipelines.gate.comparison import compare  # imports torch, which most calls do without

    row = today.champion
    if row is None:
        return None
    try:
        champion, candidate = packaging.load(store, row.version), packaging.load(store, today.row.version)
    except BadInput as error:
        raise Passing(str(error)) from None
    return compare(champion, candidate, project)


def _must_load(store: Store, version: str) -> None:
    try:
        fault = packaging.check(store, version)
    except Passing as error:
        fault = str(error)
    if fault:
        raise BadInput(f"{store.name} version {version}: {fault}; no alias was moved")
