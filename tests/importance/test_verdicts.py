"""What intervals allow to be said, word by word."""

import pytest

from hae.importance.verdicts import cv_verdict, figure, join, leading, order_verdict, vote

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.30, 0.50, "alive"),
        (0.02, 0.04, "weak"),
        (0.03, 0.06, "alive"),  # it may well be above 0.05: weak is said of what is surely below
        (0.005, 0.055, "undecided"),
        (-0.002, 0.004, "dead"),
        (NAN, NAN, "undecided"),
    ],
)
def test_a_cv(low, high, word):
    assert cv_verdict(low, high) == word


def test_a_dead_cv_may_be_a_copy_and_a_living_one_is_not():
    assert cv_verdict(-0.001, 0.001, copy_of=1) == "copy of CV1"
    assert cv_verdict(0.2, 0.4, copy_of=1) == "alive"


@pytest.mark.parametrize(
    ("raw_high", "innovation", "both", "word"),
    [
        (-0.02, (0.25, 0.2, 0.3), True, "out of order"),
        (-0.02, (0.25, 0.2, 0.3), False, "out of order"),
        (0.3, (0.25, 0.2, 0.3), True, "ordered"),
        (0.3, (0.25, 0.2, 0.3), False, ""),
        (0.3, (0.03, 0.015, 0.045), True, "undecided"),
        (0.3, (0, -0.005, 0.005), True, "tied"),
        (0.3, (0.005, -0.02, 0.03), True, "undecided"),
        (NAN, (NAN, NAN, NAN), True, "undecided"),
    ],
)
def test_a_cv_and_the_next(raw_high, innovation, both, word):
    assert order_verdict(raw_high, *innovation, both) == word


def test_how_many():
    assert leading([0.3, 0.02, 0.004, 0.2]) == 2
    assert leading([0.3, 0.02, 0.004, 0.2], eps=0.001) == 4
    assert leading([NAN, 0.2]) == 0
    assert vote([2, 3, 3, 1]) == 3 and vote([3, 2, 2, 3]) == 2


def test_words():
    assert join(["CV1"]) == "CV1" and join(["CV1", "CV2", "CV3"]) == "CV1, CV2 and CV3"
    assert figure(0.78, 0.74, 0.82) == "0.78 [0.74, 0.82]"
    assert figure(0.7211, 0.7204, 0.7218) == "0.721 [0.720, 0.722]"
    assert figure(0.78, NAN, NAN) == "0.78"
