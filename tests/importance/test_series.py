"""Figures of rows in files, a piece in memory at a time, are those of rows in memory."""

import tracemalloc

import numpy as np
import pytest

from hae.data.rows import FileRows, NamedRows, Shelf
from hae.importance.correlation import correlation_time
from hae.importance.intervals import Sampling
from hae.importance.series import Series, made, quantiles
from hae.importance.tails import descending

N = 3000


def filed(values: np.ndarray, shelf: Shelf) -> FileRows:
    file = shelf.file()
    file.add(values)
    return file.rows()


def in_files(trajectory, frame, weights, shelf: Shelf) -> Sampling:
    names, codes = np.unique(trajectory, return_inverse=True)
    order = np.random.default_rng(1).permutation(len(names))  # names come in any order
    codes = np.argsort(order)[codes]
    return Sampling.of(len(frame), NamedRows(filed(codes, shelf), tuple(names[order].tolist())), filed(frame, shelf),
                       None if weights is None else filed(weights, shelf), shelf)


@pytest.fixture
def small(monkeypatch):
    of_pieces(monkeypatch, {"intervals.TOGETHER": 397, "timeline.ROWS": 301, "timeline.NUMBERS": 500, "timeline.SAMPLED": 20,
                            "correlation.WHOLE": 0, "correlation.WIDTH": 150, "tails.MOST": 40, "series.TOGETHER": 91, "series.MOST": 50})


def of_pieces(monkeypatch, sizes: dict[str, int]) -> None:
    for place, size in sizes.items():
        monkeypatch.setattr(f"hae.importance.{place}", size)


def rows(kind: str):
    """Names and frame numbers of six trajectories, two of them short, with holes, steps of their own and frames that are repeated."""
    rng = np.random.default_rng(0)
    lengths = (900, 40, 1, 1200, 700, N - 2841)
    trajectory = np.repeat(["w2", "w10", "", "a", "b", "c"], lengths)
    frame = np.concatenate([np.sort(rng.choice(3 * n, n)) * step for n, step in zip(lengths, (1, 7, 1, 5, 1, 100), strict=True)])
    frame[trajectory == "c"] = np.cumsum(rng.integers(1, 500, lengths[-1]))  # too far apart for their numbers to count
    if kind == "mixed":
        order = np.argsort(np.concatenate([np.linspace(0, 1, n) for n in lengths]), kind="stable")
    else:
        order = rng.permutation(N) if kind == "shuffled" else np.arange(N)
    return trajectory[order], frame[order]


@pytest.mark.parametrize(("kind", "weighted"), [("as they are", True), ("mixed", False), ("shuffled", True)])
def test_rows_in_files_give_the_figures_of_rows_in_memory(tmp_path, small, monkeypatch, kind, weighted):
    trajectory, frame = rows(kind)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2, N) if weighted else None
    order = np.lexsort((frame, trajectory))
    x = np.empty((2, N))
    x[:, order] = np.cumsum(rng.normal(size=(2, N)), axis=1) * 0.02 + rng.normal(size=(2, N))  # slow and fast
    x = np.exp(x)
    shelf = Shelf(tmp_path)
    stored = in_files(trajectory, frame, weights, shelf)
    y = stored.series(x[:, start : start + 77] for start in range(0, N, 77))
    assert isinstance(y, Series)
    found = figures(stored, y)
    monkeypatch.undo()
    memory = Sampling.of(N, trajectory, frame, weights)
    expected = figures(memory, x)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-10, err_msg=name)
    blocks = {(name, number // 50) if name else number for name, number in zip(trajectory, frame, strict=True)}
    assert stored.blocks(50) == memory.blocks(50) == len(blocks)


def figures(sampling: Sampling, x) -> dict:
    first = made(lambda x: x[0], x)
    ratio = sampling.ratio(made(lambda x: -np.diff(x, axis=0), x), first)
    return {"mean": sampling.mean(x), "n_eff": sampling.n_eff(x), "answers": sampling.answers(x), "between": sampling.between(x),
            "participation": sampling.participation(x), "tail": sampling.tail(first), "low": ratio.low, "high": ratio.high,
            "weights": sampling.by_row(slice(10, 60)), "reach": sampling.reach, "trajectories": sampling.trajectories}


def test_order_statistics_of_rows_in_files(tmp_path, small):
    rng = np.random.default_rng(0)
    shares = [0, 0.5, 0.731, 0.999, 1]
    draws = rng.normal(size=(N, 2)), rng.integers(0, 4, size=(N, 2)).astype(float), np.ones((N, 2)), rng.lognormal(sigma=9, size=(N, 2))
    for values in draws:
        stored = filed(values, Shelf(tmp_path))
        np.testing.assert_array_equal(quantiles(stored, 1, shares), quantiles(values, 1, shares))
        often = rng.integers(0, 3, N).astype(float)
        weighted = quantiles(stored, 1, shares, filed(often, Shelf(tmp_path / "weights")))
        np.testing.assert_array_equal(weighted, quantiles(values, 1, shares, often))
        pieces = lambda: (values[start : start + 70, 0] for start in range(0, N, 70))  # noqa: B023, E731
        np.testing.assert_array_equal(np.concatenate(list(descending(pieces, 130))), np.sort(values[:, 0])[::-1][:130])


def test_a_long_memory_is_followed_through_all_its_lags(monkeypatch):
    rng = np.random.default_rng(0)
    x = np.convolve(rng.normal(size=20_000), np.ones(400), "valid")
    x -= x.mean()
    places = np.arange(len(x)) + 5000 * (np.arange(len(x)) > 9000)  # a hole
    pieces = lambda: ((places[start : start + 1000], x[start : start + 1000]) for start in range(0, len(x), 1000))  # noqa: E731
    about = len(x), np.mean(x**2), int(places[-1]), 4000
    whole = correlation_time(pieces, *about)
    monkeypatch.setattr("hae.importance.correlation.WHOLE", 0)
    monkeypatch.setattr("hae.importance.correlation.WIDTH", 128)
    assert correlation_time(pieces, *about) == pytest.approx(whole, rel=1e-9) and whole > 300


def test_memory_does_not_grow_with_the_rows(tmp_path, small, monkeypatch):
    peaks = []
    of_pieces(monkeypatch, {"intervals.TOGETHER": 4000, "timeline.ROWS": 4000, "timeline.NUMBERS": 8000, "correlation.WIDTH": 4000,
                            "tails.MOST": 2000})
    for n in (20_000, 80_000):
        shelf = Shelf(tmp_path / str(n))
        names = NamedRows(filed(np.repeat(np.arange(10), n // 10), shelf), tuple("abcdefghij"))
        frame = filed(np.tile(np.arange(n // 10), 10), shelf)
        values = filed(np.random.default_rng(0).exponential(size=(n, 2)), shelf)
        tracemalloc.start()
        sampling = Sampling.of(n, names, frame, None, shelf)
        x = sampling.series(values[start : start + 500].T for start in range(0, n, 500))
        sampling.n_eff(x), sampling.tail(made(lambda x: x[0], x)), sampling.ratio(x, made(lambda x: x[0], x))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0], peaks  # the longer series is 1 MB larger
