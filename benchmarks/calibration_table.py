"""The tables of docs/calibration.md, from the rows that the calibration wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from benchmarks.generated import CELLS
from hae.importance.verdicts import EPS, WEAK
from hae.network.hierarchy import VARIANTS

__all__ = ["tables", "write_table"]


def upper(bad: int, n: int) -> float:
    """Upper 95 % limit of a rate of which ``bad`` of n were seen (Clopper and Pearson 1934)."""
    return 1.0 if bad == n else float(beta.ppf(0.95, bad + 1, n - bad))


def lower(good: int, n: int) -> float:
    return 1 - upper(n - good, n)


WHAT = {
    "fve": "FVE of a level",
    "gain": "gain, trained decoders",
    "info_gain": "information gain, refitted decoders",
    "by feature": "gain by feature, trained decoders",
}


def _coverage(rows: pd.DataFrame):
    plain = rows[rows.fault == ""]
    kinds = {name: plain[plain.what == what] for what, name in WHAT.items()}
    for what in ("gain", "info_gain"):  # whose figure is next to nothing, and whose interval is tiny
        kinds[f"the same {WHAT[what]}, of those truly below {EPS:g}"] = plain[(plain.what == what) & (plain.truth < EPS)]
    for name, judged in kinds.items():
        for status in ("ok", "rough"):
            for correlated, how in ((False, "independent"), (True, "correlated")):
                some = judged[(judged.status == status) & (judged.correlated == correlated)]
                if len(some) >= 50:
                    inside = int(((some.low <= some.truth) & (some.truth <= some.high)).sum())
                    yield f"| {name} | {how} | {status} | {len(some)} | {inside / len(some):.3f} | {lower(inside, len(some)):.3f} |"


def _rates(rows: pd.DataFrame):
    """(name, bad or good, of how many, the limit's side, what was asked)."""
    judged = rows[rows.status != "not enough data"]
    plain, faulty = judged[judged.fault == ""], judged[judged.fault != ""]
    verdicts, orders = judged[judged.what == "verdict"], judged[judged.what == "order"]
    living, gone = verdicts.word.isin(["alive", "weak"]), verdicts.word.str.match("dead|copy").fillna(False)
    nothing = verdicts.truth < EPS
    yield "false alive: said alive or weak at a true gain below 0.01", int((living & nothing).sum()), int(nothing.sum()), "most 0.05"
    much = verdicts.truth > WEAK
    yield "false dead: said dead or copy at a true gain above 0.05", int((gone & much).sum()), int(much.sum()), "most 0.05"
    fine = orders.truth >= -EPS
    wrong = (orders.word == "out of order") & fine
    yield "false out of order: said at a true margin of -0.01 or more", int(wrong.sum()), int(fine.sum()), "most 0.05"
    moot = np.array([level in CELLS[cell].equal for cell, level in zip(plain.cell, plain.level, strict=True)])
    equal = plain[(plain.what == "order") & moot]
    yield "equal or near-equal eigenvalues called ordered", int((equal.word == "ordered").sum()), len(equal), "most 0"
    said, flat = orders.word == "ordered", orders.trained < EPS
    yield "false ordered: said at a true innovation margin below 0.01", int((said & flat).sum()), int(flat.sum()), "most 0.05"
    small = (orders.truth < -EPS) & (orders.truth > -0.1)
    yield "said ordered where an exchange would truly gain 0.01 to 0.1", int((said & small).sum()), int(small.sum()), ""
    for variant in VARIANTS:
        n = plain[(plain.what == "n") & (plain.variant == variant)]
        kinds = "all kinds of data" if variant == "collective" else "additive data"
        yield f"right n, {variant}, {kinds}", int((n.said == n.truth).sum()), len(n), "least 0.90"
    found = []
    for fault, rows_of in faulty[faulty.level == faulty["at"]].groupby("fault"):
        if fault == "swapped":
            big = rows_of[(rows_of.what == "order") & (rows_of.truth <= -0.1)]
            hit = big.word == "out of order"
        else:
            big = rows_of[(rows_of.what == "verdict") & (rows_of.trained >= 0.1)]
            hit = big.word.str.match("dead|copy").fillna(False)
        found.append((int(hit.sum()), len(big)))
        yield f"planted fault found: {fault}", *found[-1], ""
    yield "planted faults of 0.1 or more found, all kinds", sum(a for a, _ in found), sum(b for _, b in found), "least 0.95"
    yield "said alive or weak at a true gain above 0.05 (power)", int((living & much).sum()), int(much.sum()), ""
    yield (
        "said dead or copy at a true gain below 0.005 (power)",
        int((gone & (verdicts.truth < EPS / 2)).sum()),
        int((verdicts.truth < EPS / 2).sum()),
        "",
    )
    clear = (orders.truth > WEAK) & (orders.trained > WEAK) & orders.word.notna()  # asked of two living CVs
    yield "said ordered at true margins above 0.05 (power)", int(((orders.word == "ordered") & clear).sum()), int(clear.sum()), ""


def _rate_table(rows: pd.DataFrame, title: str):
    yield from (f"| {title} | seen | rate | 95 % limit | asked |", "| --- | --- | --- | --- | --- |")
    for name, seen, n, asked in _rates(rows):
        if n:
            limit = f"at most {upper(seen, n):.3f}" if asked.startswith("most") or "false" in name else f"at least {lower(seen, n):.3f}"
            yield f"| {name} | {seen} of {n} | {seen / n:.3f} | {limit} | {f'at {asked}' if asked else ''} |"


def tables(rows: pd.DataFrame) -> str:
    """The result as Markdown."""
    rows = rows.assign(fault=rows.fault.fillna(""))
    whole, short = rows[rows.length == "whole"], rows[rows.length == "short"]
    networks = rows[(rows.fault == "")].drop_duplicates(["cell", "correlated", "variant", "replicate"])
    out = [
        f"{len(networks)} trained networks, {len(rows)} rows.",
        "",
        "| interval (nominal 0.90) | frames | status | intervals | coverage | lower 95 % limit |",
        "| --- | --- | --- | --- | --- | --- |",
        *_coverage(rows),
        "",
        *_rate_table(whole, "rate"),
        "",
        *_rate_table(short, "rate from fewer frames, at status rough"),
        "",
        "| data | variant | right n | refitted less trained FVE, mean, worst | seconds a network |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (cell, variant), some in whole[whole.fault == ""].groupby(["cell", "variant"], sort=False):
        n = some[some.what == "n"]
        keys = ["correlated", "replicate", "level"]
        info = some[some.what == "info_gain"].set_index(keys).truth.groupby(level=[0, 1]).cumsum()
        behind = info - some[some.what == "fve"].set_index(keys).truth
        right = int((n.said == n.truth).sum())
        out.append(f"| {cell} | {variant} | {right} of {len(n)} | {behind.mean():+.4f}, {behind.min():+.4f} | {some.seconds.mean():.2f} |")
    return "\n".join(out)


def write_table(csv: Path, docs: Path) -> None:
    """Put the tables between the marks of the page."""
    begin, end = "<!-- calibration: begin -->", "<!-- calibration: end -->"
    page = docs.read_text()
    head, tail = page[: page.index(begin) + len(begin)], page[page.index(end) :]
    docs.write_text(f"{head}\n{tables(pd.read_csv(csv))}\n{tail}")
