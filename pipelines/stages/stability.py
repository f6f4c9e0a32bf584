"""Train one variant anew on resampled training blocks, and compare: how far another training would find the same levels and CVs."""


from hae.errors import BadInput
from hae.files import check_writable, written_whole
from pipelines import params, paths
from pipelines.stages import run_stage

__all__ = ["main", "stability"]



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
    """The JSON of `hae.importance.stability.Stability`; {} where the rows are larger than the memory for them."""
    from hae.data.frames import Frames
    from hae.devices import set_threads  # all this takes seconds to import, and is not needed where nothing is asked for
    from hae.estimator import HierarchicalAutoencoder
    from hae.importance.stability import stability_of
    from hae.memory import memory_limit
    from hae.training.pairs import Pairs
    from hae.training.stored import rows_bytes

    if rows_bytes(paths.FRAMES) > memory_limit():
        print(f"stability {variant}: not measured, since the rows are larger than the memory for them (HAE_MEMORY_LIMIT)")
        return "{}"
    set_threads()
    frames = Frames.read(paths.FRAMES)
    train, test = frames.select("train"), frames.select("test")
    if not len(test):
        raise BadInput(f"{paths.FRAMES}: no test rows; allowed: prepare.split.shares that leave some")
    found = stability_of(
        HierarchicalAutoencoder.load(paths.model(variant)),
        train=Pairs.same(train.values, train.weights),
        evaluated=Pairs.same(test.values, test.weights),
        blocks=train.blocks(block_frames),
        replicas=replicas,
        progress=f"stability {variant}",
    )
    print(f"stability {variant}: {found.sentence()}; {found.seconds:.0f} s")
    return found.to_json()


def main() -> None:
    run_stage(stability)


if __name__ == "__main__":
    main()
