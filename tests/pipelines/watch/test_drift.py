"""Drift: harm of each kind is found, and the same data drawn again raise no more than the nominal share of alarms."""

import numpy as np
import pytest

from pipelines.sections import Drift as Rule
from pipelines.watch.drift import Profile, compare

NAMES = ("a", "b", "c", "d", "e")
RULE = Rule()


def draw(seed: int, rows: int = 3000, memory: float = 0.9):
    """Rows of six trajectories that remember where they were; errors of two levels. (values, trajectory, frame, errors)."""
    rng = np.random.default_rng(seed)
    length = rows // 6
    steps = rng.normal(size=(6, length, len(NAMES)))
    walk = np.empty_like(steps)
    walk[:, 0] = steps[:, 0]
    for i in range(1, length):
        walk[:, i] = memory * walk[:, i - 1] + np.sqrt(1 - memory**2) * steps[:, i]
    values = walk.reshape(-1, len(NAMES))
    values[:, 1] = np.exp(values[:, 1])
    errors = np.stack([values[:, 0] ** 2 + 0.1, 0.5 * values[:, 2] ** 2 + 0.1])
    return values, np.repeat([f"run{i}" for i in range(6)], length), np.tile(np.arange(length), 6), errors


def found(seed: int, spoil=None, rule: Rule = RULE, **options):
    values, trajectory, frame, errors = draw(0)
    reference = Profile.of(values, NAMES, trajectory, frame, errors)
    values, trajectory, frame, errors = draw(seed, **options)
    if spoil is not None:
        values, errors = spoil(values, errors)
    return compare(reference, values, rule, trajectory, frame, errors)


@pytest.mark.parametrize("memory", [pytest.param(0.0, marks=pytest.mark.acceptance), 0.9])
def test_the_same_data_drawn_again_raise_no_more_than_the_nominal_share_of_alarms(memory):
    """A hundred pairs of references and new rows; what lies beyond the range is a rule, and is not among the tests."""
    alarms = 0
    for seed in range(100):
        first, second = (draw(1000 * side + seed, memory=memory) for side in (1, 2))
        drift = compare(Profile.of(first[0], NAMES, *first[1:]), second[0], RULE, *second[1:])
        alarms += bool(drift.alarms)
    assert alarms <= 100 * RULE.alarms


def test_rows_that_follow_each_other_count_by_their_independent_ones():
    slow, fast = found(7), found(7, memory=0.0)
    assert slow.independent < 0.2 * fast.independent
    assert all(slow.distance[name][1] > 1.3 * fast.distance[name][1] for name in NAMES)


@pytest.mark.parametrize(("spoil", "kind", "column"), [
    (lambda x, e: (x + np.array([0, 0, 1.0, 0, 0]), e), "distribution", "c"),
    (lambda x, e: (x * [1, 1, 1, 1000.0, 1], e), "distribution", "d"),
    (lambda x, e: (x * [1, 1, 1, 1000.0, 1], e), "beyond", ""),
    (lambda x, e: (np.where(np.arange(5) == 4, np.nan, x), e), "missing", "e"),
    (lambda x, e: (np.where((np.arange(5) == 0) & (np.arange(len(x)) % 5 == 0)[:, None], np.nan, x), e), "missing", "a"),
    (lambda x, e: (np.where(np.arange(5) == 1, 3.0, x), e), "distribution", "b"),
    (lambda x, e: (x, e * [[1.0], [2.0]]), "error", "level 2"),
])
def test_harm_is_found_in_its_place(spoil, kind, column):
    drift = found(11, spoil)
    assert any(words.startswith(column) for words in drift.alarms[kind]), drift.alarms
    assert drift.words.count(":") >= 1 and "none" not in drift.words.split()


def test_nothing_is_said_of_too_few_rows_and_of_no_rule():
    assert not found(3, rows=30).alarms and "too few to say" in found(3, rows=30).words
    assert not found(3, lambda x, e: (x + 0.5, e), Rule(alarms=0.0)).alarms.get("distribution")
    assert found(3).words == "none in 3000 rows"


def test_a_profile_comes_back_as_it_was(tmp_path):
    values, trajectory, frame, errors = draw(0)
    values[::7, 2] = np.nan
    profile = Profile.of(values, NAMES, trajectory, frame, errors)
    profile.save(tmp_path / "kept.npz")
    again = Profile.load(tmp_path / "kept.npz")
    assert again.features == NAMES and again.rows == 3000
    for name in ("quantiles", "low", "high", "missing", "n_eff", "error", "error_se"):
        assert np.array_equal(getattr(again, name), getattr(profile, name))
    fresh = draw(5)
    assert compare(again, fresh[0], RULE, *fresh[1:]) == compare(profile, fresh[0], RULE, *fresh[1:])
