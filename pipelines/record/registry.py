"""Who is champion, candidate and previous, who was, and who was taken back.

Aliases are moved by `point` alone. The functions here call it by their rules, and `pipelines.record.recovery` to put back what a lost
database had; nobody else does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hae.errors import BadInput
from pipelines import paths
from pipelines.record import backup
from pipelines.record.store import Store, opened, plainly

__all__ = [
    "RegistryStatus", "VersionRow", "aliases", "by_hand", "champion", "chosen_by_hand", "crown", "decided", "find", "history", "mend",
    "model", "named", "nominate", "point", "reasoned", "remember", "rows", "status", "take_back", "version_of_run", "versions", "way_back",
]

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
CHAMPIONS = "champions"  # tag of the registered model: versions that were champion, oldest first
REMEMBERED = 200
DECISION, REASON, REJECTED, BY_HAND, APPROVAL = "decision", "reason", "rejected", "by_hand", "approval"


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
        look = _look(store)
        by_alias = {alias: row for row in look.rows for alias in row.aliases}
        return RegistryStatus(store.name, store.uri, look.champion, by_alias.get(CANDIDATE), by_alias.get(PREVIOUS), tuple(look.rows),
                              tuple(look.history), _note(store, look, (project / paths.MODELS).exists()))


def _note(store: Store, look: _Look, trained: bool) -> str:
    all_rows = look.rows
    kept = backup.kept(store.home, store.uri)
    if not all_rows and kept:
        return f"no version is left of {len(kept['versions'])}; hae retrain brings back what {store.home.name} and models/ hold"
    if not all_rows:
        return "no version yet" + ("; what an earlier database knew (versions, rejections) is not known here" if trained else "")
    words = [_wrong(look.aliases.get(CHAMPION), look.champion)]  # the next retraining or `hae promote` mends it
    gone = sorted(set(kept["versions"]) - {row.version for row in all_rows}, key=int) if kept else []
    if gone:
        words.append(f"version{'s' * (len(gone) > 1)} {', '.join(gone)} of this model {'are' if len(gone) > 1 else 'is'} gone")
    return "; ".join(filter(None, words))


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


def version_of_run(store: Store, run):
    """The newest version of a run, or None. One that came back without its run, after a database was lost, is known by key and weights."""
    everything, tags = versions(store), run.data.tags
    own = [version for version in everything if version.run_id == run.info.run_id]
    same = [version for version in everything if not version.run_id and "key" in tags
            and all(version.tags.get(name) == tags.get(name) for name in ("key", "weights"))]
    return next(iter(own or same), None)


@dataclass(frozen=True)
class _Look:
    """The registered model as it stands: one query for what hangs on it, one for its versions, however much is asked of them."""

    aliases: dict[str, str]
    history: list[str]
    rows: list[VersionRow]

    @property
    def champion(self) -> VersionRow | None:
        known = {row.version: row for row in self.rows}
        crowned = next((row for row in known.values() if CHAMPION in row.aliases), None)
        past = (known[version] for version in reversed(self.history) if version in known and not known[version].rejected)
        return crowned or next(past, None)

    @property
    def way_back(self) -> list[str]:
        now = self.champion
        if now is None:
            return []
        good = {row.version for row in self.rows if not row.rejected}
        past = [version for version in _up_to(self.history, now.version)[:-1] if version in good and version != now.version]
        return list(dict.fromkeys(reversed(past)))[::-1]


def _look(store: Store) -> _Look:
    found = model(store)
    held = _aliases(found)
    return _Look(held, _history(found), [_row(version, held) for version in versions(store)])


def rows(store: Store) -> list[VersionRow]:
    """All versions as people see them, newest first."""
    return _look(store).rows


def find(store: Store, version: str) -> VersionRow | None:
    """A version by its number."""
    return next((row for row in rows(store) if row.version == str(version)), None)


def named(store: Store, which: str) -> VersionRow:
    """A version by its number or an alias. Raises BadInput, which says what there is."""
    known = rows(store)
    row = next((row for row in known if which in (row.version, *row.aliases)), None)
    if row is None:
        there = ", ".join(row.version for row in known) or "none yet"
        raise BadInput(f"{store.name}: no version {which}; allowed: champion, candidate, previous or a number ({there})")
    return row


def champion(store: Store) -> VersionRow | None:
    """The champion, or None. Where its alias is gone or points nowhere: the last of the history that is there and was not taken back."""
    return _look(store).champion


def history(store: Store) -> list[str]:
    """Versions that were champion, up to the present one, oldest first."""
    return _history(model(store))


def _history(found) -> list[str]:
    return json.loads(found.tags.get(CHAMPIONS, "[]")) if found is not None else []


def nominate(store: Store, version: str) -> None:
    """Give `candidate` to a version; it leaves whoever had it."""
    if aliases(store).get(CANDIDATE) != version:
        point(store, CANDIDATE, version)


def reasoned(store: Store, version: str, reason: str) -> None:
    """Keep with a version why it is where it is."""
    store.client.set_model_version_tag(store.name, version, REASON, reason[:4900])


def decided(store: Store, version: str, decision: str) -> None:
    """Keep with a version what was decided on it. The last write of a decision: without it all is decided again."""
    store.client.set_model_version_tag(store.name, version, DECISION, decision)


def chosen_by_hand(store: Store, version: str, newest: str, reason: str, by: str = "", because: str = "") -> None:
    """Keep that a person chose this version when `newest` was the newest there was; who, when and why, where it was said."""
    if by or because:
        said = {"by": by[:500], "because": because[:4000], "at": datetime.now(UTC).isoformat(timespec="seconds")}
        store.client.set_model_version_tag(store.name, version, APPROVAL, json.dumps(said))
    store.client.set_model_version_tag(store.name, version, BY_HAND, newest)
    reasoned(store, version, reason)


def by_hand(store: Store, version: str) -> str:
    """The newest version there was when a person chose this one, or ""."""
    return store.client.get_model_version(store.name, version).tags.get(BY_HAND, "")


def crown(store: Store, version: str) -> None:
    """Make a version the champion. `previous` is set before `champion`, so the way back is there whenever a call ends."""
    look = _look(store)
    row, old = next(row for row in look.rows if row.version == version), look.champion  # the registry points only to what exists
    if row.rejected:  # first: a champion that is rejected is one whose `take_back` was killed
        store.client.delete_model_version_tag(store.name, version, REJECTED)
    if CHAMPION not in row.aliases:
        past = _up_to(look.history, old.version if old is not None else None)
        remember(store, past if past[-1:] == [version] else [*past, version])
        if old is not None and old.version != version:
            point(store, PREVIOUS, old.version)
        point(store, CHAMPION, version)
    if CANDIDATE in row.aliases:
        point(store, CANDIDATE, None)


def way_back(store: Store) -> list[str]:
    """Versions that were champion before the present one and were not taken back, oldest first, each once."""
    return _look(store).way_back


def take_back(store: Store, why: str) -> str:
    """Reject the champion for good and give its place to the last good one before it: that one's version.

    There must be a way back (`way_back`). The rejection is written first: whatever happens next, the version does not return.
    """
    look = _look(store)
    now, back = look.champion, look.way_back
    assert now is not None  # there is a way back from it
    store.client.set_model_version_tag(store.name, now.version, REJECTED, why[:4900])
    _go_back(store, now.version, back)
    return back[-1]


def _go_back(store: Store, now: str, back: list[str]) -> None:
    _previous(store, back[:-1])
    point(store, CHAMPION, back[-1])
    remember(store, back)
    if aliases(store).get(CANDIDATE) in (now, back[-1]):
        point(store, CANDIDATE, None)


def _previous(store: Store, past: list[str]) -> None:
    """Give `previous` to the last of these, or to none."""
    wanted = past[-1] if past else None
    if aliases(store).get(PREVIOUS) != wanted:
        point(store, PREVIOUS, wanted)


def mend(store: Store) -> str:
    """Bring the aliases to what the history says, in words ("" if nothing was wrong).

    What a person deleted, what points to a version that is gone, and what a call left that was killed between two moves.
    """
    look = _look(store)
    held, there, now, back = look.aliases, {row.version for row in look.rows}, look.champion, look.way_back
    words = _wrong(held.get(CHAMPION), now)
    if words:
        point(store, CHAMPION, now.version if now is not None else None)
        words += " and has it again" if now is not None else ""
    if now is not None and now.rejected and back:
        words = f"version {now.version} was {now.rejected}: version {back[-1]} is champion again"
        _go_back(store, now.version, back)
        return words
    past = _up_to(look.history, now.version) if now is not None else look.history
    if past != look.history:  # killed between the history and the alias, in either order
        remember(store, past)
    if CANDIDATE in held and (held[CANDIDATE] not in there or (now is not None and held[CANDIDATE] == now.version)):
        point(store, CANDIDATE, None)
    if now is None or held.get(PREVIOUS) not in there - {now.version}:
        _previous(store, back)
    return words


def _wrong(pointed: str | None, crowned: VersionRow | None) -> str:
    """What is wrong with the alias of the champion, which points to this version, in words."""
    now = crowned.version if crowned is not None else None
    if pointed == now:
        return ""
    words = f"the alias champion pointed to version {pointed}, which is gone" if pointed else "the alias champion was gone"
    return f"{words}: " + (f"version {now} was the last champion" if now else "no champion is left")


def _row(version, held: dict[str, str]) -> VersionRow:
    number, tags = str(version.version), version.tags
    return VersionRow(
        version=number,
        variant=tags.get("variant", ""),
        aliases=tuple(alias for alias in (CHAMPION, CANDIDATE, PREVIOUS) if held.get(alias) == number),
        reason=tags.get(REASON, ""),
        rejected=tags.get(REJECTED, ""),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        run_id=version.run_id or "",
        key=tags.get("key", ""),
        weights=tags.get("weights", ""),
        decision=tags.get(DECISION, ""),
    )


def _up_to(past: list[str], version: str | None) -> list[str]:
    """The history as far as a version; a call that was killed may have left more than came true. Nothing before it is ever dropped."""
    if version is None:
        return past
    last = max((i for i, name in enumerate(past) if name == version), default=None)
    return past[: last + 1] if last is not None else [*past, version]


def remember(store: Store, past: list[str]) -> None:
    """Write the history."""
    store.client.set_registered_model_tag(store.name, CHAMPIONS, json.dumps(past[-REMEMBERED:]))


def point(store: Store, alias: str, version: str | None) -> None:
    """Give an alias to a version, or take it away."""
    if version is None:
        store.client.delete_registered_model_alias(store.name, alias)
    else:
        store.client.set_registered_model_alias(store.name, alias, version)


def model(store: Store):
    """The registered model as MLflow gives it, or None."""
    return next(iter(store.client.search_registered_models(f"name = '{store.name}'")), None)


def aliases(store: Store) -> dict[str, str]:
    """Alias -> version, also of one that is gone."""
    return _aliases(model(store))


def _aliases(found) -> dict[str, str]:
    return {alias: str(version) for alias, version in found.aliases.items()} if found is not None else {}
