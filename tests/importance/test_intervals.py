"""Intervals: nominal coverage on correlated series, and nothing that repeating, shuffling or weighing frames alike could change."""

import numpy as np
import pytest
from scipy.signal import lfilter

from hae.importance.intervals import Sampling, status_of

N, TIME = 4000, 10.0
KEEP = np.exp(-1 / TIME)


def series(rows: int, n: int = N, seed: int = 0) -> np.ndarray:
    """(rows, n) autoregressive series of unit variance, mean 0 and correlation time 10."""
    noise = np.random.default_rng(seed).normal(size=(rows, n + 300))
    return lfilter([np.sqrt(1 - KEEP**2)], [1, -KEEP], noise, axis=1)[:, -n:]


def one_run(n: int = N, weights=None) -> Sampling:
    return Sampling.of(n, np.full(n, "walk"), np.arange(n), weights)


def test_nominal_coverage_on_correlated_frames():
    x = series(400)
    found = one_run().ratio(x, np.ones(N))
    covered = np.mean((found.low <= 0) & (found.high >= 0))
    assert 0.86 <= covered <= 0.97
    naive = 1.645 * x.std(axis=1) / np.sqrt(N)
    assert np.mean(np.abs(found.value) <= naive) < 0.5  # what ignoring the correlation gives


def test_number_of_independent_frames_of_a_known_series():
    truth = N * (1 - KEEP) / (1 + KEEP)
    assert np.median(one_run().n_eff(series(20))) == pytest.approx(truth, rel=0.15)


def test_left_out_blocks_hide_no_correlation():
    frame = np.arange(40000)
    held_out = (frame // 200) % 5 == 0
    count = held_out.sum()
    found = Sampling.of(count, np.full(count, "walk"), frame[held_out]).n_eff(series(20, 40000)[:, held_out])
    assert np.median(found) == pytest.approx(count * (1 - KEEP) / (1 + KEEP), rel=0.15)


@pytest.mark.parametrize("known", [True, False], ids=["frame numbers known", "rows only"])
def test_frames_repeated_ten_times_are_no_more_information(known):
    x = series(2)
    v = x[1] ** 2 + 1
    rows = np.repeat(np.arange(N), 10)
    names = np.full(N, "walk") if known else np.full(N, "")
    once, often = Sampling.of(N, names, np.arange(N)), Sampling.of(10 * N, names[rows], np.arange(N)[rows])
    a, b = once.ratio(x[0], v), often.ratio(x[0][rows], v[rows])
    assert b.value == pytest.approx(a.value, rel=1e-9)
    assert b.high - b.low == pytest.approx(a.high - a.low, rel=1e-9)
    assert often.n_eff(x[0][rows]) == pytest.approx(once.n_eff(x[0]), rel=1e-9 if known else 0.1)


def test_order_of_rows_does_not_matter():
    x, v = series(1)[0], series(1, seed=1)[0] ** 2 + 0.1
    names, frame = np.repeat(["b", "a"], N // 2), np.tile(np.arange(N // 2), 2)
    rows = np.random.default_rng(2).permutation(N)
    a = Sampling.of(N, names, frame).ratio(x, v)
    b = Sampling.of(N, names[rows], frame[rows]).ratio(x[rows], v[rows])
    assert (b.low, b.high) == pytest.approx((a.low, a.high), rel=1e-9)


def test_weights_weigh():
    x, v = series(2) ** 2
    w = np.random.default_rng(3).integers(1, 4, N)
    rows = np.repeat(np.arange(N), w)
    weighed = one_run(weights=w.astype(float)).ratio(x, v)
    assert weighed.value == pytest.approx(x[rows].mean() / v[rows].mean(), rel=1e-12)
    plain, same = one_run().ratio(x, v), one_run(weights=np.full(N, 7.0)).ratio(x, v)
    assert (same.low, same.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    few = np.where(np.arange(N) % 10 == 0, 1.0, 1e-9)  # nine frames of ten count for nothing
    assert one_run(weights=few).n_eff(np.random.default_rng(4).normal(size=N)) == pytest.approx(N / 10, rel=0.15)


def test_paired_differences_are_sharper_than_levels():
    e = series(1)[0] ** 2 + 1
    other = e + 0.1 + 0.05 * np.random.default_rng(5).normal(size=N)
    sampling, v = one_run(), np.full(N, 4.0)
    level, paired = sampling.ratio(v - e, v), sampling.ratio(other - e, v)
    assert paired.high - paired.low < 0.1 * (level.high - level.low)
    assert paired.low > 0


def test_nothing_to_explain_gives_no_bounds():
    found = one_run().ratio(np.zeros(N), np.zeros(N))
    assert found.value == 0 and np.isnan(found.low)
    short = Sampling.of(20).ratio(np.ones(20), np.ones(20))
    assert short.value == 1 and np.isnan(short.high)


def test_words_for_the_data():
    assert [status_of(n) for n in (99, 100, 199, 200)] == ["not enough data", "rough", "rough", "ok"]
    assert status_of(1000, n_blocks=19) == "not enough data" and status_of(1000, n_blocks=20) == "ok"


def walk(n, tau, rng):
    """(n,) an autoregressive series of unit variance with this correlation time."""
    keep = np.exp(-1 / tau)
    noise = rng.normal(size=n) * np.sqrt(1 - keep**2)
    x = np.empty(n)
    x[0] = rng.normal()
    for i in range(1, n):
        x[i] = keep * x[i - 1] + noise[i]
    return x


def test_walkers_that_stay_in_their_basins_are_seen_and_those_that_mix_are_not():
    """Four walkers of 2,500 frames; in 40 draws of each, means half a deviation apart are found, and equal ones pass but for chance."""
    names, frame = np.repeat(list("abcd"), 2500), np.tile(np.arange(2500), 4)
    sampling = Sampling.of(10_000, names, frame)
    rng = np.random.default_rng(0)
    mixed = np.array([np.concatenate([walk(2500, 10, rng) for _ in range(4)]) for _ in range(40)])
    stay = mixed + np.repeat([0, 0.5, 1.0, 1.5], 2500)
    assert sampling.trajectories == 4
    assert np.isfinite(sampling.answers(mixed)).sum() <= 1
    assert (sampling.answers(stay) < 100).all() and (sampling.answers(stay, order=2) > sampling.answers(stay)).all()


def test_many_walkers_that_differ_a_little_are_worth_more_than_four():
    rng = np.random.default_rng(0)
    worth = {}
    for K in (4, 40):
        sampling = Sampling.of(K * 1000, np.repeat(np.arange(K), 1000), np.tile(np.arange(1000), K))
        draws = rng.normal(size=(20, K * 1000)) + np.repeat(0.3 * rng.normal(size=(20, K)), 1000, axis=1)
        worth[K] = np.median(sampling.answers(draws, order=2))
    assert worth[4] < 100 and worth[40] > 1000


def test_rows_without_trajectories_are_one_series():
    sampling = Sampling.of(500)
    assert sampling.trajectories == 1 and np.isinf(sampling.answers(np.random.default_rng(0).normal(size=500)))


@pytest.mark.parametrize(("draw", "low", "high"), [
    (lambda rng: rng.normal(size=6000), 70, 130),
    (lambda rng: rng.normal(size=6000) ** 2, 50, 130),
    (lambda rng: rng.standard_t(3, size=6000) ** 2, 0, 30),
    (lambda rng: np.exp(2 * rng.normal(size=6000)), 0, 30),
])
def test_participation_tells_tails_from_what_many_frames_share(draw, low, high):
    sampling, rng = Sampling.of(6000), np.random.default_rng(0)
    found = np.median([sampling.participation((x := draw(rng)) - x.mean()) for _ in range(20)])
    assert low < found < high


@pytest.mark.parametrize(("draw", "heavy"), [
    (lambda rng: rng.normal(size=6000) ** 2, 0.0),
    (lambda rng: ((t := rng.normal(size=6000)) ** 2 + t**4 / 4 + rng.normal(size=6000) ** 2), 0.3),
    (lambda rng: rng.uniform(size=6000), 0.0),
    (lambda rng: rng.standard_t(3, size=6000) ** 2, 1.0),
    (lambda rng: rng.standard_t(4, size=6000) ** 2, 0.95),
    (lambda rng: np.exp(2 * rng.normal(size=6000)), 1.0),
])
def test_a_tail_without_a_variance_is_told_from_one_that_has_it(draw, heavy):
    """Squares of Student's t with 4 degrees have an index of 0.5, those of 3 degrees 0.67; squares of a normal variable 0."""
    sampling, rng = Sampling.of(6000), np.random.default_rng(0)
    found = np.array([sampling.tail(draw(rng)) for _ in range(40)])
    said = (found[:, 0] > 0.25) & (found[:, 1] > 0.5)
    assert said.mean() == 0 if heavy == 0 else said.mean() <= heavy if heavy < 0.5 else said.mean() >= heavy
    assert Sampling.of(500).tail(np.full(500, 3.0)) == (0, 0), "nothing varies"
    assert np.isfinite(Sampling.of(250).tail(draw(rng)[:250])).all() and np.isnan(Sampling.of(249).tail(draw(rng)[:249])).all()


def test_trajectories_that_differ_by_more_than_chance_widen_and_others_hardly():
    names, frame = np.repeat(list("abcd"), 1000), np.tile(np.arange(1000), 4)
    sampling, rng = Sampling.of(4000, names, frame), np.random.default_rng(0)
    same = rng.normal(size=(200, 4000))
    places = 0.2 * rng.normal(size=(200, 4))
    widened = sampling.between(same + np.repeat(places, 1000, axis=1))
    alike = 1.645 / np.sqrt(4000)
    assert np.median(sampling.between(same)) < 0.5 * alike and np.median(widened) > 3 * alike
    missed = np.abs(same.mean(1) + places.mean(1)) > np.hypot(widened, alike)
    assert missed.mean() < 0.16, "of the population that the places come from, not of these four"
    assert Sampling.of(4000).between(same[0]) == 0
