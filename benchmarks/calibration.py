"""How often the importance report is right: coverage of its intervals and error rates of its verdicts on data of known truth.

    python -m benchmarks.calibration run [--csv FILE] [--replicates 34]     (goes on where it stopped)
    python -m benchmarks.calibration table [--csv FILE] [--docs docs/calibration.md]

Every replicate has training, test and population frames of its own; the networks of a unit are trained as one stack, and all their refits
are another. The truth about a trained network is its figure on the population frames, which are many and independent.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import beta
from tqdm import tqdm

from benchmarks.generated import CELLS, Cell, Walk
from hae.importance import Measured, assess, refit_members
from hae.intervals import Sampling
from hae.network import VARIANTS, HierarchicalNetwork
from hae.refits import CVs, RefitSettings
from hae.scoring import FrameErrors, score_frames
from hae.verdicts import EPS, WEAK

N_TRAIN, N_POPULATION = 4000, 8000
N_TEST = {False: 2000, True: 4000}  # independent, correlated: both are worth 300 independent frames and more
BATCH, RATE, HIDDEN = 128, 1e-2, (32, 32)
FAULTS = ("swapped", "noise", "copy")
STACK = 17  # networks trained, and refitted, at once


def units(replicates: int):
    """(cell, correlated, variant, first replicate): one stack each, all kinds of data before more replicates."""
    for first in range(0, replicates, STACK):
        for name, cell in CELLS.items():
            for correlated in (False, True):
                for variant in VARIANTS:
                    if variant == "collective" or cell.additive:
                        yield name, correlated, variant, first


def draw(cell: Cell, correlated: bool, seed: list[int]):
    """Input and target of training, test and population frames, in units of the training target's variance."""
    rng = np.random.default_rng(seed)
    sides = [cell.make(Walk(n, how, rng)) for n, how in ((N_TRAIN, correlated), (N_TEST[correlated], correlated), (N_POPULATION, False))]
    x, y = sides[0]
    mean_x, mean_y, unit = x.mean(0), y.mean(0), np.sqrt(y.var(0).mean())
    return [((a - mean_x) / unit, (b - mean_y) / unit) for a, b in sides]


def train_stack(cell: Cell, variant: str, data, seed: int) -> list[HierarchicalNetwork]:
    """A network for each replicate, each on data of its own: a fixed number of steps of Adam with a one-cycle rate."""
    x = torch.tensor(np.stack([sides[0][0] for sides in data]), dtype=torch.float32)
    y = torch.tensor(np.stack([sides[0][1] for sides in data]), dtype=torch.float32)
    members = len(data)
    network = HierarchicalNetwork.mlp(x.shape[-1], cell.cv, variant, HIDDEN, "tanh", y.shape[-1], members)
    for m in range(members):
        network.reset(seed * 1000 + m, m)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=cell.steps + 1, cycle_momentum=False)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(cell.steps):
        rows = torch.randint(x.shape[1], (BATCH,), generator=generator)
        optimiser.zero_grad(set_to_none=True)
        levels = network.standardised_levels(x[:, rows])
        (levels - y[:, None, rows]).square().mean((-3, -2, -1)).sum().backward()
        optimiser.step()
        schedule.step()
    return [network.member(m).double().requires_grad_(False) for m in range(members)]


def plant(fault: str, cvs: CVs, kinds: tuple[str, ...], k: int, walk_new, rng) -> CVs:
    """CVs with a fault: CV_k and CV_{k+1} (k from 0) exchanged, CV_k replaced by noise, or by a function of CV_{k-1}."""
    sides = [cvs.train.copy(), cvs.test.copy()]
    for side, noise in zip(sides, walk_new(kinds[k]), strict=True):
        if fault == "swapped":
            side[:, [k, k + 1]] = side[:, [k + 1, k]]
        elif fault == "noise":
            side[:, k] = noise
        elif kinds[k] == "circular":
            side[:, k] = np.angle(np.exp(1j * (1.0 - side[:, k - 1])))
        else:
            spread = cvs.train[:, k - 1].std()
            side[:, k] = np.sinh(side[:, k - 1] / spread)
    order = list(kinds)
    if fault == "swapped":
        order[k], order[k + 1] = order[k + 1], order[k]
    return CVs(*sides, tuple(order))


def judge(name, cell, correlated, variant, first, fault, cvs, data, scores, train_fve, at) -> list[dict]:
    """Rows of one stack: refits of all its networks, their verdicts, and the truth of each."""
    start = time.perf_counter()
    refits = refit_members(cvs, VARIANTS[variant], [sides[0][1] for sides in data],
                           [np.concatenate([sides[1][1], sides[2][1]]) for sides in data], [None] * len(data), RefitSettings())
    seconds = (time.perf_counter() - start) / len(data)
    rows = []
    n_test = N_TEST[correlated]
    sampling = Sampling.of(n_test, np.full(n_test, "walk"), np.arange(n_test))
    new, many = slice(0, n_test), slice(n_test, None)
    for m, (its_cvs, score, r) in enumerate(zip(cvs, scores, refits, strict=True)):
        cut = lambda part, r=r: type(r)(r.prefix[:, part], r.swapped[:, part], r.innovation[:, part])  # noqa: E731
        e = FrameErrors(score.e[:, new], score.v[new])
        report = assess(Measured(CVs(its_cvs.train, its_cvs.test[new], its_cvs.kinds), e, cut(new), train_fve[m]), sampling, None, variant)
        population, whole = cut(many), FrameErrors(score.e[:, many], score.v[many])
        total = whole.v.mean()
        info_gain = -np.diff(population.prefix.mean(1), prepend=total) / total
        raw = (population.swapped.mean(1) - population.prefix[:-1].mean(1)) / total
        innovation = (population.innovation.mean(1) - population.prefix[:-1].mean(1)) / total
        truths = {"fve": whole.fve, "gain": whole.gains, "info_gain": info_gain}
        about = {"cell": name, "correlated": correlated, "variant": variant, "replicate": first + m, "fault": fault,
                 "at": at[m] + 1 if fault else 0, "seconds": round(seconds, 3)}
        for k, cv in enumerate(report.cvs):
            for figure, truth in truths.items():
                if not fault or figure == "info_gain":
                    rows.append({**about, "what": figure, "level": k + 1, "said": getattr(cv, figure), "low": getattr(cv, f"{figure}_low"),
                                 "high": getattr(cv, f"{figure}_high"), "truth": truth[k], "n_eff": cv.n_eff, "status": cv.status})
            rows.append({**about, "what": "verdict", "level": k + 1, "word": cv.verdict, "truth": info_gain[k], "trained": whole.gains[k],
                         "status": cv.status})
            if k < len(report.cvs) - 1:
                rows.append({**about, "what": "order", "level": k + 1, "word": cv.order, "truth": raw[k], "trained": innovation[k],
                             "status": cv.status})
        rows.append({**about, "what": "n", "level": 0, "said": report.n, "truth": cell.n, "status": report.status})
    return rows


def run_unit(name: str, correlated: bool, variant: str, first: int, count: int) -> pd.DataFrame:
    cell, number = CELLS[name], list(CELLS).index(name)
    seed = [number, int(correlated), first]
    start = time.perf_counter()
    data = [draw(cell, correlated, [*seed, m]) for m in range(count)]
    networks = train_stack(cell, variant, data, 100 * number + 10 * correlated + first)
    training = (time.perf_counter() - start) / count
    cvs, scores, train_fve = [], [], []
    for network, (train, test, many) in zip(networks, data, strict=True):
        x, y = np.concatenate([test[0], many[0]]), np.concatenate([test[1], many[1]])
        cvs.append(CVs(network.encode(torch.tensor(train[0])).numpy(), network.encode(torch.tensor(x)).numpy(), cell.cv))
        scores.append(score_frames(network, x, y))
        train_fve.append(score_frames(network, *train).fve)
    rows = judge(name, cell, correlated, variant, first, "", cvs, data, scores, train_fve, None)
    if not cell.equal and cell.n > 1:
        rng = np.random.default_rng([*seed, 99])

        def walk_new(kind):
            walks = Walk(N_TRAIN, correlated, rng), Walk(N_TEST[correlated], correlated, rng), Walk(N_POPULATION, False, rng)
            train, test, many = [walk.angle() if kind == "circular" else walk.normal() for walk in walks]
            return train, np.concatenate([test, many])

        for fault in FAULTS:
            chosen = [m for m in range(count) if FAULTS[(m + first) % 3] == fault]
            # the pair or the CV with the largest of the gains that are known: the first two CVs
            at = [0 if fault == "swapped" else 1] * len(chosen)
            faulty = [plant(fault, cvs[m], cell.cv, k, walk_new, rng) for m, k in zip(chosen, at, strict=True)]
            if len({c.kinds for c in faulty}) == 1:
                rows += judge(name, cell, correlated, variant, first, fault, faulty, [data[m] for m in chosen],
                              [scores[m] for m in chosen], [train_fve[m] for m in chosen], at)
    return pd.DataFrame(rows).assign(training_seconds=round(training, 3))


def run(csv: Path, replicates: int) -> None:
    """Add the rows of every unit that the file has not yet."""
    torch.set_num_threads(int(os.environ.get("HAE_THREADS", "1")))
    done = set()
    if csv.exists():
        have = pd.read_csv(csv)
        done = set(zip(have["cell"], have["correlated"], have["variant"], have["first"], strict=True))
    for unit in tqdm(list(units(replicates)), unit="stack"):
        if unit in done:
            continue
        rows = run_unit(*unit, min(STACK, replicates - unit[3])).assign(first=unit[3])
        rows = rows.reindex(columns=COLUMNS)
        rows.to_csv(csv, mode="a", header=not csv.exists(), index=False, float_format="%.6g")


COLUMNS = ["cell", "correlated", "variant", "first", "replicate", "fault", "at", "what", "level", "said", "low", "high", "word", "truth",
           "trained", "n_eff", "status", "seconds", "training_seconds"]


def upper(bad: int, n: int) -> float:
    """Upper 95 % limit of a rate of which ``bad`` of n were seen (Clopper and Pearson 1934)."""
    return 1.0 if bad == n else float(beta.ppf(0.95, bad + 1, n - bad))


def lower(good: int, n: int) -> float:
    return 1 - upper(n - good, n)


def _coverage(rows: pd.DataFrame):
    for what, name in (("fve", "FVE of a level"), ("gain", "gain, trained decoders"), ("info_gain", "information gain, refitted decoders")):
        for status in ("ok", "rough"):
            for correlated, how in ((False, "independent"), (True, "correlated")):
                some = rows[(rows.what == what) & (rows.status == status) & (rows.correlated == correlated) & (rows.fault == "")]
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
    unordered = (orders.truth < EPS) | (orders.trained < EPS)
    yield "false ordered: said at a true margin below 0.01", int(((orders.word == "ordered") & unordered).sum()), int(unordered.sum()), ""
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
    yield "said dead or copy at a true gain below 0.005 (power)", int((gone & (verdicts.truth < EPS / 2)).sum()), \
        int((verdicts.truth < EPS / 2).sum()), ""
    clear = (orders.truth > WEAK) & (orders.trained > WEAK)
    yield "said ordered at true margins above 0.05 (power)", int(((orders.word == "ordered") & clear).sum()), int(clear.sum()), ""


def tables(rows: pd.DataFrame) -> str:
    """The result as Markdown."""
    rows = rows.assign(fault=rows.fault.fillna(""))
    networks = rows[(rows.fault == "")].drop_duplicates(["cell", "correlated", "variant", "replicate"])
    out = [f"{len(networks)} trained networks, {len(rows)} rows.", "",
           "| interval (nominal 0.90) | frames | status | intervals | coverage | lower 95 % limit |", "| --- | --- | --- | --- | --- | --- |",
           *_coverage(rows), "", "| rate | seen | rate | 95 % limit | asked |", "| --- | --- | --- | --- | --- |"]
    for name, seen, n, asked in _rates(rows):
        if n:
            limit = f"at most {upper(seen, n):.3f}" if asked.startswith("most") or "false" in name else f"at least {lower(seen, n):.3f}"
            wanted = f"at {asked}" if asked else ""
            out.append(f"| {name} | {seen} of {n} | {seen / n:.3f} | {limit} | {wanted} |")
    out += ["", "| data | variant | right n | refitted less trained FVE, mean, worst | seconds a network |",
            "| --- | --- | --- | --- | --- |"]
    for (cell, variant), some in rows[rows.fault == ""].groupby(["cell", "variant"], sort=False):
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
    head, tail = page[:page.index(begin) + len(begin)], page[page.index(end):]
    docs.write_text(f"{head}\n{tables(pd.read_csv(csv))}\n{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("--csv", type=Path, default=Path("calibration.csv"))
    parser.add_argument("--replicates", type=int, default=34)
    parser.add_argument("--docs", type=Path, default=Path("docs/calibration.md"))
    given = parser.parse_args()
    if given.action == "run":
        run(given.csv, given.replicates)
    else:
        write_table(given.csv, given.docs)


if __name__ == "__main__":
    main()
