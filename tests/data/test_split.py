"""The split: one formula, however many trajectories there are."""

import hashlib
import time

import numpy as np
import pytest

from hae.data.split import SIDES, split_rows

RULE = {"block_frames": 50, "gap_frames": 5, "shares": (0.5, 0.25, 0.25), "salt": "s"}


def plainly(trajectory, frame, values):
    """Row by row, as the docstring says it."""
    edges, out = np.cumsum(RULE["shares"])[:2], []
    for name, number, row in zip(trajectory, frame, values, strict=True):
        key = f"block\0{name}\0{number // 50}".encode() if name else b"row\0" + (np.asarray(row, "<f8") + 0.0).tobytes()
        share = int.from_bytes(hashlib.sha256(b"s\0" + key).digest()[:8], "big") / 2**64
        side = SIDES[int(np.searchsorted(edges, share, side="right"))]
        out.append("gap" if name and not 5 <= number % 50 < 45 else side)
    return out


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_each_row_has_the_side_of_its_own_hash(dtype):
    rng = np.random.default_rng(0)
    trajectory = rng.choice(["", "a", "b/c", "walker-10"], size=3000)
    frame, values = rng.integers(0, 900, 3000).astype(dtype), rng.normal(size=(3000, 2))
    assert split_rows(trajectory, frame, values=values, **RULE).tolist() == plainly(trajectory, frame, values)


def test_many_trajectories_take_no_longer_than_one():
    """Looked for one after another among all rows they would take a hundred times as long."""
    frame, taken = np.tile(np.arange(40), 3000), []
    for names in (np.full(120_000, "walker-0001"), np.repeat([f"walker-{i:04d}" for i in range(3000)], 40)):
        start = time.process_time()
        split_rows(names, frame, **RULE)
        taken.append(time.process_time() - start)
    assert taken[1] < 5 * taken[0] + 0.3
