"""How often the importance report is right on hard data, such as tails, weights, rare states, walkers that stay, and on easy data beside.

    python -m benchmarks.calibration --kind NAME [NAME ...] --draws N [--networks M] [--first F] [--variant V] [--exact] [--folder DIR]
    python -m benchmarks.calibration [--folder DIR] [--docs docs/calibration.md]

Every network is trained on the training blocks of a source of its own and judged as the pipeline does it: on the test blocks, with all rows
of the source seen. Further draws put fresh frames in the place of all but the training blocks. The truth about a network and its refitted
decoders is their figure on 60,000 fresh frames of the population. What was measured frame by frame is kept, a file a network: a run goes
on where it stopped, and rules can be tried on old networks. Then all files of the folder are judged, and the tables printed.
--exact: principal components and no refits, which is quick; FVE and gain alone are judged.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.calibration_pages import write_page
from benchmarks.generated import KINDS, Kind
from hae import HierarchicalAutoencoder
from hae.data.split import split_rows
from hae.files import written_whole
from hae.importance.assess import Measured, assess
from hae.importance.decoders import RefitSettings
from hae.importance.intervals import STATUSES, Estimate, Sampling, status_of
from hae.importance.refits import EncodedRows, Refits, refit_members
from hae.importance.report import ImportanceReport
from hae.network.hierarchy import VARIANTS, HierarchicalNetwork
from hae.network.scoring import FrameErrors, encode, score_frames
from hae.scores import NormalScores
from hae.training.baselines import principal_components
from hae.training.pairs import Pairs

POPULATION = 60_000
SPLIT = {"block_frames": 100, "gap_frames": 10, "shares": (0.45, 0.15, 0.4)}
TRAINING = {"hidden": (32, 32), "n_seeds": 1, "batch_size": 128, "max_epochs": 25, "patience": None, "learning_rate": 1e-2, "device": "cpu"}
COLUMNS = [
    *("kind", "variant", "exact", "network", "draw", "few", "apart", "level", "status", "n_eff", "events", "plain_status"),
    *("what", "said", "low", "high", "truth", "plain_width", "word", "trained"),
]


def trained(kind: Kind, variant: str, source: Pairs, split: np.ndarray, seed: int, exact: bool) -> HierarchicalNetwork:
    if exact or kind.linear:
        return principal_components(source.inputs[split == "train"], len(kind.cv), "none")
    model = HierarchicalAutoencoder(
        len(kind.cv), variant=variant, cv=list(kind.cv), scale=kind.scale, smooth=kind.smooth, random_state=seed, **TRAINING
    )
    model.fit(
        source.inputs,
        groups=source.trajectory if kind.correlated else None,
        frame=source.frame if kind.correlated else None,
        split=split,
        target=None if source.targets is source.inputs else source.targets,
        sample_weight=source.weights,
    )
    return model.network_


def sources(kind: Kind, first: Pairs, train: np.ndarray, draws: int, rng: np.random.Generator) -> Iterator[Pairs]:
    """The source itself, then with fresh frames in the place of all but the training blocks (not of walkers, which stay the same ones)."""
    yield first
    for _ in range(0 if kind.apart else draws - 1):
        fresh = kind.source(rng)
        mixed = [None if a is None else np.where(train if a.ndim == 1 else train[:, None], a, b)
                 for a, b in ((first.inputs, fresh.inputs), (first.targets, fresh.targets), (first.weights, fresh.weights))]  # fmt: skip
        yield replace(first, inputs=mixed[0], targets=mixed[0] if first.targets is first.inputs else mixed[1], weights=mixed[2])


def measure(name: str, variant: str, number: int, draws: int, exact: bool) -> dict[str, np.ndarray]:
    """Train one network of a kind and measure it on all draws, frame by frame, and on the population."""
    kind = KINDS[name]
    rng = np.random.default_rng([*name.encode(), number])
    first = kind.source(rng)
    split = split_rows(first.trajectory, first.frame, values=first.inputs, **SPLIT)
    population, seen = kind.population(POPULATION, rng), list(sources(kind, first, split == "train", draws, rng))
    if kind.scores:
        to = NormalScores().fit(first.inputs[split == "train"])
        first, *seen, population = [Pairs(X := to.transform(rows.inputs), X, rows.weights, rows.trajectory, rows.frame)
                                    for rows in (first, *seen, population)]  # fmt: skip
    network, train = trained(kind, variant, first, split, number, exact), first.take(np.flatnonzero(split == "train"))
    tests = [rows.take(np.flatnonzero(split == "test")) for rows in seen]
    of = lambda rows: score_frames(network, rows.inputs, rows.targets, None, rows.weights)  # noqa: E731
    cvs, errors, whole = [encode(network, rows.inputs) for rows in (train, *tests, population)], [of(rows) for rows in seen], of(population)
    if exact:
        refits = [Refits(found.e, found.e[:-1], found.e[:-1]) for found in (*map(of, tests), whole)]
    else:
        refits = refits_at(network, cvs, train, [*tests, population], of(tests[0]))
    single = {
        "train_cvs": cvs[0],
        "cvs": np.stack(cvs[1:-1]),
        "e": np.stack([found.e for found in errors]),
        "v": np.stack([found.v for found in errors]),
        **{part: np.stack([getattr(found, part) for found in refits[:-1]]) for part in ("prefix", "swapped", "innovation")},
    }
    if first.weights is not None:
        single["weights"] = np.stack([rows.weights for rows in seen])
    return {
        **{part: values.astype(np.float32) for part, values in single.items()},
        **{f"true {what}": truth for what, truth in truths_of(whole, refits[-1]).items()},
        "train_fve": of(train).fve,
        "test": split == "test",
        "trajectory": first.trajectory,
        "frame": first.frame,
    }


def judge(name: str, variant: str, number: int, exact: bool, found: dict[str, np.ndarray]) -> list[dict]:
    """Rows of the reports on all draws of one network, each with the truth."""
    kind, rows, test = KINDS[name], [], found["test"]
    truths = {what.removeprefix("true "): truth for what, truth in found.items() if what.startswith("true ")}
    doubles = {part: found[part].astype(float) for part in ("train_cvs", "cvs", "e", "v", "prefix", "swapped", "innovation")}
    for draw, (cvs, e, v, *refits) in enumerate(zip(*(doubles[part] for part in list(doubles)[1:]), strict=True)):
        weights = found["weights"][draw].astype(float) if "weights" in found else np.ones(len(v))
        of_test = [a[test] for a in (found["trajectory"], found["frame"], weights)]
        sampling, around = Sampling.of(test.sum(), *of_test), Sampling.of(len(v), found["trajectory"], found["frame"], weights)
        own, its_refits = FrameErrors(e[:, test], v[test], weights[test]), Refits(*refits)
        measured = Measured(EncodedRows(doubles["train_cvs"], cvs, kind.cv), own, its_refits, found["train_fve"])
        blocks = set(zip(of_test[0].tolist(), (of_test[1] // SPLIT["block_frames"]).tolist(), strict=True))
        n_blocks = len(blocks) if kind.correlated else None
        report = assess(measured, sampling, n_blocks, variant, seen=(FrameErrors(e, v, weights), around))
        about = {"kind": name, "variant": variant, "exact": exact, "network": number, "draw": draw}
        about |= {"few": report.few, "apart": report.apart}
        rows += said_and_true(report, truths, plain(own, its_refits, sampling, n_blocks), about, kind.n)
    return rows


def refits_at(network, cvs: list[np.ndarray], train: Pairs, sides: list[Pairs], trained_errors: FrameErrors) -> list[Refits]:
    """The same refitted decoders at every side; whether they lag behind is seen on the first."""
    mean, scale = (getattr(network, name).double().numpy() for name in ("output_mean", "output_scale"))
    lengths = [len(rows) for rows in sides]
    stop = np.cumsum([0, *lengths])
    padded = lambda x: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, stop[-1] - lengths[0])])  # noqa: E731
    first = np.ones(lengths[0]) if sides[0].weights is None else sides[0].weights
    (found,) = refit_members(
        [EncodedRows(cvs[0], np.concatenate(cvs[1:]), tuple(network.bottleneck.kinds))],
        type(network.decoder),
        [(train.targets - mean) / scale],
        [(np.concatenate([rows.targets for rows in sides]) - mean) / scale],
        [FrameErrors(padded(trained_errors.e), padded(trained_errors.v))],
        [train.weights],
        Sampling.of(int(stop[-1]), weights=padded(first)),
        RefitSettings(),
    )
    cuts = [slice(a, b) for a, b in pairwise(stop)]
    return [Refits(found.prefix[:, cut], found.swapped[:, cut], found.innovation[:, cut]) for cut in cuts]


def truths_of(whole: FrameErrors, refits: Refits) -> dict[str, np.ndarray]:
    total, prefix = whole.v.mean(), refits.prefix.mean(1)
    return {
        "fve": whole.fve,
        "gain": whole.gains,
        "info_gain": -np.diff(prefix, prepend=total) / total,
        "raw": (refits.swapped.mean(1) - prefix[:-1]) / total,
        "innovation": (refits.innovation.mean(1) - prefix[:-1]) / total,
    }


def plain(errors: FrameErrors, refits: Refits, sampling: Sampling, n_blocks: int | None) -> dict:
    """What the test frames alone would say: widths of the intervals of each figure, and the status of each level."""
    v, before = errors.v, np.concatenate([errors.v[None], errors.e[:-1]])
    refitted = np.concatenate([v[None], refits.prefix])
    width = lambda found: found.high - found.low  # noqa: E731
    fve: Estimate = sampling.ratio(v - errors.e, v)
    series = np.concatenate([v[None], errors.e, errors.e - (1 - fve.value)[:, None] * v])
    n_eff, n = sampling.n_eff(series), len(errors.e)
    least = [min(n_eff[[0, k, k + 1, n + k + 1]]) for k in range(n)]
    return {
        "fve": width(fve),
        "gain": width(sampling.ratio(before - errors.e, v)),
        "info_gain": width(sampling.ratio(-np.diff(refitted, axis=0), v)),
        "status": [status_of(x, n_blocks) for x in least],
    }


def said_and_true(report: ImportanceReport, truths: dict[str, np.ndarray], own: dict, about: dict, n: int | None) -> list[dict]:
    """Rows of what a report says, each with the truth: figures, verdicts, orders, the number of CVs."""
    rows = []
    for k, cv in enumerate(report.cvs):
        level = {**about, "level": cv.cv, "status": cv.status, "n_eff": cv.n_eff, "events": cv.events, "plain_status": own["status"][k]}
        for what in ("fve", "gain", "info_gain"):
            said = {bound.strip("_") or "said": getattr(cv, f"{what}{bound}") for bound in ("", "_low", "_high")}
            rows.append({**level, "what": what, **said, "truth": truths[what][k], "plain_width": own[what][k]})
        rows.append({**level, "what": "verdict", "word": cv.verdict, "truth": truths["info_gain"][k], "trained": truths["gain"][k]})
        if k < len(report.cvs) - 1:  # of two CVs: as sure as the less sure one
            pair = {**level, "status": max(cv.status, report.cvs[k + 1].status, key=STATUSES.index)}
            rows.append({**pair, "what": "order", "word": cv.order, "truth": truths["raw"][k], "trained": truths["innovation"][k]})
    rows = rows if not about["exact"] else [row for row in rows if row["what"] in ("fve", "gain")]
    return [*rows, {**about, "what": "n", "level": 0, "said": report.n, "truth": n, "status": report.status}]


def run(names: list[str], variant: str, networks: int, draws: int, exact: bool, folder: Path, first: int = 0) -> None:
    """Add what the folder has not yet, a file a network, numbered (and seeded) from ``first``: one of each kind before more of any."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(name, number) for number in range(first, first + networks) for name in names]
    for name, number in tqdm(wanted, unit="network"):
        path = folder / f"{name}-{'exact' if exact else variant}-{number:03d}.npz"
        if not path.exists():
            found = measure(name, variant, number, draws, exact)
            with written_whole(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, **found)


def judged(folder: Path) -> pd.DataFrame:
    """What is said of all networks of a folder, by the rules as they are now."""
    rows: list[dict] = []
    for path in tqdm(sorted(folder.glob("[!.]*.npz")), unit="network"):
        name, variant, number = path.stem.rsplit("-", 2)
        with np.load(path) as found:
            rows += judge(name, "boosted" if variant == "exact" else variant, int(number), variant == "exact", dict(found))
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = f"all, or of: {'; '.join(KINDS)}".replace("%", "%%")
    parser.add_argument("--kind", nargs="+", choices=[*KINDS, "all"], default=[], metavar="NAME", help=names)
    parser.add_argument("--draws", type=int, default=4, help="test sides a network")
    parser.add_argument("--networks", type=int, default=30, help="networks a kind")
    parser.add_argument("--first", type=int, default=0, metavar="F", help="number, and so seed, of the first network of each kind")
    parser.add_argument("--variant", choices=list(VARIANTS), default="collective")
    parser.add_argument("--exact", action="store_true", help="principal components, no refits")
    parser.add_argument("--folder", type=Path, default=Path("calibration"), help="where networks are kept")
    parser.add_argument("--docs", type=Path, help="page to write the tables into, between its marks")
    given = parser.parse_args()
    names = list(KINDS) if "all" in given.kind else given.kind
    run(names, given.variant, given.networks, given.draws, given.exact, given.folder, given.first)
    rows = judged(given.folder)
    rows.to_csv(given.folder / "rows.csv", index=False, float_format="%.6g")
    write_page(rows, given.docs)


if __name__ == "__main__":
    main()
