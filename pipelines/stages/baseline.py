"""The baselines: PCA at every level, and the plain autoencoder of k nodes for every k, in the variants' metric."""

from dataclasses import replace

import numpy as np

from hae.data.frames import Frames, read_pieces
from hae.devices import resolve_device, set_threads, threads_for
from hae.files import write_json
from hae.memory import memory_limit
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import explained
from hae.storage import save_networks
from hae.training.baselines import plain_autoencoders, principal_components, principal_components_of
from hae.training.fit import Plan
from hae.training.members import member_seeds
from hae.training.pairs import make_pairs
from hae.training.schedule import Settings
from hae.training.sources import RowsInMemory, Source
from hae.training.stored import Moments, StoredFrames, rows_bytes
from pipelines import params, paths, settings
from pipelines.stages import run_stage

__all__ = ["baseline", "main"]


def baseline() -> None:
    """data/prepared/frames -> models/baseline (networks pca, plain-1..n), results/baseline/training.json."""
    section = params.load().baseline
    set_threads()
    size, limit = rows_bytes(paths.FRAMES), memory_limit()
    if size > limit:
        print(f"baseline: the rows ({size / 1e6:,.1f} MB) stay in files: they may take {limit / 1e6:,.1f} MB of memory (HAE_MEMORY_LIMIT)")
        networks = _of_files(section, limit)
    else:
        networks = _of_rows(section)
    save_networks(paths.model(paths.BASELINE), networks, {"params": section.model_dump(mode="json")})
    validation = (piece.select("validation") for piece in read_pieces(paths.FRAMES))
    pca, *plain = explained(list(networks.values()), ((piece.values, piece.weights) for piece in validation))
    metrics = {f"validation_pca_fve_{k}": float(value) for k, value in enumerate(pca, start=1)}
    metrics |= {f"validation_plain_fve_{k}": float(found[-1]) for k, found in enumerate(plain, start=1)}
    write_json(paths.results(paths.BASELINE) / "training.json", metrics)


def _of_rows(section) -> dict[str, HierarchicalNetwork]:
    """The baselines of rows that are all in memory."""
    frames = Frames.read(paths.FRAMES)
    assert frames.split is not None  # prepare gives every row a side
    pairs = make_pairs(frames.values, frames.trajectory, frames.frame, frames.split, weights=frames.weights)
    n = min(section.n_cvs, frames.n_features)
    pca = principal_components(pairs["train"].inputs, n, section.scale, pairs["train"].weights)
    with threads_for(len(frames)):
        return {"pca": pca.float(), **_plain(section, n, RowsInMemory({side: of for side, of in pairs.items() if len(of)}))}


def _of_files(section, limit: int) -> dict[str, HierarchicalNetwork]:
    """The same of rows that stay in files."""
    moments = Moments(products=0.0)
    for piece in read_pieces(paths.FRAMES):
        train = piece.select("train")
        moments.add(train.values.astype(np.float64), np.ones(len(train)) if train.weights is None else train.weights)
    with StoredFrames(paths.FRAMES, settings.home() / "rows" / paths.BASELINE, limit) as source:
        n = min(section.n_cvs, source.n_features)
        return {"pca": principal_components_of(moments, n, section.scale).float(), **_plain(section, n, source)}


def _plain(section, n: int, source: Source) -> dict[str, HierarchicalNetwork]:
    """plain-1 to plain-n."""
    plan = Plan(
        (section.cv,) * n if isinstance(section.cv, str) else section.cv[:n],
        "plain",
        activation=section.activation,
        scale=section.scale,
        settings=Settings.of(section),
        seeds=member_seeds(section.random_state, section.n_seeds),
        device=resolve_device(),
        progress="plain autoencoder",
    )
    if section.hidden == "auto":
        plan = plan.of_rows(source)
    else:
        plan = replace(plan, hidden=section.hidden)
    return {f"plain-{k}": network for k, network in enumerate(plain_autoencoders(source, plan), start=1)}


def main() -> None:
    run_stage(baseline)


if __name__ == "__main__":
    main()
