"""Refitted decoders reach the information that is known to be there, and no more."""

import numpy as np
import pytest
import torch

from hae.importance import refits
from hae.importance.decoders import RefitSettings
from hae.importance.innovations import innovations
from hae.importance.refits import EncodedRows, refit, tasks_of
from hae.network.hierarchy import BoostedDecoder, CollectiveDecoder

SETTINGS = RefitSettings(rows=3000)


def shares(cvs: EncodedRows, target, target_test, decoder, weights=None) -> np.ndarray:
    """Fraction of the variance that each refit of one member explains."""
    mean = np.average(np.nan_to_num(target), axis=0, weights=weights)
    tasks = [tasks_of(cvs, decoder, weights)]
    errors = refit(tasks, [target - mean], [target_test - mean], settings=SETTINGS, weights=[weights])[0]
    return 1 - errors.mean(1) / ((target_test - mean) ** 2).mean()


def torus(n: int, seed: int):
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, (n, 2))
    return angles, np.concatenate([2 * np.cos(angles[:, :1]), 2 * np.sin(angles[:, :1]), np.cos(angles[:, 1:]), np.sin(angles[:, 1:])], 1)


def product(n: int, seed: int):
    rng = np.random.default_rng(seed)
    t, u = rng.uniform(-np.pi, np.pi, n), rng.uniform(-1, 1, n)
    return np.stack([t, u], 1), np.stack([2 * np.cos(t), 2 * np.sin(t), 2.5 * u * np.cos(t), 2.5 * u * np.sin(t)], 1)


@pytest.mark.parametrize("decoder", [CollectiveDecoder, BoostedDecoder])
def test_torus(decoder):
    (cvs, s), (new, s_new) = torus(3000, 0), torus(3000, 1)
    found = shares(EncodedRows(cvs, new, ("circular", "circular")), s, s_new, decoder)
    # CV_1; CV_1 and CV_2; CV_2 in the place of CV_1; what CV_2 adds to CV_1, in that place
    assert found == pytest.approx([0.8, 1.0, 0.2, 0.2], abs=0.01)


def test_a_product_of_two_factors_is_no_sum():
    (cvs, s), (new, s_new) = product(3000, 0), product(3000, 1)
    both = EncodedRows(cvs, new, ("circular", "linear"))
    assert shares(both, s, s_new, CollectiveDecoder)[1] > 0.99
    assert shares(both, s, s_new, BoostedDecoder)[1] < 0.75  # the best sum of functions is that of t alone: 0.66


def test_a_member_in_a_stack_is_refitted_as_it_would_be_alone():
    data = [(torus(500, seed), torus(300, seed + 10)) for seed in range(2)]
    tasks = [tasks_of(EncodedRows(a[0], b[0], ("circular", "circular")), CollectiveDecoder) for a, b in data]
    target, target_test = [a[1] for a, _ in data], [b[1] for _, b in data]
    settings = RefitSettings(steps=50)
    together = refit(tasks, target, target_test, settings=settings)
    alone = refit(tasks[1:], target[1:], target_test[1:], settings=settings)
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-8)


def test_weights_of_training_rows_count():
    (cvs, s), (new, s_new) = torus(3000, 0), torus(3000, 1)
    spoilt = s.copy()
    spoilt[::2] = np.random.default_rng(2).normal(size=spoilt[::2].shape) * 3 + 5
    weights = np.where(np.arange(3000) % 2, 1.0, 1e-9)
    found = shares(EncodedRows(cvs, new, ("circular", "circular")), spoilt, s_new, CollectiveDecoder, weights)
    assert found[:2] == pytest.approx([0.8, 1.0], abs=0.01)


@pytest.mark.parametrize("decoder", [CollectiveDecoder, BoostedDecoder])
def test_missing_entries_are_left_out_and_not_read_as_the_mean(decoder):
    """With 40 % of the entries away the same is known; read as the mean they would pull every decoder towards it."""
    (cvs, s), (new, s_new) = torus(3000, 0), torus(3000, 1)
    holes = s.copy()
    holes[np.random.default_rng(2).random(s.shape) < 0.4] = np.nan
    found = shares(EncodedRows(cvs, new, ("circular", "circular")), holes - np.nanmean(holes, axis=0), s_new, decoder)
    assert found == pytest.approx([0.8, 1.0, 0.2, 0.2], abs=0.015)


def test_a_member_with_missing_entries_changes_nothing_of_others():
    (cvs, s), (new, s_new) = torus(500, 0), torus(300, 1)
    holes = s.copy()
    holes[::3, 1] = np.nan
    tasks = tasks_of(EncodedRows(cvs, new, ("circular", "circular")), CollectiveDecoder)
    settings = RefitSettings(steps=50)
    together = refit([tasks, tasks], [s, holes], [s_new, s_new], settings=settings)
    np.testing.assert_allclose(together[0], refit([tasks], [s], [s_new], settings=settings)[0], rtol=1e-8)


def test_a_feature_that_no_row_has_changes_nothing_of_others():
    (cvs, s), (new, s_new) = torus(500, 0), torus(300, 1)
    tasks, settings = tasks_of(EncodedRows(cvs, new, ("circular", "circular")), CollectiveDecoder), RefitSettings(steps=50)
    nothing, nothing_new = (np.column_stack([rows, np.full(len(rows), np.nan)]) for rows in (s, s_new))
    errors = refit([tasks], [nothing], [nothing_new], settings=settings)[0] * 5 / 4  # of five features one counts nothing
    assert errors[1].mean() == pytest.approx(refit([tasks], [s], [s_new], settings=settings)[0][1].mean(), abs=0.05)


def column(x, x_new):
    return [x[:, None], x_new[:, None]]


def test_innovations():
    rng = np.random.default_rng(0)
    (a, b), (a_new, b_new) = rng.normal(size=(2, 2000)), rng.normal(size=(2, 500))
    first = innovations([], column(a, a_new))
    assert first[0].mean() == pytest.approx(0, abs=1e-12) and first[0].std() == pytest.approx(1)
    plain = innovations([first], column(b, b_new))
    mixed = innovations([first], column(b + 3 * a, b_new + 3 * a_new))
    bent = innovations([first], column(b + a**2, b_new + a_new**2))
    for other in (mixed, bent):
        for mine, its in zip(plain, other, strict=True):
            np.testing.assert_allclose(its, mine, atol=1e-10)
    assert abs(np.corrcoef(plain[0][:, 0], a**3)[0, 1]) < 1e-10
    nothing = innovations([first], column(1 - 2 * a**3, 1 - 2 * a_new**3))
    assert not np.any(nothing[0]) and not np.any(nothing[1])
    constant = innovations([first], column(np.ones(2000), np.ones(500)))
    assert not np.any(constant[0])
    third = innovations([first, nothing, plain], [f * p for f, p in zip(first, plain, strict=True)])
    assert not np.any(third[0])  # products of earlier CVs are known too


def test_eight_cvs_have_few_enough_polynomials():
    rng = np.random.default_rng(0)
    earlier = [column(*rng.normal(size=(2, 1000))) for _ in range(8)]
    left = innovations(earlier, column(*rng.normal(size=(2, 1000))))
    assert np.isfinite(left[0]).all() and left[0].std() == pytest.approx(1, abs=0.01)


def test_refits_of_little_work_take_one_thread_and_give_the_others_back(monkeypatch):
    """Two threads wait for each other thousands of times; what the caller had set is there again, after a failure too."""
    before, seen = torch.get_num_threads(), []
    (cvs, s), (new, s_new) = torus(200, 0), torus(100, 1)
    tasks = [tasks_of(EncodedRows(cvs, new, ("circular", "circular")), CollectiveDecoder)]
    real = torch.randint
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: seen.append(torch.get_num_threads()) or real(*args, **kwargs))
    try:
        torch.set_num_threads(2)
        refit(tasks, [s], [s_new], settings=RefitSettings(steps=2))
        assert seen == [1, 1] and torch.get_num_threads() == 2
        monkeypatch.setattr(refits, "LITTLE", 1.0)
        refit(tasks, [s], [s_new], settings=RefitSettings(steps=1))
        assert seen[-1] == 2, "a step worth two"
        monkeypatch.undo()
        monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refit(tasks, [s], [s_new], settings=RefitSettings(steps=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
