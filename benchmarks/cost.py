"""What a job will cost, on paper, for one's own numbers: hours of prepare and of training, and what bounds them.

    python -m benchmarks.cost --rows 1e9 --features 1000 --hidden 1024 --cvs 8 --workers 8 --flops 3e13 --disk 2e9 --network 1.25e10
    python -m benchmarks.cost --check     # the model beside the measured points of docs/benchmarks.md

Assumptions, each of which is a number above: a multiplication and an addition are two FLOP, backward costs twice forward, and the decoder
is run once a level (collective); rows are float32 and read once an epoch, from a disk of each worker's own or from one store for all;
gradients go round a ring (2 (K-1)/K of the parameters a worker and step), while nothing is computed; reading goes on meanwhile. A step
costs some time whatever its size. Members share what is read and not what is computed.
"""

import argparse
import re
from dataclasses import dataclass, fields
from itertools import pairwise

from benchmarks.sections import DOCS, table

MEASURED = re.compile(r"\| (N|D|n|members): ([\d, ]+) \| collective \| ([\d, ]+) \|")


@dataclass(frozen=True)
class Job:
    """The numbers. Rates are a second: FLOP of a worker, bytes of its disk, of the store (0: none, shards are local) and of its network."""

    rows: float = 1e9
    features: int = 1000
    cvs: int = 8
    hidden: tuple[int, ...] = (1024,)
    batch: int = 32_768  # rows of a worker in a step
    epochs: int = 100
    members: int = 1
    workers: int = 8
    flops: float = 3e13
    disk: float = 2e9
    store: float = 0.0
    network: float = 1.25e10
    step: float = 3.6e-4  # seconds of a step beside its FLOP
    prepared: float = 40_000.0  # frames a second and core
    cores: int = 64

    @property
    def parameters(self) -> int:
        """Of encoder and decoder, weights alone."""
        widths = (self.features, *self.hidden, self.cvs)
        return 2 * sum(a * b for a, b in pairwise(widths))

    @property
    def row_flops(self) -> float:
        """Forward and backward, of one row and member."""
        return 3 * 2 * (self.parameters / 2) * (1 + self.cvs)

    def epoch(self) -> dict[str, float]:
        """Seconds of an epoch by what they are spent on."""
        steps = self.rows / (self.batch * self.workers)
        size = 4 * self.rows * self.features
        return {
            "FLOP": self.members * self.rows * self.row_flops / (self.workers * self.flops),
            "steps": steps * self.step,
            "reading": size / self.store if self.store else size / (self.workers * self.disk),
            "gradients": self.members * steps * 2 * (self.workers - 1) / self.workers * 4 * self.parameters / self.network,
        }

    def seconds(self) -> float:
        """Of an epoch: reading goes on while the rest does."""
        parts = self.epoch()
        return max(parts["reading"], parts["FLOP"] + parts["steps"] + parts["gradients"])

    def told(self) -> str:
        parts = self.epoch()
        busy = parts["FLOP"] / (parts["FLOP"] + parts["steps"] + parts["gradients"])
        bound = "reading" if parts["reading"] >= self.seconds() else max(("FLOP", "steps", "gradients"), key=parts.__getitem__)
        rows = [
            ["prepare, hours", f"{self.rows / (self.prepared * self.cores) / 3600:.2f}"],
            ["an epoch, minutes", f"{self.seconds() / 60:.2f}"],
            *([f"of it {name}, minutes", f"{value / 60:.2f}"] for name, value in parts.items()),
            [f"{self.epochs} epochs, hours", f"{self.epochs * self.seconds() / 3600:.1f}"],
            ["workers busy, of the time that is not reading", f"{busy:.0%}"],
            ["bound by", bound],
            ["data, TB", f"{4 * self.rows * self.features / 1e12:.3g}"],
            ["parameters", f"{self.parameters:.3g}"],
        ]
        return table(["", ""], rows)


def check() -> str:
    """The model with one core's 5e10 FLOP/s beside the sweeps of `benchmarks.growth`, and the largest factor between them."""
    rows, worst = [], 1.0
    for name, sizes, told in MEASURED.findall(DOCS.read_text(encoding="utf-8")):
        for size, measured in zip(re.findall(r"\d[\d,]*", sizes.replace(", ", " ")), told.split(", ")):
            value = int(size.replace(",", ""))
            about = {"rows": 10_000, "features": 30, "cvs": 3, "members": 1}
            about[{"N": "rows", "D": "features", "n": "cvs"}.get(name, name)] = value
            job = Job(**about, hidden=(40, 40), batch=512, workers=1, flops=5e10, disk=float("inf"), network=float("inf"))
            model = 1e3 * job.seconds()
            factor = max(model / float(measured), float(measured) / model)
            worst = max(worst, factor)
            rows.append([f"{name} {size}", measured, f"{model:.0f}", f"{factor:.2f}"])
    return f"{table(['sweep', 'measured, CPU ms', 'model, ms', 'factor'], rows)}\n\nlargest factor: {worst:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="the model beside the measured points")
    for field in fields(Job):
        if field.name == "hidden":
            parser.add_argument("--hidden", type=lambda text: tuple(map(int, text.split("-"))), default=field.default, help="such as 64-64")
        else:
            kind = int if isinstance(field.default, int) else float
            parser.add_argument(f"--{field.name}", type=lambda text, kind=kind: kind(float(text)), default=field.default)
    given = vars(parser.parse_args())
    print(check() if given.pop("check") else Job(**given).told())


if __name__ == "__main__":
    main()
