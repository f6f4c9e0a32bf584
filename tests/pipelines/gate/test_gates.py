"""decide: every rule of promotion has its reason in words, and its margin is exact."""

from dataclasses import replace

import pytest

from pipelines.gate.gates import Candidate, Champion, Margins, decide

GOOD = Candidate("7", "collective", fve=(0.60, 0.80, 0.90), gain=(0.60, 0.20, 0.10), pca_fve=(0.50, 0.70, 0.85))
SAME = Champion("3", "collective", fve=(0.60, 0.80, 0.90), candidate_fve=(0.60, 0.80, 0.90))
MARGINS = Margins()
NAN = float("nan")


def beside(*differences: float, variant: str = "collective") -> Champion:
    """A champion above which the candidate is by these differences."""
    return Champion("3", variant, (0.5, 0.7, 0.8), tuple(fve + d for fve, d in zip((0.5, 0.7, 0.8), differences)))


def test_the_first_sound_candidate_becomes_the_champion():
    decision = decide(GOOD, None, MARGINS)
    assert decision.promote and decision.reason == "the first champion"


def test_a_first_champion_that_pca_is_ahead_of_is_said_to_be_that():
    decision = decide(replace(GOOD, fve=(0.60, 0.80, 0.848)), None, MARGINS)
    assert decision.promote
    assert decision.reason == "the first champion, though PCA explains more at level 3 (0.850 against 0.848): PCA would do"


@pytest.mark.parametrize(
    ("candidate", "word"),
    [
        (replace(GOOD, fve=(0.60, 0.69, 0.90)), "PCA 0.700: below PCA (too few independent rows to say how surely)"),
        (replace(GOOD, gain=(0.60, 0.20, -0.02)), "CV3 has a gain of -0.020"),
        (replace(GOOD, fault="the registered model does not load"), "does not load"),
        (replace(GOOD, order=("ordered", "out of order")), "CV2 and CV3 are out of order"),
        (replace(GOOD, fve=(0.60, 0.69, 0.90), above_pca_high=(0.1, -0.001, 0.1)), "level 2 explains 0.690, PCA 0.700: surely below"),
        (replace(GOOD, fve=(NAN, 0.8, 0.9)), "level 1 explains nan"),
        (replace(GOOD, gain=(0.6, NAN, 0.1)), "CV2 has a gain of nan"),
        (replace(GOOD, fve=(), gain=(), pca_fve=()), "evaluation is incomplete"),
        (replace(GOOD, pca_fve=(0.5,)), "evaluation is incomplete"),
    ],
)
@pytest.mark.parametrize("champion", [None, beside(0.1, 0.1, 0.1)])
def test_an_unsound_candidate_is_held_however_much_better_it_is(candidate, champion, word):
    decision = decide(candidate, champion, MARGINS)
    assert not decision.promote and word in decision.reason


def test_what_only_may_be_below_pca_is_not_held():
    assert decide(replace(GOOD, fve=(0.60, 0.69, 0.90), above_pca_high=(0.1, 0.002, 0.1)), None, MARGINS).promote
    assert decide(replace(GOOD, order=("ordered", "undecided")), None, MARGINS).promote


@pytest.mark.parametrize(
    ("difference", "low", "high", "promote"),
    [
        (0.03, 0.01, 0.05, True),
        (0.03, -0.01, 0.07, False),  # perhaps no better
        (0.01, 0.008, 0.012, False),  # surely better, but by less than the margin
        (0.03, NAN, NAN, True),  # no interval: the margin alone
    ],
)
def test_better_is_more_than_the_margin_and_sure(difference, low, high, promote):
    champion = replace(beside(difference, 0, 0), low=(low, NAN, NAN), high=(high, NAN, NAN))
    assert decide(GOOD, champion, MARGINS).promote is promote


@pytest.mark.parametrize(("low", "high", "promote"), [(-0.03, -0.01, False), (-0.05, 0.01, True), (NAN, NAN, False)])
def test_worse_is_more_than_the_margin_and_sure(low, high, promote):
    champion = replace(beside(0.05, -0.02, 0), low=(0.04, low, NAN), high=(0.06, high, NAN))
    assert decide(GOOD, champion, MARGINS).promote is promote


def test_all_objections_are_named():
    reason = decide(replace(GOOD, fault="broken", gain=(0.6, -0.1, 0.1)), beside(-0.1, 0, 0), MARGINS).reason
    assert all(word in reason for word in ("broken", "CV2 has a gain", "level 1 explains"))


@pytest.mark.parametrize(
    ("differences", "promote"),
    [
        ((0.03, 0, 0), True),  # better at level 1 alone
        ((0, 0, 0.021), True),
        ((0.019, 0.019, 0.019), False),  # noise of seeds
        ((0.03, 0.03, -0.009), True),
        ((0.03, 0.03, -0.011), False),  # worse at one level
        ((0, 0, 0), False),
        ((-0.2, -0.2, -0.2), False),
        ((NAN, 0.1, 0.1), False),
    ],
)
def test_a_champion_yields_to_what_is_better_somewhere_and_worse_nowhere(differences, promote):
    assert decide(GOOD, beside(*differences), MARGINS).promote is promote


def test_equal_is_not_better():
    decision = decide(GOOD, SAME, MARGINS)
    assert not decision.promote and "no level is above the champion (version 3, collective) by 0.02" in decision.reason


def test_a_change_of_variant_needs_its_own_margin_only_where_there_is_one():
    other = beside(0.03, 0, 0, variant="boosted")
    assert decide(GOOD, other, MARGINS).promote
    held = decide(GOOD, other, replace(MARGINS, variant=0.05))
    assert not held.promote and "change of variant" in held.reason
    assert decide(GOOD, beside(0.06, 0, 0, variant="boosted"), replace(MARGINS, variant=0.05)).promote
    assert decide(GOOD, beside(0.03, 0, 0), replace(MARGINS, variant=0.05)).promote


def test_what_cannot_be_compared_waits_for_a_person():
    decision = decide(GOOD, Champion("3", "boosted", not_comparable="another target"), MARGINS)
    assert not decision.promote and "another target" in decision.reason and "hae promote" in decision.reason


def test_the_reason_of_a_promotion_names_the_numbers():
    reason = decide(GOOD, beside(0.03, 0, 0.1), MARGINS).reason
    assert "level 3 explains 0.900" in reason and "version 3" in reason and "0.800" in reason


@pytest.mark.parametrize(("gradient", "allowed", "held"), [((816.0, 48.0), 250, True), ((98.0, 89.0), 250, False), ((816.0,), None, False),
                                                           ((float("nan"),), 250, True), ((), 250, False)])
def test_a_champion_has_no_cliff_where_that_is_asked(gradient, allowed, held):
    decision = decide(replace(GOOD, gradient=gradient), None, replace(MARGINS, gradient=allowed))
    assert decision.promote is not held
    assert ("cliff that no force can act along" in decision.reason) is held
    steeper = decide(replace(GOOD, gradient=(120.0,)), None, replace(MARGINS, gradient=100))
    assert not steeper.promote and "CV1 has a gradient: 120 per nm (allowed: 100; " in steeper.reason
