"""Which to choose, PCA, boosted or collective: from differences on the same test rows, with their intervals. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hae.importance.report import Comparison
from hae.importance.verdicts import join
from pipelines.page.evidence import Evidence

__all__ = ["choose", "which"]

TIE = 0.01  # of FVE: models nearer than this explain the same
NETWORKS = ("collective", "boosted")


def choose(evidence: Evidence) -> str:
    """"PCA", "boosted" or "collective"; "" where it is undecided or there is nothing to choose between.

    At the last level worth having: PCA where no variant is surely better than PCA by more than 0.01; else the one variant that is; of two,
    boosted where adding up loses less than 0.01, and collective where it surely loses more.
    """
    better = _better(evidence)
    if better == []:
        return "PCA"
    if better is not None and len(better) == 1 and len(evidence.variants) > 1:
        return better[0] if _has_intervals(evidence) else ""
    row = _paired(evidence)
    if row is None or math.isnan(row.difference_low) or row.difference_low <= TIE <= row.difference_high:
        return ""
    return "collective" if row.difference_low > TIE else "boosted"


def which(evidence: Evidence) -> str:
    """The choice in words, with the figures that it follows from."""
    better = _better(evidence)
    if better is None:
        words = _of_networks(evidence)
    elif not better:
        ahead = all(_behind(row) for row in _beside_level(evidence).values())
        said = f"PCA is {'better' if ahead else 'as good'}"
        if not _has_intervals(evidence):
            said = f"by these figures {said}, and there are too few independent rows to say how sure that is"
        words = f"{_beside_pca(evidence)}: {said}. Use PCA{_one_number(evidence)}."
    else:
        words = f"{_beside_pca(evidence)}. {_of_networks(evidence) if len(better) > 1 else _of_one(evidence, *better)}"
    unready = [name for name, report in evidence.reports.items() if not all(cv.converged for cv in report.cvs)]
    if unready:
        verb = "have" if len(unready) > 1 else "has"
        words += f" But {join(unready)} {verb} decoders that are not converged: train longer (max_epochs), then choose again."
    return words


def _beside_level(evidence: Evidence) -> Mapping[str, Comparison]:
    """Variant -> its comparison with PCA at the last level worth having."""
    rows = {name: report.compared("pca") for name, report in evidence.reports.items()}
    level = _level(evidence)
    return {name: own[min(level, len(own)) - 1] for name, own in rows.items() if own}


def _better(evidence: Evidence) -> list[str] | None:
    """The variants that are surely better than PCA there; None where PCA was not measured."""
    rows = _beside_level(evidence)
    return [name for name, row in rows.items() if _surely_better(row)] if rows else None


def _has_intervals(evidence: Evidence) -> bool:
    return not any(math.isnan(row.difference_low) for row in _beside_level(evidence).values())


def _surely_better(row: Comparison) -> bool:
    """By an amount that matters; without an interval the figure itself has to do."""
    return row.difference > TIE and not row.difference_low <= 0


def _behind(row: Comparison) -> bool:
    """Surely below PCA; without an interval, by an amount that matters."""
    return row.difference < -TIE if math.isnan(row.difference_high) else row.difference_high < 0


def _level(evidence: Evidence) -> int:
    """The last CV worth having of any variant, which is surely alive: one that is undecided is not. Where no variant has verdicts, for
    lack of data, the last CV there is."""
    worth = [report.n for report in evidence.reports.values() if report.n is not None]
    return max(*worth, 1) if worth else max(len(report.cvs) for report in evidence.reports.values())


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


def _beside_pca(evidence: Evidence) -> str:
    """"With 3 CVs, PCA explains 0.726, collective 0.728 (0.002 [-0.010, 0.014] more) and boosted 0.720 (...)"."""
    rows = _beside_level(evidence)
    found = [f"{name} {row.fve + row.difference:.3f} ({row.words})" for name, row in rows.items()]
    first = next(iter(rows.values()))
    return f"With {first.level} CV{'s' * (first.level > 1)}, PCA explains {first.fve:.3f}, {join(found)}"


def _one_number(evidence: Evidence) -> str:
    """Where a network pays all the same: a first CV that is surely better than the first component."""
    firsts = {name: rows[0] for name, report in evidence.reports.items() if (rows := report.compared("pca"))}
    ahead = [f"{name} CV1 {row.fve + row.difference:.3f}, PC1 {row.fve:.3f}: {row.words}" for name, row in firsts.items()
             if _surely_better(row)]
    return f"; take a network only if you need a single CV ({'; '.join(ahead)})" if ahead and _level(evidence) > 1 else ""


def _of_one(evidence: Evidence, name: str) -> str:
    others = [other for other in evidence.reports if other != name]
    if not _has_intervals(evidence):
        return f"By these figures {name} is better, but there are too few independent rows to say how sure that is: add data, or use PCA."
    return f"Choose {name}, which is surely better than PCA by an amount that matters" + (f"; {join(others)} is not." if others else ".")


def _of_networks(evidence: Evidence) -> str:
    row = _paired(evidence)
    if row is None:
        return "There is one variant here, so there is nothing to choose."
    said = f"Collective explains {row.words} than boosted with {row.level} CV{'s' * (row.level > 1)}"
    if math.isnan(row.difference_low):
        return said + (". There are too few independent frames to say how sure that is: add data, or choose boosted to read the CVs one by "
                       "one and collective where they may interact.")
    if row.difference_low > TIE:
        return said + (": the factors behind the data interact, which sums do not represent. "
                       "Choose collective; choose boosted only if CVs that can be read one by one are worth that loss.")
    if row.difference_high < TIE:
        return said + (", so a sum over CVs loses little or nothing. "
                       "Choose boosted: each of its CVs can be read by itself, while collective CV2 may be mixed with CV1.")
    return said + (": whether a sum over CVs is enough is undecided on these data. "
                   "Choose boosted to read the CVs one by one, collective to compress.")
