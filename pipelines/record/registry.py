"""The only module that moves aliases: who is champion, candidate and previous, who was, and who was taken back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.record.store import Store, opened, plainly

__all__ = [
    "RegistryStatus", "VersionRow", "by_hand", "champion", "chosen_by_hand", "crown", "decided", "find", "history", "nominate", "rows",
    "status", "take_back", "version_of_run", "versions", "way_back",
]

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
CHAMPIONS = "champions"  # tag of the registered model: versions that were champion, oldest first
REMEMBERED = 200
DECISION, REASON, REJECTED, BY_HAND = "decision", "reason", "rejected", "by_hand"


@dataclass(frozen=True)
class VersionRow:
    """A version as people see it. rejected: why it was taken back ("" if it was not). decision: the key of the last decision on it."""

    version: str
    variant: str
    aliases: tuple[str, ...]
    reason: str
    rejected: str
    created: datetime
    run_id: str
    key: str
    weights: str
    decision: str


@dataclass(frozen=True)
class RegistryStatus:
    """What the registry says. versions: newest first. history: earlier champions, oldest first. note: what is worth a word, or ""."""

    name: str
    uri: str
    champion: VersionRow | None
    candidate: VersionRow | None
    previous: VersionRow | None
    versions: tuple[VersionRow, ...]
    history: tuple[str, ...]
    note: str


def status(project: Path) -> RegistryStatus:
    """Read all of it. Raises BadInput where the store can't be reached."""
    store = opened(project)
    with plainly(store.uri):
        all_rows = rows(store)
        by_alias = {alias: row for row in all_rows for alias in row.aliases}
        note = ""
        if not all_rows:
            trained = (project / "models").exists()
            note = "no version yet" + ("; what an earlier database knew (versions, rejections) is not known here" if trained else "")
        crowned, nominee, former = by_alias.get(CHAMPION), by_alias.get(CANDIDATE), by_alias.get(PREVIOUS)
        return RegistryStatus(store.name, store.uri, crowned, nominee, former, tuple(all_rows), tuple(history(store)), note)


def versions(store: Store) -> list:
    """All versions, newest first."""
    found: list = []
    token = None
    while True:
        page = store.client.search_model_versions(f"name = '{store.name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: -int(version.version))


def version_of_run(store: Store, run_id: str):
    """The newest version of a run, or None."""
    return max((version for version in versions(store) if version.run_id == run_id), key=lambda version: int(version.version), default=None)


def rows(store: Store) -> list[VersionRow]:
    """All versions as people see them, newest first."""
    aliases = _aliases(store)
    return [_row(version, aliases) for version in versions(store)]


def find(store: Store, version: str) -> VersionRow | None:
    """A version by its number."""
    return next((row for row in rows(store) if row.version == str(version)), None)


def champion(store: Store) -> VersionRow | None:
    """The champion, or None."""
    return next((row for row in rows(store) if CHAMPION in row.aliases), None)


def history(store: Store) -> list[str]:
    """Versions that were champion, up to the present one, oldest first."""
    model = _model(store)
    return json.loads(model.tags.get(CHAMPIONS, "[]")) if model is not None else []


def nominate(store: Store, version: str) -> None:
    """Give `candidate` to a version; it leaves whoever had it."""
    if _aliases(store).get(CANDIDATE) != version:
        store.client.set_registered_model_alias(store.name, CANDIDATE, version)


def decided(store: Store, version: str, decision: str, reason: str) -> None:
    """Keep with a version what was decided on it and why."""
    store.client.set_model_version_tag(store.name, version, DECISION, decision)
    store.client.set_model_version_tag(store.name, version, REASON, reason[:4900])


def chosen_by_hand(store: Store, version: str, newest: str, reason: str) -> None:
    """Keep that a person chose this version when `newest` was the newest there was."""
    store.client.set_model_version_tag(store.name, version, BY_HAND, newest)
    store.client.set_model_version_tag(store.name, version, REASON, reason)


def by_hand(store: Store, version: str) -> str:
    """The newest version there was when a person chose this one, or ""."""
    return store.client.get_model_version(store.name, version).tags.get(BY_HAND, "")


def crown(store: Store, version: str) -> None:
    """Make a version the champion. `previous` is set before `champion`, so the way back is there whenever a call ends."""
    aliases, client = _aliases(store), store.client
    old = aliases.get(CHAMPION)
    if old != version:
        past = _up_to(history(store), old)
        _remember(store, [*past, version])
        if old is not None:
            client.set_registered_model_alias(store.name, PREVIOUS, old)
        client.set_registered_model_alias(store.name, CHAMPION, version)
    if aliases.get(CANDIDATE) == version:
        client.delete_registered_model_alias(store.name, CANDIDATE)
    row = find(store, version)
    assert row is not None  # the registry gives aliases only to versions that exist
    if row.rejected:
        client.delete_model_version_tag(store.name, version, REJECTED)


def way_back(store: Store) -> list[str]:
    """Versions that were champion before the present one and were not taken back, oldest first, each once."""
    now = _aliases(store).get(CHAMPION)
    good = {row.version for row in rows(store) if not row.rejected}
    past = [version for version in _up_to(history(store), now)[:-1] if version in good and version != now]
    return list(dict.fromkeys(reversed(past)))[::-1]


def take_back(store: Store, why: str) -> str:
    """Reject the champion for good and give its place to the last good one before it: that one's version.

    There must be a way back (`way_back`). The rejection is written first: whatever happens next, the version does not return.
    """
    client, now, back = store.client, _aliases(store)[CHAMPION], way_back(store)
    client.set_model_version_tag(store.name, now, REJECTED, why[:4900])
    if len(back) > 1:
        client.set_registered_model_alias(store.name, PREVIOUS, back[-2])
    elif PREVIOUS in _aliases(store):
        client.delete_registered_model_alias(store.name, PREVIOUS)
    client.set_registered_model_alias(store.name, CHAMPION, back[-1])
    _remember(store, back)
    if _aliases(store).get(CANDIDATE) in (now, back[-1]):
        client.delete_registered_model_alias(store.name, CANDIDATE)
    return back[-1]


def _row(version, aliases: dict[str, str]) -> VersionRow:
    number, tags = str(version.version), version.tags
    return VersionRow(
        version=number,
        variant=tags.get("variant", ""),
        aliases=tuple(alias for alias in (CHAMPION, CANDIDATE, PREVIOUS) if aliases.get(alias) == number),
        reason=tags.get(REASON, ""),
        rejected=tags.get(REJECTED, ""),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        run_id=version.run_id or "",
        key=tags.get("key", ""),
        weights=tags.get("weights", ""),
        decision=tags.get(DECISION, ""),
    )


def _up_to(past: list[str], version: str | None) -> list[str]:
    """The history as far as a version; a call that was killed may have left more than came true."""
    if version is None:
        return []
    last = max((i for i, name in enumerate(past) if name == version), default=None)
    return past[: last + 1] if last is not None else [version]


def _remember(store: Store, past: list[str]) -> None:
    store.client.set_registered_model_tag(store.name, CHAMPIONS, json.dumps(past[-REMEMBERED:]))


def _model(store: Store):
    return next(iter(store.client.search_registered_models(f"name = '{store.name}'")), None)


def _aliases(store: Store) -> dict[str, str]:
    model = _model(store)
    return {alias: str(version) for alias, version in model.aliases.items()} if model is not None else {}
