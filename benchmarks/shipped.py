"""Take what `hae.datasets.alanine_dipeptide` ships out of the default project's data, after make run: python -m benchmarks.shipped."""

import numpy as np

from hae.data.frames import Frames
from hae.datasets import SHIPPED
from hae.files import written_whole

EVERY = 10


def main() -> None:
    frames = Frames.read("data/prepared/frames")
    frames = frames.select(np.arange(0, len(frames), EVERY))
    with written_whole(SHIPPED) as partial:
        np.savez_compressed(
            partial,
            X=frames.values.round(4),  # 0.0001 nm
            X_names=np.array(frames.features, dtype=str),
            labels=frames.labels.to_numpy(np.float32).round(4),
            labels_names=np.array(frames.labels.columns, dtype=str),
            groups=frames.trajectory.astype(str),
        )
    print(f"{SHIPPED}: {len(frames)} frames, {SHIPPED.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
