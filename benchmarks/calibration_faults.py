"""How often the importance report is right: coverage of its intervals and error rates of its verdicts on data of known truth.

    python -m benchmarks.calibration_faults run [--csv FILE] [--replicates 34]     (goes on where it stopped)
    python -m benchmarks.calibration_faults table [--csv FILE] [--docs docs/calibration.md]

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
from tqdm import tqdm

from benchmarks.calibration_table import write_table
from benchmarks.generated import CELLS, Cell, Walk
from hae.importance.assess import Measured, assess
from hae.importance.contributions import contributions, feature_errors
from hae.importance.decoders import RefitSettings
from hae.importance.intervals import Sampling
from hae.importance.refits import EncodedRows, refit_members
from hae.importance.report import ImportanceReport
from hae.network.hierarchy import VARIANTS, HierarchicalNetwork
from hae.network.scoring import FrameErrors, score_frames
from hae.training.baselines import principal_components

N_TRAIN, N_POPULATION = 4000, 8000
N_TEST = {False: 2000, True: 4000}  # independent, correlated: both are worth 200 independent frames and more
N_SHORT = {False: 150, True: 1500}  # their first frames alone: many are worth 100 to 200
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


def plant(fault: str, cvs: EncodedRows, replacement, k: int) -> EncodedRows:
    """The first two CVs with a fault: exchanged, or CV k (from 0) replaced by noise, or by a function of the CV before it."""
    kinds, sides = list(cvs.kinds[:2]), [cvs.train[:, :2].copy(), cvs.test[:, :2].copy()]
    for side, noise in zip(sides, replacement(kinds[k]), strict=True):
        if fault == "swapped":
            side[:, [0, 1]] = side[:, [1, 0]]
        elif fault == "noise":
            side[:, k] = noise
        elif kinds[k] == "circular":
            side[:, k] = np.angle(np.exp(1j * (1.0 - side[:, k - 1])))
        else:
            side[:, k] = np.sinh(side[:, k - 1] / cvs.train[:, k - 1].std())
    train, evaluated = sides
    return EncodedRows(train, evaluated, tuple(reversed(kinds) if fault == "swapped" else kinds))


def judge(name, cell, correlated, variant, first, fault, cvs, data, scores, train_fve, at) -> list[dict]:
    """Rows of one stack: refits of all its networks, their verdicts, and the truth of each."""
    start = time.perf_counter()
    n_test, short = N_TEST[correlated], slice(0, N_SHORT[correlated])
    refits = refit_members(
        cvs,
        VARIANTS[variant],
        [sides[0][1] for sides in data],
        [np.concatenate([sides[1][1], sides[2][1]]) for sides in data],
        None if fault else scores,  # planted CVs have no trained decoders
        [None] * len(data),
        Sampling.of(n_test + N_POPULATION, weights=np.repeat([1.0, 0.0], [n_test, N_POPULATION])),  # refits may lag on the test frames
        RefitSettings(),
    )
    seconds = (time.perf_counter() - start) / len(data)
    rows = []
    series = {part.stop: Sampling.of(part.stop, np.full(part.stop, "walk"), np.arange(part.stop)) for part in (slice(n_test), short)}
    new, many = slice(0, n_test), slice(n_test, None)
    for m, (its_cvs, score, r) in enumerate(zip(cvs, scores, refits, strict=True)):
        cut = lambda part, r=r: type(r)(r.prefix[:, part], r.swapped[:, part], r.innovation[:, part])  # noqa: E731

        def said_of(part, its_cvs=its_cvs, score=score, cut=cut, m=m):
            errors, own = FrameErrors(score.e[:, part], score.v[part]), EncodedRows(its_cvs.train, its_cvs.test[part], its_cvs.kinds)
            return assess(Measured(own, errors, cut(part), train_fve[m]), series[part.stop], None, variant)

        population, whole = cut(many), FrameErrors(score.e[:, many], score.v[many])
        total = whole.v.mean()
        truths = {
            "fve": whole.fve,
            "gain": whole.gains,
            "info_gain": -np.diff(population.prefix.mean(1), prepend=total) / total,
            "raw": (population.swapped.mean(1) - population.prefix[:-1].mean(1)) / total,
            "innovation": (population.innovation.mean(1) - population.prefix[:-1].mean(1)) / total,
        }
        about = {
            "cell": name,
            "correlated": correlated,
            "variant": variant,
            "replicate": first + m,
            "fault": fault,
            "at": at[m] + 1 if fault else 0,
            "seconds": round(seconds, 3),
        }
        rows += said_and_true(said_of(new), truths, {**about, "length": "whole"}, cell.n)
        if not fault:
            rows += [row for row in said_and_true(said_of(short), truths, {**about, "length": "short"}, cell.n) if row["status"] == "rough"]
    return rows


def said_and_true(report: ImportanceReport, truths: dict[str, np.ndarray], about: dict, n: int) -> list[dict]:
    """Rows of what a report says, each with the truth: figures, verdicts, orders, the number of CVs."""
    rows = []
    for k, cv in enumerate(report.cvs):
        own = {**about, "level": cv.cv, "status": cv.status}
        for figure in ("info_gain",) if about["fault"] else ("fve", "gain", "info_gain"):
            said = {bound.strip("_") or "said": getattr(cv, f"{figure}{bound}") for bound in ("", "_low", "_high")}
            rows.append({**own, "what": figure, **said, "truth": truths[figure][k], "n_eff": cv.n_eff})
        rows.append({**own, "what": "verdict", "word": cv.verdict, "truth": truths["info_gain"][k], "trained": truths["gain"][k]})
        if k < len(report.cvs) - 1:
            rows.append({**own, "what": "order", "word": cv.order, "truth": truths["raw"][k], "trained": truths["innovation"][k]})
    return [*rows, {**about, "what": "n", "level": 0, "said": report.n, "truth": n, "status": report.status}]


def by_feature(network, x, y, n_test: int, about: dict, statuses: list[str]) -> list[dict]:
    """Rows of the gains by feature, with what they are on the population; x, y: of test frames, then of the population's."""
    said, truth = (
        contributions(feature_errors(network, x[part], Sampling.of(len(x[part])), y[part]), range(y.shape[1]), None, [True] * len(statuses))
        for part in (slice(0, n_test), slice(n_test, None))
    )
    return [
        {**about, "what": "by feature", "level": k + 1, "said": said.gain[k][j], "low": said.low[k][j], "high": said.high[k][j],
         "truth": truth.gain[k][j], "status": status}
        for k, status in enumerate(statuses)
        for j in range(y.shape[1])
    ]


def run_unit(name: str, correlated: bool, variant: str, first: int, count: int) -> pd.DataFrame:
    cell, number = CELLS[name], list(CELLS).index(name)
    seed = [number, int(correlated), first]
    start = time.perf_counter()
    data = [draw(cell, correlated, [*seed, m]) for m in range(count)]
    if cell.linear:
        networks = [principal_components(train[0], len(cell.cv), "none") for train, _, _ in data]
    else:
        networks = train_stack(cell, variant, data, 100 * number + 10 * correlated + first)
    training = (time.perf_counter() - start) / count
    cvs, scores, train_fve = [], [], []
    for network, (train, test, many) in zip(networks, data, strict=True):
        x, y = np.concatenate([test[0], many[0]]), np.concatenate([test[1], many[1]])
        cvs.append(EncodedRows(network.encode(torch.tensor(train[0])).numpy(), network.encode(torch.tensor(x)).numpy(), cell.cv))
        scores.append(score_frames(network, x, y))
        train_fve.append(score_frames(network, *train).fve)
    rows = judge(name, cell, correlated, variant, first, "", cvs, data, scores, train_fve, None)
    for m, (network, (_, test, many)) in enumerate(zip(networks, data, strict=True)):
        x, y = np.concatenate([test[0], many[0]]), np.concatenate([test[1], many[1]])
        its = [row for row in rows if row["what"] == "verdict" and row["replicate"] == first + m and row["length"] == "whole"]
        about = {name: its[0][name] for name in ("cell", "correlated", "variant", "replicate", "fault", "at", "length")}
        rows += by_feature(network, x, y, N_TEST[correlated], about, [row["status"] for row in its])
    if not cell.equal and cell.n > 1:
        rng = np.random.default_rng([*seed, 99])

        def walk_new(kind):
            walks = Walk(N_TRAIN, correlated, rng), Walk(N_TEST[correlated], correlated, rng), Walk(N_POPULATION, False, rng)
            train, test, many = [walk.angle() if kind == "circular" else walk.normal() for walk in walks]
            return train, np.concatenate([test, many])

        for fault in FAULTS:  # one a network, at the first two CVs: their gains are known, and large
            chosen = [m for m in range(count) if FAULTS[(m + first) % 3] == fault]
            k = 0 if fault == "swapped" else 1
            faulty = [plant(fault, cvs[m], walk_new, k) for m in chosen]
            first_two = [FrameErrors(scores[m].e[:2], scores[m].v) for m in chosen]
            at, own = [k] * len(chosen), [data[m] for m in chosen]
            rows += judge(name, cell, correlated, variant, first, fault, faulty, own, first_two, [train_fve[m] for m in chosen], at)
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
        cell, correlated, variant, first = unit
        rows = run_unit(cell, correlated, variant, first, min(STACK, replicates - first)).assign(first=first)
        rows = rows.reindex(columns=COLUMNS)
        rows.to_csv(csv, mode="a", header=not csv.exists(), index=False, float_format="%.6g")


COLUMNS = [
    "cell",
    "correlated",
    "variant",
    "first",
    "replicate",
    "fault",
    "at",
    "length",
    "what",
    "level",
    "said",
    "low",
    "high",
    "word",
    "truth",
    "trained",
    "n_eff",
    "status",
    "seconds",
    "training_seconds",
]


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
