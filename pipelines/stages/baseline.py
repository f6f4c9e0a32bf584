"""The baselines: PCA at every level, and the plain autoencoder of k nodes for every k, in the variants' metric."""

from dataclasses import replace

from hae.data.frames import Frames
from hae.devices import resolve_device, set_threads, threads_for
from hae.files import write_json
from hae.network.scoring import score_frames
from hae.storage import save_networks
from hae.training.baselines import plain_autoencoders, principal_components
from hae.training.fit import Plan
from hae.training.members import member_seeds
from hae.training.pairs import make_pairs
from hae.training.schedule import Settings
from hae.training.search import search, settled
from hae.training.sources import RowsInMemory
from pipelines import params, paths
from pipelines.stages import run_stage

__all__ = ["baseline", "main"]


def baseline() -> None:
    """data/prepared/frames -> models/baseline (networks pca, plain-1..n), results/baseline/training.json."""
    section = params.load().baseline
    frames = Frames.read(paths.FRAMES)
    set_threads()
    device = resolve_device()
    n = min(section.n_cvs, frames.n_features)
    kinds = (section.cv,) * n if isinstance(section.cv, str) else section.cv[:n]
    assert frames.split is not None  # prepare gives every row a side
    pairs = make_pairs(frames.values, frames.trajectory, frames.frame, frames.split, weights=frames.weights)
    networks = {"pca": principal_components(pairs["train"].inputs, n, section.scale, pairs["train"].weights).float()}
    source = RowsInMemory({side: of for side, of in pairs.items() if len(of)})
    plan = Plan(
        kinds,
        "plain",
        activation=section.activation,
        scale=section.scale,
        settings=Settings.of(section),
        seeds=member_seeds(section.random_state, section.n_seeds),
        device=device,
        progress="plain autoencoder",
    )
    with threads_for(len(frames)):
        if section.hidden == "auto":
            found = search(source, plan)
            print(f"baseline: {found.words}")
            plan = settled(plan, found.setting)
        else:
            plan = replace(plan, hidden=section.hidden)
        plain = plain_autoencoders(source, plan)
    networks |= {f"plain-{k}": network for k, network in enumerate(plain, start=1)}
    save_networks(paths.model(paths.BASELINE), networks, {"params": section.model_dump(mode="json")})
    part = pairs["validation"]
    pca = score_frames(networks["pca"], part.inputs, weights=part.weights).fve
    metrics = {f"pca_fve_{k}": float(value) for k, value in enumerate(pca, start=1)}
    metrics |= {
        f"plain_fve_{k}": float(score_frames(network, part.inputs, weights=part.weights).fve[-1])
        for k, network in enumerate(plain, start=1)
    }
    write_json(paths.results(paths.BASELINE) / "training.json", {f"validation_{name}": value for name, value in metrics.items()})


def main() -> None:
    run_stage(baseline)


if __name__ == "__main__":
    main()
