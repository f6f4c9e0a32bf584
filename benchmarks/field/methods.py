"""The methods of the table. Each is fitted with a setting, and then gives CVs and levels of any rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from sklearn.decomposition import PCA, FastICA, KernelPCA

from benchmarks.field import losses
from benchmarks.field.data import Sides
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import train
from hae.training.rows import Rows
from hae.training.schedule import Schedule, Settings

__all__ = ["METHODS", "Fitted", "Method"]

HIDDEN, BATCH = (64, 64), 256
RATES = (2e-3, 5e-3, 1e-2)
EPOCHS = (20, 4000)  # at least, at most
KERNEL_ROWS = 1500  # kernel PCA's time grows with their cube


class Fitted(Protocol):
    """cvs: rows (N, D) -> (N, n). levels: rows (N, D) -> (n, N, D), of NaN where a method has no such level."""

    def cvs(self, x: np.ndarray) -> np.ndarray: ...
    def levels(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Method:
    """fit(sides, n, seed, setting, seconds): seconds of CPU a training may take. settings: of which validation rows choose one."""

    fit: Callable[[Sides, int, int, float, float], Fitted]
    settings: tuple[float, ...]
    random: bool = True


@dataclass
class Linear:
    """mean + sum_k s_k a_k, with s = (x - mean) W."""

    mean: np.ndarray
    read: np.ndarray  # (D, n)
    write: np.ndarray  # (n, D)

    def cvs(self, x):
        return (x - self.mean) @ self.read

    def levels(self, x):
        return self.mean + np.cumsum(self.cvs(x).T[:, :, None] * self.write[:, None, :], axis=0)


def pca(sides: Sides, n, seed, setting, seconds) -> Fitted:
    found = PCA(n).fit(sides.train.astype(float))
    return Linear(found.mean_, found.components_.T, found.components_)


def ica(sides: Sides, n, seed, setting, seconds) -> Fitted:
    """Independent components have no order; the longest column of the mixing matrix comes first. In float32 scikit-learn's whitening loses
    directions of data that are not of full rank, so float64."""
    found = FastICA(n, random_state=seed, max_iter=2000, tol=1e-3).fit(sides.train.astype(float))
    order = np.argsort(-np.linalg.norm(found.mixing_, axis=0))
    return Linear(found.mean_, found.components_[order].T, found.mixing_.T[order])


@dataclass
class Kernel:
    """Kernel PCA, the inverse of each number of components by ridge regression, as scikit-learn has it."""

    parts: list[KernelPCA]

    def cvs(self, x):
        return self.parts[-1].transform(x)

    def levels(self, x):
        return np.stack([part.inverse_transform(part.transform(x)) for part in self.parts])


def kernel_pca(sides: Sides, n, seed, setting, seconds) -> Fitted:
    rows = sides.train[np.random.default_rng(seed).permutation(len(sides.train))[:KERNEL_ROWS]].astype(float)
    gamma = setting / rows.shape[1]
    return Kernel([
        KernelPCA(k, kernel="rbf", gamma=gamma, fit_inverse_transform=True, alpha=1e-2, eigen_solver="arpack", random_state=seed).fit(rows)
        for k in range(1, n + 1)
    ])


@dataclass
class Hierarchy:
    network: HierarchicalNetwork

    @torch.no_grad()
    def cvs(self, x):
        return self.network.coordinates(torch.from_numpy(x)[None])[0].numpy()

    @torch.no_grad()
    def levels(self, x):
        return self.network.standardised_levels(torch.from_numpy(x)[None])[0].numpy()


def ours(variant: str, linear_path: bool = False):
    def fit(sides: Sides, n, seed, setting, seconds) -> Fitted:
        rows, validation = (Rows(x, x) for x in map(torch.from_numpy, (sides.train, sides.validation)))

        def trained(epochs: int) -> HierarchicalNetwork:
            network = HierarchicalNetwork.mlp(
                sides.train.shape[1], ["linear"] * n, variant, HIDDEN, members=1, linear_path=linear_path
            )
            network.reset(seed, 0)
            network.start_path(rows.inputs)
            train(network, rows, validation, Objective(), Settings(BATCH, epochs, None, setting), [seed])
            return network

        return Hierarchy(trained(_epochs(trained, seconds)))

    return fit


def _epochs(run: Callable[[int], object], seconds: float) -> int:
    """As many epochs as fit: from the CPU time of a few, after one that pays for what is done once."""
    run(1)
    start = time.process_time()
    run(4)
    return int(np.clip(4 * seconds / (time.process_time() - start), *EPOCHS))


@dataclass
class Ordered:
    """One encoder, one decoder: level k is what is decoded with later codes at rest. mean: (n,) where they rest; order: of the codes."""

    network: losses.Autoencoder
    rest: torch.Tensor
    order: torch.Tensor
    last_only: bool = False

    @torch.no_grad()
    def cvs(self, x):
        return self.network.encoder(torch.from_numpy(x))[:, self.order].numpy()

    @torch.no_grad()
    def levels(self, x):
        z, made = self.network.encoder(torch.from_numpy(x)), []
        for k in range(1, len(self.order) + 1):
            kept = torch.zeros(len(self.order)).index_fill(0, self.order[:k], 1)
            level = self.network.decode(z * kept + self.rest * (1 - kept)).numpy()
            made.append(np.full_like(level, np.nan) if self.last_only and k < len(self.order) else level)
        return np.stack(made)


def _trained(sides: Sides, n: int, seed: int, rate: float, seconds: float, loss: losses.Loss, weight: float, lipschitz: bool):
    """The schedule, batches and choice of the best epoch are those of our own training; a loss that draws numbers is judged by its mean."""
    judge = losses.hierarchical if loss is losses.nested_dropout else loss
    x, held_out = torch.from_numpy(sides.train), torch.from_numpy(sides.validation)

    def run(epochs: int) -> losses.Autoencoder:
        torch.manual_seed(seed)
        network = losses.Autoencoder(x.shape[1], n, HIDDEN, lipschitz)
        schedule = Schedule.of(Settings(BATCH, epochs, None, rate), len(x), [seed])
        optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad])
        best, kept, rates = float("inf"), network.state_dict(), iter(schedule.rates)
        for _ in range(schedule.epochs):
            for rows in torch.randperm(len(x)).split(schedule.batch_size)[: schedule.steps]:
                for group in optimiser.param_groups:
                    group["lr"] = next(rates)
                optimiser.zero_grad()
                loss(network, x[rows], network.encoder(x[rows]), weight).backward()
                optimiser.step()
            with torch.no_grad():
                now = float(judge(network.eval(), held_out, network.encoder(held_out), weight))
                network.train()
            if now < best:
                best, kept = now, {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(kept)
        return network.eval()

    return run(_epochs(run, seconds))


def shared(loss: losses.Loss, rate: float | None = None, weight: float = 0, lipschitz=False, rests=False, sorts=False, last_only=False):
    """One encoder and decoder under a loss. rate, weight: what the setting is not. rests: later codes rest at their mean, not at 0;
    sorts: by their variance."""

    def fit(sides: Sides, n, seed, setting, seconds) -> Fitted:
        peak, amount = (setting, weight) if rate is None else (rate, setting)
        network = _trained(sides, n, seed, peak, seconds, loss, amount, lipschitz)
        with torch.no_grad():
            z = network.encoder(torch.from_numpy(sides.train))
        rest = z.mean(0) if rests else torch.zeros(n)
        order = z.var(0).argsort(descending=True) if sorts else torch.arange(n)
        return Ordered(network, rest, order, last_only)

    return fit


@dataclass
class Separate:
    """An autoencoder for each level: nothing is nested, and so no order is asked of the codes."""

    parts: list[Ordered] = field(default_factory=list)

    def cvs(self, x):
        return self.parts[-1].cvs(x)

    def levels(self, x):
        return np.stack([part.levels(x)[-1] for part in self.parts])


def separate(sides: Sides, n, seed, setting, seconds) -> Fitted:
    one = shared(losses.plain, last_only=True)
    return Separate([one(sides, k, seed, setting, seconds / n) for k in range(1, n + 1)])  # type: ignore[misc]


# The setting is the rate of learning where nothing else is said.
METHODS = {
    "PCA": Method(pca, (0,), random=False),
    "FastICA": Method(ica, (0,)),
    "kernel PCA": Method(kernel_pca, (0.3, 1, 3)),  # gamma times D
    "plain autoencoder": Method(shared(losses.plain, last_only=True), RATES),
    "a plain one for each level": Method(separate, RATES),
    "hierarchical NLPCA": Method(shared(losses.hierarchical), RATES),
    "nested dropout": Method(shared(losses.nested_dropout, 5e-3), (0.1, 0.3, 0.6)),  # p of the geometric law
    "Least Volume": Method(shared(losses.least_volume, 5e-3, lipschitz=True, rests=True, sorts=True), (3e-4, 3e-3, 3e-2)),  # the weight
    "POLCA": Method(shared(losses.polca, 5e-3, rests=True), (1e-2, 1e-1, 1)),  # the weight
    "hae collective": Method(ours("collective"), RATES),
    "hae boosted": Method(ours("boosted"), RATES),
}
