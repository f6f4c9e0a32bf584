"""What the registry knows, kept beside the store at each move, and brought back where a database was made again."""

from __future__ import annotations

from pathlib import Path

from pipelines.record import backup, claim, registry
from pipelines.record.registry import APPROVAL, BY_HAND, DECISION, REASON, REJECTED
from pipelines.record.store import Store

__all__ = ["keep", "mend", "recover"]

MOVES = "moves"  # tag of the registered model: how often it was kept; a database that says less than the file is an older one


def mend(store: Store) -> str:
    """Bring back what a lost database knew and put right what was deleted or left half done: in words ("" if nothing was wrong)."""
    return "; ".join(filter(None, (recover(store), registry.mend(store))))


def keep(store: Store) -> None:
    """Write what the registry knows beside the store, if it is not what was kept last."""
    found, known = registry.model(store), backup.kept(store.home, store.uri)
    if found is None:
        return
    content = {
        "model": store.name,
        "aliases": registry.aliases(store),
        "history": registry.history(store),
        "versions": {str(version.version): {"source": version.source, "tags": dict(version.tags), "description": version.description or ""}
                     for version in reversed(registry.versions(store))},
    }
    kept = known["moves"] if known else 0
    if known is not None and {**content, "moves": kept} == known and kept <= _moves(found):
        return
    moves = max(kept, _moves(found)) + 1
    backup.keep(store.home, store.uri, content | {"moves": moves})
    store.client.set_registered_model_tag(store.name, MOVES, str(moves))


def recover(store: Store, last: bool = True) -> str:
    """Where the registry is older than what was kept, or empty: versions whose files are there come back, champions and rejections too.

    last: nothing will be recorded any more, so what is not there now does not come back. In words; "" where nothing was missing.
    """
    known, found = backup.kept(store.home, store.uri), registry.model(store)
    if known is None or known["model"] != store.name or _moves(found) >= known["moves"]:
        return ""
    if found is None:
        claim.made(store, store.name)
    numbers = _versions_back(store, known["versions"])
    changed = _tags_back(store, known["versions"], numbers) | _champions_back(store, known, numbers)
    if last or known["aliases"].get("champion") in (*numbers, None):
        store.client.set_registered_model_tag(store.name, MOVES, str(known["moves"]))
    words = f"the registry was new, or older than what hae kept: {len(numbers)} of {len(known['versions'])} versions were restored"
    return words if changed else ""


def _versions_back(store: Store, known: dict[str, dict]) -> dict[str, str]:
    """Old number -> number now, of every version that is there, by key and weights, or whose files are."""
    there = {_identity(version.tags, version.source): str(version.version) for version in reversed(registry.versions(store))}
    numbers = {}
    for number, about in known.items():
        identity = _identity(about["tags"], about["source"])
        if identity not in there and Path(about["source"].removeprefix("file://")).is_dir():
            made = store.client.create_model_version(store.name, about["source"], tags=about["tags"], description=about["description"])
            there[identity] = str(made.version)
        if identity in there:
            numbers[number] = there[identity]
    return numbers


def _identity(tags, source: str) -> tuple[str, str]:
    return (tags["key"], tags.get("weights", "")) if "key" in tags else ("", source)


def _tags_back(store: Store, known: dict[str, dict], numbers: dict[str, str]) -> bool:
    """Decisions, reasons, rejections and choices by hand, where they differ from what is kept; whether any did."""
    now = {str(version.version): version.tags for version in registry.versions(store)}
    wanted = [(number, name, about["tags"][name]) for old, about in known.items() if (number := numbers.get(old))
              for name in (DECISION, REASON, REJECTED, BY_HAND, APPROVAL) if name in about["tags"]]
    wanted = [(number, name, numbers.get(value, value) if name == BY_HAND else value) for number, name, value in wanted]
    different = [tag for tag in wanted if now[tag[0]].get(tag[1]) != tag[2]]
    for number, name, value in different:
        store.client.set_model_version_tag(store.name, number, name, value)
    return bool(different)


def _champions_back(store: Store, known: dict, numbers: dict[str, str]) -> bool:
    """History and aliases, by the numbers of now; whether anything had to be moved."""
    history = [numbers[version] for version in known["history"] if version in numbers]
    held = {alias: numbers[version] for alias, version in known["aliases"].items() if version in numbers}
    changed = history != registry.history(store) or held != registry.aliases(store)
    if history != registry.history(store):
        registry.remember(store, history)
    for alias in ("previous", "champion", "candidate"):
        if held.get(alias) and registry.aliases(store).get(alias) != held[alias]:
            registry.point(store, alias, held[alias])
    return changed


def _moves(found) -> int:
    return int(found.tags.get(MOVES, 0)) if found is not None else 0
