"""The sentence says what the verdicts are, and no more."""

from dataclasses import replace

import pytest

from hae.importance.report import Comparison, CVImportance, ImportanceReport

NAN = float("nan")


def a_cv(number, verdict="alive", order="ordered", fve=(0.78, 0.74, 0.82), info_gain=(0.4, 0.3, 0.5), status="ok", **more) -> CVImportance:
    return CVImportance(number, *fve, 0.4, 0.3, 0.5, *info_gain, verdict, order, 438.0, status, **more)


def a_report(*cvs, status="ok", n_blocks=40) -> ImportanceReport:
    return ImportanceReport("collective", 0.01, status, 6000, n_blocks, cvs, 2, {"0.01": 2})


WEAK = a_cv(3, "weak", "", info_gain=(0.03, 0.02, 0.04))
FIRST = "CV1 alone explains 0.78 [0.74, 0.82]"


@pytest.mark.parametrize(
    ("cvs", "words"),
    [
        ((a_cv(1), a_cv(2), WEAK), f"CV1 and CV2 are alive and ordered; CV3 is weak (information gain 0.03 [0.02, 0.04]); {FIRST}"),
        ((a_cv(1), a_cv(2, order="undecided"), WEAK), "the order of CV2 and CV3 is undecided"),
        ((a_cv(1), a_cv(2), a_cv(3, order="")), f"CV1, CV2 and CV3 are alive and ordered; {FIRST}"),
        (
            (a_cv(1), a_cv(2, order="tied"), a_cv(3, order="")),
            "CV1, CV2 and CV3 are alive; CV1 and CV2 are ordered; CV2 and CV3 are tied; CV1",
        ),
        ((a_cv(1, order="out of order"), a_cv(2, order="")), f"CV1 and CV2 are alive; CV1 and CV2 are out of order; {FIRST}"),
        ((a_cv(1, order=""), a_cv(2, "copy of CV1", "")), f"CV1 is alive; CV2 is a copy of CV1; {FIRST}"),
        ((a_cv(1, order=""), a_cv(2, "dead", ""), a_cv(3, "dead", "")), f"CV1 is alive; CV2 and CV3 are dead; {FIRST}"),
        ((a_cv(1, order="", converged=False),), "the decoder of level 1 is not converged"),
        ((a_cv(1, converged=False), a_cv(2, order="", converged=False)), "the decoders of levels 1 and 2 are not converged"),
    ],
)
def test_sentence(cvs, words):
    assert words in a_report(*cvs).sentence()


def test_an_unsure_report_says_so():
    assert a_report(a_cv(1, order=""), status="rough").sentence().endswith("(rough: 438 independent frames)")
    few = replace(a_report(a_cv(1, order=""), status="rough"), untold=True)
    assert few.sentence().endswith("438 independent frames; fewer than 250 rows don't show whether their tails are heavy)")
    unknown = a_cv(1, "undecided", "", fve=(0.78, NAN, NAN), info_gain=(0.4, NAN, NAN), status="not enough data")
    words = a_report(replace(unknown, n_eff=16.0), status="not enough data").sentence()
    assert words.startswith("Not enough independent data") and "[" not in words
    assert "(6000 evaluated frames are worth 16 independent ones in 40 blocks; 100 in 20 blocks are needed)" in words
    alone = replace(a_report(replace(unknown, n_eff=16.0), status="not enough data"), n_frames=40)
    assert "(40 evaluated frames are worth 16 independent ones; 100 are needed)" in alone.sentence()


def test_comparisons_and_overfit():
    report = replace(a_report(a_cv(1, train_fve=0.80)), against=(Comparison("pca", 1, 0.5, 0.45, 0.55, 0.28, 0.2, 0.36),))
    assert [row.difference for row in report.compared("pca")] == [0.28] and report.compared("plain") == []
    assert report.cvs[0].overfit == pytest.approx(0.02)
    assert ImportanceReport.from_json(report.to_json()).against == report.against
