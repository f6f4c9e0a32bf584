"""The tables of hard data in docs/calibration.md, from the rows that the calibration judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from benchmarks.generated import KINDS
from hae.importance.verdicts import EPS, WEAK

__all__ = ["limits", "tables", "write_page"]

FIGURES = ("fve", "gain", "info_gain")


def limits(hit: pd.Series, network: pd.Series) -> tuple[float, float]:
    """95 % limits of a rate (Clopper and Pearson 1934), of as many independent decisions as the scatter between networks allows.

    Levels and test sides of one network are not independent: the number is cut by the design effect, and to the number of networks where
    all decisions came out alike.
    """
    n, rate = len(hit), hit.mean()
    by = pd.DataFrame({"hit": hit.astype(float), "network": network}).groupby("network")["hit"].agg(["sum", "size"])
    if rate in (0, 1) or len(by) < 2:
        n = len(by)
    else:
        scatter = ((by["sum"] - rate * by["size"]) ** 2).sum() * len(by) / (len(by) - 1) / n**2
        n = n / max(scatter / (rate * (1 - rate) / n), 1.0)
    good = rate * n
    low = 0.0 if good == 0 else float(beta.ppf(0.025, good, n - good + 1))
    return low, 1.0 if good == n else float(beta.ppf(0.975, good + 1, n - good))


def _covered(rows: pd.DataFrame, what: str) -> str:
    some = rows[(rows.what == what) & rows.low.notna()]
    if some.network.nunique() < 2:
        return "none" if not len(some) else "one network"
    hit = (some.low <= some.truth) & (some.truth <= some.high)
    low, high = limits(hit, some.network)
    return f"{hit.mean():.2f} ({low:.2f}, {high:.2f})"


def _coverage(rows: pd.DataFrame, status: str):
    for name in [kind for kind in KINDS if kind in set(rows.kind)]:
        its = rows[(rows.kind == name) & rows.what.isin(FIGURES)]
        judged, plain = its[its.status == status], its[its.plain_status == status]
        words = (judged.network.nunique(), f"{len(plain) / len(its):.2f}", f"{len(judged) / len(its):.2f}")
        wider = ((judged.high - judged.low) / judged.plain_width).median()
        cells = [_covered(judged, what) for what in FIGURES]
        yield f"| {name} | {' | '.join(map(str, words))} | {' | '.join(cells)} | {'' if np.isnan(wider) else f'{wider:.2f}'} |"


def _verdicts(rows: pd.DataFrame):
    said = rows[rows.status != "not enough data"]
    verdicts, orders = said[said.what == "verdict"], said[said.what == "order"]
    living, gone = verdicts.word.isin(["alive", "weak"]), verdicts.word.str.match("dead|copy").fillna(False)
    none, much = verdicts.truth < EPS, verdicts.truth > WEAK
    clear = (orders.truth > WEAK) & (orders.trained > WEAK) & orders.word.notna() & (orders.word != "")
    for what, hit, of, table in (
        ("false alive: said alive or weak at a true gain below 0.01", living, none, verdicts),
        ("false dead: said dead or copy at a true gain above 0.05", gone, much, verdicts),
        ("called weak at a true gain above 0.05", verdicts.word == "weak", much, verdicts),
        ("false out of order: at a true margin of -0.01 or more", orders.word == "out of order", orders.truth >= -EPS, orders),
        ("false ordered: at a true innovation margin below 0.01", orders.word == "ordered", orders.trained < EPS, orders),
        ("power: alive or weak at a true gain above 0.05", living, much, verdicts),
        ("power: ordered at true margins above 0.05, both CVs ok", orders.word == "ordered", clear & (orders.status == "ok"), orders),
    ):
        if of.any():
            some, networks = hit[of], (table.kind + table.network.astype(str))[of]
            low, high = limits(some, networks)
            seen = f"{int(some.sum())} of {len(some)}, {networks.nunique()} networks"
            yield f"| {what} | {seen} | {some.mean():.3f} | {low:.3f} to {high:.3f} |"


def tables(rows: pd.DataFrame) -> str:
    """The result as Markdown."""
    rows = rows.assign(word=rows.word.astype(object).fillna(""))
    head = "| data | networks | share of {0} before | share of {0} | FVE | gain | information gain | width against before |"
    out = [f"{len(rows.drop_duplicates(['kind', 'variant', 'exact', 'network']))} networks, {len(rows)} rows."]
    for status in ("ok", "rough"):
        out += ["", head.format(status), "| --- | --- | --- | --- | --- | --- | --- | --- |", *_coverage(rows, status)]
    out += ["", "| rate, at ok and rough | seen | rate | 95 % limits, by network |", "| --- | --- | --- | --- |", *_verdicts(rows)]
    return "\n".join(out)


def by_variant(rows: pd.DataFrame) -> str:
    """The tables of each variant, under its name where there are several."""
    parts = [(name, tables(some)) for name, some in rows.groupby("variant", sort=True)]
    return parts[0][1] if len(parts) == 1 else "\n\n".join(f"### {name.capitalize()}\n\n{text}" for name, text in reversed(parts))


def write_page(rows: pd.DataFrame, docs: Path | None) -> None:
    """Print the tables, or put them between the marks of the page."""
    if docs is None:
        print(by_variant(rows))
        return
    begin, end = "<!-- hard data: begin -->", "<!-- hard data: end -->"
    page = docs.read_text()
    docs.write_text(f"{page[: page.index(begin) + len(begin)]}\n{by_variant(rows)}\n{page[page.index(end) :]}")
