"""Which to choose: PCA, boosted or collective, from paired comparisons on the same frames. Pure functions of what was measured."""

from __future__ import annotations

import math

from hae.importance.report import Comparison, ImportanceReport
from hae.importance.verdicts import join
from pipelines.page.evidence import Evidence

__all__ = ["choose", "pca_words", "which"]

TIE = 0.01  # of FVE: models nearer than this explain the same
NETWORKS = ("collective", "boosted")


def pca_words(report: ImportanceReport) -> str:
    """What one and as many principal components explain, beside CV1 and all CVs; "" where PCA was not measured."""
    rows = report.compared("pca")
    if not rows:
        return ""
    first, last = rows[0], rows[-1]
    words = [f"PC1 explains {first.fve:.3f}, CV1 {_apart(first)}"]
    if last.level > 1:
        words.append(f"{last.level} PCs explain {last.fve:.3f}, {last.level} CVs {_apart(last)}")
    return "; ".join(words)


def choose(evidence: Evidence) -> str:
    """"PCA", "boosted" or "collective"; "" where it is undecided or there is nothing to choose between.

    At the last level worth having: PCA where no variant is surely better than PCA by 0.01 or more; else boosted where adding up loses
    less than 0.01, and collective where it surely loses more.
    """
    if _pca_will_do(evidence):
        return "PCA"
    row = _paired(evidence)
    if row is None or math.isnan(row.difference_low) or row.difference_low <= TIE <= row.difference_high:
        return ""
    return "collective" if row.difference_low > TIE else "boosted"


def which(evidence: Evidence) -> str:
    """The choice in words, with the figures that it follows from."""
    words = _of_pca(evidence) if _pca_will_do(evidence) else _of_networks(evidence)
    unready = [name for name, report in evidence.reports.items() if not all(cv.converged for cv in report.cvs)]
    if unready:
        words += f" But {join(unready)} {'have' if len(unready) > 1 else 'has'} decoders that are not converged: train longer first."
    return words


def _pca_will_do(evidence: Evidence) -> bool:
    rows = [report.compared("pca") for report in evidence.reports.values()]
    level = _level(evidence)
    at_level = [own[min(level, len(own)) - 1] for own in rows if own]
    return bool(at_level) and not any(_surely_better(row) for row in at_level)


def _surely_better(row: Comparison) -> bool:
    """By an amount that matters; without an interval the figure itself has to do."""
    return row.difference > TIE and not row.difference_low <= 0


def _level(evidence: Evidence) -> int:
    """The last CV worth having of any variant; where that is not known of all of them, the last CV."""
    worth = [report.n for report in evidence.reports.values()]
    last = max((n for n in worth if n), default=0) if all(worth) else 0
    return last or max(len(report.cvs) for report in evidence.reports.values())


def _paired(evidence: Evidence) -> Comparison | None:
    """Collective less boosted at that level."""
    for title, rows in evidence.paired.items():
        if set(title.split(" - ")) == set(NETWORKS):
            row = rows[min(_level(evidence), len(rows)) - 1]
            return row if title.startswith("collective") else _turned(row)
    return None


def _turned(row: Comparison) -> Comparison:
    low, high = -row.difference_high, -row.difference_low
    return Comparison(row.other, row.level, row.fve, row.fve_low, row.fve_high, -row.difference, low, high)


def _of_pca(evidence: Evidence) -> str:
    level = _level(evidence)
    found = [f"{name} {report.cvs[min(level, len(report.cvs)) - 1].fve:.3f}" for name, report in evidence.reports.items()]
    row = next(rows[min(level, len(rows)) - 1] for report in evidence.reports.values() if (rows := report.compared("pca")))
    many = "1 component" if row.level == 1 else f"{row.level} components"
    words = f"With {many} PCA explains {row.fve:.3f}, {join(found)}: no network is surely better by {TIE:g} or more. Use PCA"
    ahead = [f"{name} CV1 {report.cvs[0].fve:.3f} against PC1 {report.compared('pca')[0].fve:.3f}"
             for name, report in evidence.reports.items() if report.compared("pca") and _surely_better(report.compared("pca")[0])]
    return words + (f"; a network pays only where a single number has to do ({join(ahead)})." if ahead and level > 1 else ".")


def _of_networks(evidence: Evidence) -> str:
    row = _paired(evidence)
    if row is None:
        return "There is one variant here, so there is nothing to choose."
    said = f"With {row.level} CV{'s' * (row.level > 1)}, collective explains {_apart(row)} than boosted"
    if math.isnan(row.difference_low):
        return said + (". There are too few independent frames to say how sure that is: add data, or choose boosted to read the CVs one by "
                       "one and collective where they may act together.")
    if row.difference_low > TIE:
        return said + (": in these features the factors behind the data act together, and levels that add up don't follow. "
                       "Choose collective; choose boosted only where a CV that is read on its own is worth that loss.")
    if row.difference_high < TIE:
        return said + (", so adding up loses little or nothing. "
                       "Choose boosted: each of its CVs has a meaning of its own, while collective CV2 may be mixed with CV1.")
    return said + (": whether adding up is enough is undecided on these data. "
                   "Choose boosted to read the CVs one by one, collective to compress.")


def _apart(row: Comparison) -> str:
    """A difference in words: "0.013 [0.001, 0.025] more"."""
    difference, low, high, word = row.difference, row.difference_low, row.difference_high, "more"
    if difference < 0:
        difference, low, high, word = -difference, -high, -low, "less"
    interval = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"  # three digits: differences are far surer than the figures
    return f"{difference:.3f}{interval} {word}"
