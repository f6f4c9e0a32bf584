"""Data larger than memory: rows in memory-mapped float32 files, made from a data set in one pass and read in shuffled chunks."""

import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hae.data.parts import Manifest
from hae.errors import BadInput
from hae.memory import memory_limit
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective, rounding, scales, warn_of_rounding
from hae.training.pairs import Pairs, Standard
from hae.training.rows import Rows, epoch_generator

__all__ = ["StoredFrames", "StoredRows", "rows_bytes"]

READ_ROWS = 16384  # rows of a data set at a time
CHUNKS = 64  # pieces of the file that are mixed in memory at once
SAMPLE_ROWS = 20_000  # rows from which the CVs get their canonical form


def rows_bytes(folder: str | os.PathLike) -> int:
    """Bytes that the rows of a data set (`hae.data.parts`) take as float32. Raises BadInput if there is none."""
    return Manifest.read(folder).bytes


@dataclass
class Moments:
    """Of rows that come in parts: weighted number, mean, sum of squares about it (Chan, Golub, LeVeque 1979), least and largest values;
    products: sum of products of two columns (D, D) about the mean, where it begins as 0 and not as None.

    Example:
        >>> moments = Moments()
        >>> for part in ([[1.0], [2.0]], [[6.0]]):
        ...     moments.add(np.array(part), np.ones(len(part)))
        >>> moments.total, moments.mean, moments.squares
        (np.float64(3.0), array([3.]), array([14.]))
    """

    total: float = 0.0
    mean: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0
    least: np.ndarray | float = np.inf
    largest: np.ndarray | float = -np.inf
    products: np.ndarray | float | None = None

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        here = weights.sum()
        if not here > 0:
            return
        mean = weights @ values / here
        share = here / (self.total + here)
        shift = mean - self.mean
        self.squares = self.squares + weights @ np.square(values - mean) + shift**2 * self.total * share
        if self.products is not None:
            centred = values - mean
            self.products = self.products + (centred.T * weights) @ centred + np.outer(shift, shift) * self.total * share
        self.mean = self.mean + shift * share
        self.total += here
        self.least, self.largest = np.minimum(self.least, values.min(axis=0)), np.maximum(self.largest, values.max(axis=0))

    def standard(self, scale: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale, (D,), with the same warning: as `hae.network.objective.standardisation`."""
        mean, variance = np.asarray(self.mean), np.asarray(self.squares / self.total)
        warn_of_rounding((np.sqrt(variance) <= rounding(mean)) & (np.asarray(self.largest) > self.least))
        return mean, scales(mean, variance, scale)


class StoredRows:
    """What `hae.training.rows.Rows` is to a training, for rows in a file: only a pool of them is in memory, and the next is being read.

    The file holds (N, D) float32, less ``offset`` (D,) so that no digits are lost, with the weight of each row behind it where there are
    weights. ``inputs`` (0, D) tells type and place. A pool is made of `CHUNKS` pieces from all over the file; pools are the same for all
    members, the order inside a pool is each member's own.

    Example: a pool of 40 of 100 rows.
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "train.f32")
        >>> np.arange(200, dtype=np.float32).tofile(path)
        >>> stored = StoredRows(path, offset=np.zeros(2), weighted=False, pool_bytes=40 * 2 * 4)
        >>> stored = stored.standardise(np.zeros(2), np.ones(2), 1.0, torch.device("cpu"))
        >>> len(stored), len(list(stored.batches(seeds=[0], epoch=0, batch_size=20)))
        (100, 5)
    """

    def __init__(self, path: Path, offset: np.ndarray, weighted: bool, pool_bytes: int):
        self.path, self.offset, self.weighted = path, offset, weighted
        self.columns = len(offset) + weighted
        self.length = path.stat().st_size // (4 * self.columns)
        self.pool_rows = max(pool_bytes // (4 * self.columns), 1)
        self.mean_weight = 1.0

    def standardise(self, mean: np.ndarray, scale: np.ndarray, mean_weight: float, device: torch.device) -> "StoredRows":
        """How rows are to be given: (s - mean) / scale on the device, weights about 1."""
        self.shift, self.scale = (mean - self.offset).astype(np.float32), scale.astype(np.float32)
        self.mean_weight = mean_weight
        self.inputs = torch.empty(0, len(self.offset), device=device)
        return self

    def __len__(self) -> int:
        return self.length

    def batches(self, seeds: Sequence[int], epoch: int, batch_size: int) -> Iterator[Rows]:
        """The batches of an epoch, fields (M, B, ...), as many as there are full ones."""
        generators = [epoch_generator(seed, epoch) for seed in seeds]
        for pool in self._pools(self._pieces(epoch, batch_size)):
            steps = len(pool) // batch_size
            if not steps:  # the last pool may be less than a batch
                continue
            orders = torch.stack([torch.randperm(len(pool), generator=generator) for generator in generators])
            for rows in orders[:, : steps * batch_size].to(pool.inputs.device).split(batch_size, dim=1):
                yield pool.take(rows)

    def chunks(self, size: int) -> Iterator[Rows]:
        """All rows in order, fields (1, size, ...)."""
        size = min(size, self.pool_rows)
        pieces = [[(start, min(start + size, self.length))] for start in range(0, self.length, size)]
        for pool in self._pools(pieces):
            yield pool.take(torch.arange(len(pool), device=pool.inputs.device)[None])

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """About ``count`` rows in raw units, (n, D) float64, in short pieces from all over the file, and their weights."""
        count = min(count, self.length, self.pool_rows)
        chunks = min(CHUNKS, count)  # of a pool of a few rows each is a piece
        starts = np.linspace(0, self.length - count // chunks, chunks).astype(int) if count < self.length else [0]
        pieces = [(start, start + count // len(starts)) for start in starts]
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            rows = np.empty((self.pool_rows, self.columns), dtype=np.float32)
            rows = self._read(mapped, pieces, rows)
        d = len(self.offset)
        return rows[:, :d] + self.offset, rows[:, d].astype(np.float64) if self.weighted else None

    def _pieces(self, epoch: int, batch_size: int) -> list[list[tuple[int, int]]]:
        """Pieces (first row, end) of each pool of an epoch, in an order of their own; all pools but the last hold full batches."""
        room = max(self.pool_rows // batch_size, 1) * batch_size
        size = -(-room // CHUNKS)
        starts = torch.randperm(-(-self.length // size), generator=epoch_generator(0, epoch)).mul(size).tolist()
        pools: list[list[tuple[int, int]]] = [[]]
        free = room
        for start in starts:
            end = min(start + size, self.length)
            while start < end:
                if free == 0:
                    pools.append([])
                    free = room
                stop = min(end, start + free)
                pools[-1].append((start, stop))
                free -= stop - start
                start = stop
        return pools

    def _pools(self, pools: list[list[tuple[int, int]]]) -> Iterator[Rows]:
        """Standardised rows of each pool; a background thread reads the next one meanwhile."""
        room = max(sum(end - start for start, end in pieces) for pieces in pools)
        device = self.inputs.device
        buffers = [torch.empty(room, self.columns, pin_memory=device.type == "cuda") for _ in range(min(2, len(pools)))]
        d = len(self.offset)

        def load(i: int) -> torch.Tensor:
            buffer = buffers[i % 2]
            rows = self._read(mapped, pools[i], buffer.numpy())
            rows[:, :d] -= self.shift
            rows[:, :d] /= self.scale
            rows[:, d:] /= self.mean_weight
            return buffer[: len(rows)]

        with (
            open(self.path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            ThreadPoolExecutor(1, "hae-rows") as reader,
        ):
            following = reader.submit(load, 0)
            for i in range(len(pools)):
                rows = following.result().to(device, non_blocking=True)
                if device.type == "cuda":
                    torch.cuda.current_stream(device).synchronize()  # the buffer is written to again while this pool is in use
                if i + 1 < len(pools):
                    following = reader.submit(load, i + 1)
                inputs = rows[:, :d]
                yield Rows(inputs, inputs, rows[:, d] if self.weighted else None)

    def _read(self, mapped: mmap.mmap, pieces, out: np.ndarray) -> np.ndarray:
        """Rows of the pieces, one behind the other, as stored. Their pages are given back, so that they do not count as ours."""
        stored, filled = np.frombuffer(mapped, dtype=np.float32).reshape(-1, self.columns), 0
        for start, end in pieces:
            np.copyto(out[filled : filled + end - start], stored[start:end])
            filled += end - start
        del stored
        mapped.madvise(mmap.MADV_DONTNEED)
        return out[:filled]


def stored_paths(folder: Path) -> dict[str, Path]:
    return {side: folder / f"{side}.f32" for side in ("train", "validation")}


def store(data: Path, folder: Path, pool_bytes: int) -> tuple[dict[str, StoredRows], Moments, dict[str, float], tuple[str, ...], bytes]:
    """Training and validation rows of a data set as `StoredRows` in a folder, in one pass that also takes the moments of the training
    rows, the sum of the weights of each side, the features' names, and a hash of the rows."""
    from hae.data.frames import read_pieces  # it needs pandas: a training of rows in memory does without it

    manifest = Manifest.read(data)
    weighted, moments, digest, offset = "row:weight" in manifest.beside, Moments(), hashlib.sha256(), None
    folder.mkdir(parents=True, exist_ok=True)
    paths = stored_paths(folder)
    totals = dict.fromkeys(paths, 0.0)
    with open(paths["train"], "wb") as train, open(paths["validation"], "wb") as validation:
        for piece in read_pieces(data, READ_ROWS):
            side, values = piece.split, piece.values.astype(np.float64)
            if offset is None:
                offset = values.mean(0)
                digest.update(offset.tobytes())  # the rows below are less it
            weights = np.ones(len(values)) if piece.weights is None else piece.weights
            moments.add((values - offset)[side == "train"], weights[side == "train"])
            rows = np.column_stack([values - offset, weights] if weighted else [values - offset]).astype(np.float32)
            for name, out in (("train", train), ("validation", validation)):
                totals[name] += float(weights[side == name].sum())
                chosen = rows[side == name].tobytes()
                digest.update(chosen)
                out.write(chosen)
    assert offset is not None  # a file without rows fits into any memory
    moments.mean = moments.mean + offset
    stored = {side: StoredRows(path, offset, weighted, pool_bytes) for side, path in paths.items() if path.stat().st_size}
    return stored, moments, totals, manifest.features, digest.digest()


class StoredFrames:
    """The training and validation rows of a data set that the stage prepare made, for `hae.HierarchicalAutoencoder.fit`, which
    reads them from files.

    Of ``limit`` bytes (None: `memory_limit`) a quarter is in use and another being read. ``folder`` is for the files, which take as much
    room as the rows do in float32 and are removed at the end. The canonical form of the CVs is taken from a sample of the rows.

    Example: `StoredRows` of a data set, which a fit would make.
        >>> import tempfile
        >>> import pandas as pd
        >>> from hae.data.frames import Frames
        >>> values, names = np.random.default_rng(0).normal(size=(90, 2)), ("x", "y")
        >>> split = np.repeat(["train", "validation"], [60, 30])
        >>> path = Path(tempfile.mkdtemp(), "frames")
        >>> frames = Frames(values, names, ("", ""), np.full(90, "a"), np.arange(90), pd.DataFrame(index=range(90)), split=split)
        >>> _ = frames.write(path)
        >>> with StoredFrames(path, path.with_name("rows"), limit=1000) as source:
        ...     train, validation = source.rows(source.standard("global"), torch.device("cpu"))
        ...     print(source.n_features, len(train), len(validation))
        2 60 30
    """

    def __init__(self, data: str | os.PathLike, folder: str | os.PathLike, limit: int | None = None):
        self.data, self.folder, self.limit = Path(data), Path(folder), limit
        self.stored: dict[str, StoredRows] = {}

    def __enter__(self) -> "StoredFrames":
        limit = memory_limit() if self.limit is None else self.limit
        try:
            self.stored, self.moments, self.totals, self.features, self.hash = store(self.data, self.folder, limit // 4)
            if "train" not in self.stored:
                raise BadInput(f"{self.data}: no training rows; allowed: data with rows of the side train")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        for path in stored_paths(self.folder).values():
            path.unlink(missing_ok=True)

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def n_targets(self) -> int:
        return len(self.features)

    def digest(self) -> bytes:
        return self.hash

    def standard(self, scale: str) -> Standard:
        return Standard(*self.moments.standard(scale) * 2)

    def rows(self, standard: Standard, device: torch.device) -> tuple[StoredRows, StoredRows | None]:
        for name, side in self.stored.items():  # weights about 1 on each side by itself, as of rows in memory
            side.standardise(standard.input_mean, standard.input_scale, self.totals[name] / len(side), device)
        return self.stored["train"], self.stored.get("validation")

    def sample(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self.stored["train"].sample(SAMPLE_ROWS)

    def pairs(self, side: str) -> Pairs | None:
        return None

    def explained(self, network: HierarchicalNetwork, root: np.ndarray | None) -> dict[str, np.ndarray]:
        return {side: explained(network, rows, root) for side, rows in self.stored.items()}


@torch.no_grad()
def explained(network: HierarchicalNetwork, rows: StoredRows, root: np.ndarray | None = None) -> np.ndarray:
    """FVE of each level, (n,), over all rows, a chunk at a time; by the rules of `hae.network.scoring.score_frames`."""
    objective = Objective(root=None if root is None else torch.as_tensor(root)).to(rows.inputs)
    total = torch.zeros(network.n_levels + 1, dtype=torch.float64)
    mean, scale = network.output_mean.cpu(), network.output_scale.cpu()
    constant = (torch.from_numpy(rounding(mean.numpy())) / scale).to(rows.inputs)  # differences up to this are no variance
    for part in rows.chunks(READ_ROWS):
        part = replace(part, targets=torch.where(part.targets.abs() <= constant, 0, part.targets))
        levels = network.standardised_levels(part.inputs[0].to(network.bottleneck.T))
        levels = torch.cat([levels, torch.zeros_like(levels[:1])])[None].to(part.targets)  # the mean is the level without any CV
        total += objective.level_errors(levels, part.targets, part.weights).double().cpu()[0] * part.inputs.shape[1]
    errors = total.numpy()
    return 1 - errors[:-1] / errors[-1] if errors[-1] > 0 else np.zeros(network.n_levels)
