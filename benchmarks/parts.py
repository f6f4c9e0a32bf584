"""Prepare in parts: one core, two cores, Ray, and a data set that grew by a tenth.

    HAE_THREADS=2 python -m benchmarks.parts PROJECT [--copies 40] [--engines local ray]

PROJECT has run simulate; its trajectories are copied, under other names, that often. Wall time on a machine that does nothing else; CPU
seconds are those of all processes, which other work on the machine disturbs less.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.sections import table
from hae.data.making import make_parts
from hae.data.molecules import Recipe
from hae.data.parts import Manifest, Part, publish
from hae.data.patterns import find_files
from hae.data.trajectories import load_structure
from pipelines import params

__all__ = ["main"]


def spent() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--engines", nargs="+", default=["local"])
    given = parser.parse_args()
    section = params.load(given.project / "params.yaml").prepare
    topology = given.project / section.topology
    structure = load_structure(topology)
    recipe = Recipe.for_molecule(structure, section.features, atoms=section.atoms, labels=section.labels)
    rule = section.split.model_dump(include={"block_frames", "gap_frames", "shares", "salt"}, mode="json")
    rows = []
    with tempfile.TemporaryDirectory(prefix="hae-parts-") as temporary:
        work = Path(temporary)
        files = {}
        for name, path in find_files(section.trajectories, given.project).items():
            for copy in range(given.copies):
                files[f"{copy}/{name}"] = Path(shutil.copy(path, work / f"{copy}-{path.name}"))

        def made(which: Mapping[str, Path], known: Mapping[str, Part], words: str) -> Manifest:
            start, cpu = time.monotonic(), spent()
            parts, about, new = make_parts(recipe, which, topology, rule, folder=work / "frames", known=known, desk=work / "desk")
            manifest = Manifest(parts, **about, split=rule)
            publish(work / "frames", manifest, new)
            wall, cpu = time.monotonic() - start, spent() - cpu
            rows.append([words, f"{len(new)} of {len(parts)}", f"{manifest.rows:,}", f"{wall:.1f}", f"{cpu:.1f}",
                         f"{manifest.rows / wall:,.0f}"])
            return manifest

        threads = os.environ.get("HAE_THREADS", "2")
        for engine, cores in [("local", "1"), *((engine, threads) for engine in given.engines)]:
            os.environ |= {"HAE_ENGINE": engine, "HAE_THREADS": cores}
            shutil.rmtree(work / "frames", ignore_errors=True)
            made(files, {}, f"{engine}, {cores} core{'s' * (cores != '1')}")
        os.environ["HAE_ENGINE"] = "local"
        shutil.rmtree(work / "frames")
        few = dict(list(files.items())[: len(files) * 9 // 10])
        before = made(few, {}, "nine tenths")
        made(files, {part.name: part for part in before.parts}, "the last tenth is added")
        made(files, {part.name: part for part in Manifest.read(work / "frames").parts}, "nothing is new")
    print(table(["", "parts made", "frames", "wall s", "CPU s", "frames a second"], rows))


if __name__ == "__main__":
    main()
