"""Data larger than memory: rows in memory-mapped float32 files, made from Parquet in one pass and read in shuffled chunks."""

import dataclasses
import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from hae.arguments import checked_kinds, member_seeds
from hae.devices import resolve_device
from hae.errors import BadInput
from hae.network.canonical import canonicalise_members
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective, scales
from hae.training.loop import Settings
from hae.training.members import train_members
from hae.training.pairs import Standard
from hae.training.rows import Rows, epoch_generator

__all__ = ["StoredRows", "fit_stored", "memory_limit", "rows_bytes"]

READ_ROWS = 16384  # rows of a Parquet file at a time
CHUNKS = 64  # pieces of the file that are mixed in memory at once
SAMPLE_ROWS = 20_000  # rows from which the CVs get their canonical form


def memory_limit() -> int:
    """Bytes that training rows may take: HAE_MEMORY_LIMIT, such as 500M or 8G, else an eighth of the machine's memory."""
    text = os.environ.get("HAE_MEMORY_LIMIT")
    if not text:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
    number, unit = (text[:-1], text[-1]) if text[-1] in "KMG" else (text, "")
    if not number.isdigit() or int(number) < 1:
        raise BadInput(f"HAE_MEMORY_LIMIT: {text!r} is not allowed; a whole number of bytes, or with K, M or G behind it")
    return int(number) * 1024 ** " KMG".index(unit or " ")


def rows_bytes(parquet: Path) -> int:
    """Bytes that the rows of a file of the stage prepare take as float32."""
    try:
        file = pq.ParquetFile(parquet)
        return 4 * file.metadata.num_rows * len(json.loads(file.schema_arrow.metadata[b"hae"])["features"])
    except (OSError, KeyError, TypeError, ValueError):
        return 0  # who reads it whole says what is wrong with it


@dataclass
class Moments:
    """Weighted number, mean and sum of squares about it of rows that come in parts (Chan, Golub, LeVeque 1979)."""

    total: float = 0.0
    mean: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        here = weights.sum()
        if not here > 0:
            return
        mean = weights @ values / here
        share = here / (self.total + here)
        shift = mean - self.mean
        self.squares = self.squares + weights @ np.square(values - mean) + shift**2 * self.total * share
        self.mean = self.mean + shift * share
        self.total += here

    def standard(self, scale: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale, (D,): as `hae.network.objective.standardisation`."""
        mean = np.asarray(self.mean)
        return mean, scales(mean, np.asarray(self.squares / self.total), scale)


class StoredRows:
    """What `hae.training.rows.Rows` is to a training, for rows in a file: only a pool of them is in memory, and the next is being read.

    The file holds (N, D) float32, less ``offset`` (D,) so that no digits are lost, with the weight of each row behind it where there are
    weights. ``inputs`` (0, D) tells type and place. A pool is made of `CHUNKS` pieces from all over the file; pools are the same for all
    members, the order inside a pool is each member's own.
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
        starts = np.linspace(0, self.length - count // CHUNKS - 1, CHUNKS).astype(int) if count < self.length else [0]
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
                    torch.cuda.current_stream().synchronize()  # the buffer is written to again while this pool is in use
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


def store(parquet: Path, folder: Path, pool_bytes: int) -> tuple[dict[str, StoredRows], Moments, tuple[str, ...], str]:
    """Training and validation rows of a file of the stage prepare as `StoredRows` in a folder, in one pass that also takes the moments of
    the training rows, the features' names, and a hash of the rows."""
    file = pq.ParquetFile(parquet, pre_buffer=False)
    about = json.loads(file.schema_arrow.metadata[b"hae"])
    names, k, d = file.schema_arrow.names, len(about["beside"]), len(about["features"])
    weighted, moments, digest, offset = "row:weight" in about["beside"], Moments(), hashlib.sha256(), None
    folder.mkdir(parents=True, exist_ok=True)
    paths = {side: folder / f"{side}.f32" for side in ("train", "validation")}
    with open(paths["train"], "wb") as train, open(paths["validation"], "wb") as validation:
        for part in file.iter_batches(READ_ROWS, use_threads=False):
            columns = [part.column(i) for i in range(k + d)]
            side = columns[names.index("row:split")].to_numpy(zero_copy_only=False)
            values = np.stack([column.to_numpy() for column in columns[k:]], axis=1).astype(np.float64)
            offset = values.mean(0) if offset is None else offset
            weights = columns[names.index("row:weight")].to_numpy() if weighted else np.ones(len(values))
            moments.add((values - offset)[side == "train"], weights[side == "train"])
            rows = np.column_stack([values - offset, weights] if weighted else [values - offset]).astype(np.float32)
            for name, out in (("train", train), ("validation", validation)):
                data = rows[side == name].tobytes()
                digest.update(data)
                out.write(data)
    assert offset is not None  # a file without rows fits into any memory
    moments.mean = moments.mean + offset
    stored = {side: StoredRows(path, offset, weighted, pool_bytes) for side, path in paths.items() if path.stat().st_size}
    return stored, moments, tuple(about["features"]), digest.hexdigest()


def fit_stored(
    model,
    parquet: Path,
    folder: Path,
    *,
    limit: int | None = None,
    checkpoints: Path | None = None,
    on_epoch: Callable | None = None,
):
    """`HierarchicalAutoencoder.fit` of rows that stay in files: those of a file of the stage prepare, by its own split.

    The model is as after `fit`, except that its canonical form is taken from a sample of the rows, and that `importance_` can't be
    measured, since it holds no rows. Of ``limit`` bytes (`memory_limit`) a quarter is in use and another being read. ``folder`` is for the
    files, which take as much room as the rows do in float32 and are removed at the end.

    Raises:
        BadInput: an argument of the model that needs all rows at once.
    """
    for name, plain in (("lag", 0), ("augment", None), ("network", None), ("feature_weights", None), ("missing", "error")):
        if getattr(model, name) != plain:
            raise BadInput(f"{name}: {getattr(model, name)!r} is not allowed for rows that stay in files; allowed: {plain!r}")
    if model.n_cvs == "auto":
        raise BadInput("n_cvs: auto is not allowed for rows that stay in files (HAE_MEMORY_LIMIT); allowed: a number")
    device, limit = resolve_device(model.device), memory_limit() if limit is None else limit
    stored, moments, features, digest = store(parquet, folder, limit // 4)
    try:
        if "train" not in stored:
            raise BadInput(f"{parquet}: no training rows")
        kinds = checked_kinds(model, len(features))
        if len(kinds) > len(features):
            raise BadInput(f"n_cvs: {len(kinds)} is not allowed; 1 to the number of features, here n_features = {len(features)}")
        standard = Standard(*moments.standard(model.scale) * 2)
        mean_weight = moments.total / len(stored["train"])
        how = standard.input_mean, standard.input_scale, mean_weight, device
        train = stored["train"].standardise(*how)
        validation = stored["validation"].standardise(*how) if "validation" in stored else None
        seeds = member_seeds(model.random_state, model.n_seeds)
        key = hashlib.sha256(json.dumps([digest, seeds, model.get_params(), torch.__version__], default=str).encode()).hexdigest()[:32]

        def build(members):
            network = HierarchicalNetwork.mlp(len(features), kinds, model.variant, model.hidden, model.activation, members=members)
            network.scale_by(*dataclasses.astuple(standard))
            return network

        objective = Objective(None if model.level_weights is None else torch.as_tensor(model.level_weights, dtype=torch.float64))
        members = train_members(
            build,
            train,
            validation,
            objective,
            Settings(model.batch_size, model.max_epochs, model.patience, model.learning_rate),
            seeds,
            on_epoch=on_epoch,
            progress=model.variant if model.verbose else None,
            checkpoint=None if checkpoints is None else checkpoints / f"{key}.pt",
        )
        model.members_, model.network_ = members.networks, members.networks[0]
        canonicalise_members(model.members_, *train.sample(SAMPLE_ROWS))
        model.history_, model.best_epoch_ = pd.DataFrame(members.rows), members.best_epoch[0]
        model.n_features_in_ = len(features)
        model.metric_root_ = model._training_rows = model._held_out_rows = model._importance = None
        model.train_fve_ = explained(model.network_, train)
        model.validation_fve_ = explained(model.network_, validation) if validation else model.train_fve_
        model.explained_variance_ratio_ = np.diff(model.validation_fve_, prepend=0.0)
        model.validation_loss_ = float(np.average(1 - model.validation_fve_, weights=model.level_weights))
    finally:
        for rows in stored.values():
            rows.path.unlink(missing_ok=True)
    return model


@torch.no_grad()
def explained(network: HierarchicalNetwork, rows: StoredRows) -> np.ndarray:
    """FVE of each level, (n,), over all rows, a chunk at a time; as `hae.network.scoring.FrameErrors.fve`."""
    total = torch.zeros(network.n_levels + 1, dtype=torch.float64)
    for part in rows.chunks(READ_ROWS):
        levels = network.standardised_levels(part.inputs[0].to(network.bottleneck.T))
        levels = torch.cat([levels, torch.zeros_like(levels[:1])])[None].to(part.targets)  # the mean is the level without any CV
        total += Objective().level_errors(levels, part.targets, part.weights).double().cpu()[0] * part.inputs.shape[1]
    errors = total.numpy()
    return 1 - errors[:-1] / errors[-1] if errors[-1] > 0 else np.zeros(network.n_levels)
