"""What DVC's cache holds of a project: what is missing, what nobody needs any more, and files taken out of it by their hash."""

import json
import shutil
from collections import Counter
from collections.abc import Set as AbstractSet
from pathlib import Path

from ruamel.yaml import YAML

from pipelines.flow import versioning

__all__ = ["fetch", "not_cached", "prune"]


def fetch(project: Path, digest: str, target: Path, only: str = "") -> bool:
    """Copy the file or folder of this hash from the cache to a place where nothing else is; whether it was there, whole.

    only: the name of the one file of the folder that is asked for.
    """
    with versioning.in_repository(project) as repository:
        cache = repository.cache.local
        source = Path(cache.oid_to_path(digest))
        if not source.exists():
            return False
        inside = json.loads(source.read_text()) if digest.endswith(".dir") else None
        parts = {target: source} if inside is None else {target / part["relpath"]: Path(cache.oid_to_path(part["md5"])) for part in inside
                                                            if only in ("", part["relpath"])}
    if (only and not parts) or not all(part.exists() for part in parts.values()):
        return False
    for place, part in parts.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)  # the cache's own are read-only
    return True


def not_cached(project: Path) -> list[str]:
    """Results and snapshots, as dvc.lock and NAME.dvc have them, that DVC's cache does not hold."""
    with versioning.in_repository(project) as repository:
        return sorted(repository.data_status(untracked_files="no").get("not_in_cache", ()))


def prune(project: Path, keep: int, data: AbstractSet[str], dry_run: bool = False) -> tuple[int, int]:
    """Take out of DVC's cache what nothing needs: how many files, and how many bytes.

    What stays: results and snapshots of today and of every branch and tag of git; results of the last `keep` runs of each stage, and
    those whose hash is in `data`, with all that their stages read.
    """
    with versioning.in_repository(project) as repository:
        cache, runs = repository.cache.local, _cached_runs(repository)
        needed = {entry.value for group in repository.used_objs(all_branches=True, all_tags=True).values() for entry in group}
        last: Counter[str] = Counter()
        idle = []
        for path, about in runs:  # newest first
            last[about["cmd"]] += 1
            if last[about["cmd"]] <= keep or not data.isdisjoint(_hashes(about["outs"])):
                needed |= {*_hashes(about["outs"]), *_hashes(about.get("deps", []))}
            else:
                idle.append(path)
        for name in [name for name in needed if name and name.endswith(".dir") and cache.exists(name)]:
            needed |= {entry["md5"] for entry in json.loads(Path(cache.oid_to_path(name)).read_text())}
        files = [Path(cache.oid_to_path(name)) for name in cache.all() if name not in needed] + idle
        size = sum(file.stat().st_size for file in files)
        for file in files if not dry_run else ():
            file.unlink(missing_ok=True)
        return len(files), size


def _cached_runs(repository) -> list[tuple[Path, dict]]:
    """What DVC remembers of runs of stages, newest first: the file, and {"cmd", "deps", "outs"}."""
    files = [path for path in Path(repository.stage_cache.cache_dir).glob("*/*/*") if path.is_file()]
    return [(path, YAML(typ="safe").load(path)) for path in sorted(files, key=lambda path: -path.stat().st_mtime)]


def _hashes(entries: list[dict]) -> set[str]:
    return {entry["md5"] for entry in entries if "md5" in entry}
