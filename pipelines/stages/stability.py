"""Train one variant anew on resampled training blocks, and compare: how far another training would find the same levels and CVs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from hae.errors import BadInput
from hae.files import check_writable, written_whole
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["main", "stability"]

LEAST = 2000  # rows of a sample, on each side


@dataclass(frozen=True)
class _Replica:
    """A replica of a variant, counted from 0, the length of its blocks, the folder of its data set and that for what becomes of it."""

    variant: str
    number: int
    block_frames: int
    frames: str
    desk: str


def stability(variant: str) -> None:
    """models/VARIANT and data/prepared/frames -> results/variants/VARIANT/stability.json, {} where no replicas are asked for."""
    everything = params.load()
    everything.variant(variant)
    check_writable(paths.results(variant))
    replicas, block_frames = everything.stability.replicas, everything.prepare.split.block_frames
    text = measured(variant, replicas, block_frames) if replicas else "{}"
    with written_whole(paths.results(variant) / "stability.json") as partial:
        partial.write_text(text + "\n")


def measured(variant: str, replicas: int, block_frames: int) -> str:
    """The JSON of `hae.importance.stability.Stability`, replicas trained side by side; of a sample where the rows are larger than the
    memory for them."""
    import numpy as np

    from hae.data.frames import Frames
    from hae.data.parts import Manifest
    from hae.engine import map_parts
    from hae.estimator import HierarchicalAutoencoder  # all this takes seconds to import, and is not needed where nothing is asked for
    from hae.importance.stability import agreement

    start, desk = time.perf_counter(), settings.home() / "replicas" / variant
    desk.mkdir(parents=True, exist_ok=True)
    try:
        data = _data(replicas, block_frames, desk)
        test = Frames.read(data).select("test")
        if not len(test):
            raise BadInput(f"{paths.FRAMES}: no test rows; allowed: prepare.split.shares that leave some")
        parts = {f"stability {variant}, replica {i + 1}": _Replica(variant, i, block_frames, str(data), str(desk)) for i in range(replicas)}
        places = map_parts(_trained, parts, progress=f"stability {variant}").values()
        found = [(file["cvs"], file["levels"]) for file in map(np.load, places)]
        rows = () if data == paths.FRAMES else tuple(Manifest.read(data).sides[side] for side in ("train", "test"))
    finally:
        shutil.rmtree(desk, ignore_errors=True)
    kinds = HierarchicalAutoencoder.load(paths.model(variant)).network_.bottleneck.kinds
    told = replace(agreement(found, kinds, test.weights, time.perf_counter() - start), rows=rows)
    print(f"stability {variant}: {told.sentence()}; {told.seconds:.0f} s")
    return told.to_json()


def _data(replicas: int, block_frames: int, desk: Path) -> Path:
    """The data set, or a sample of it where its rows are larger than the memory for them: an eighth of that for the training rows, as much
    for the levels of all replicas at the rows that are compared."""
    from hae.data.parts import Manifest
    from hae.data.sides import sample_of
    from hae.memory import memory_limit

    manifest, limit = Manifest.read(paths.FRAMES), memory_limit()
    if manifest.bytes <= limit:
        return paths.FRAMES
    numbers = limit // (8 * 8 * len(manifest.features))
    rows = {"train": max(numbers, LEAST), "test": max(numbers // (4 * replicas), LEAST)}
    sample_of(paths.FRAMES, rows, block_frames).write(desk / "frames", manifest.split)
    return desk / "frames"


def _trained(part: _Replica) -> str:
    """Train a replica; gives the file with its CVs and levels at the test rows."""
    import numpy as np

    from hae.data.frames import Frames
    from hae.devices import set_threads
    from hae.estimator import HierarchicalAutoencoder
    from hae.importance.stability import replica_of
    from hae.training.pairs import Pairs

    set_threads()
    frames = Frames.read(part.frames)
    train, test = (frames.select(side) for side in ("train", "test"))
    cvs, levels = replica_of(
        HierarchicalAutoencoder.load(paths.model(part.variant)),
        part.number,
        Pairs.same(train.values, train.weights),
        Pairs.same(test.values, test.weights),
        train.blocks(part.block_frames),
    )
    path = Path(part.desk, f"{part.number}.npz")
    with written_whole(path) as partial:
        np.savez(partial, cvs=cvs, levels=levels)
    return str(path)


def main() -> None:
    run_stage(stability)


if __name__ == "__main__":
    main()
