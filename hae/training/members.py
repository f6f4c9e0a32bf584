"""Members: several networks from several seeds, trained in one stack where they can be, one after another where not."""

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.loop import TrainingHistory, train
from hae.training.rows import RowSource
from hae.training.schedule import Settings

__all__ = ["Members", "member_seeds", "train_members"]


def member_seeds(random_state, n: int) -> list[int]:
    """n seeds from a whole number, None or a RandomState; the first of them do not depend on how many follow.

    Example:
        >>> member_seeds(0, 2) == member_seeds(0, 4)[:2]
        True
    """
    if not isinstance(random_state, numbers.Integral):
        from sklearn.utils import check_random_state  # takes a second to import

        random_state = check_random_state(random_state).randint(2**31)
    return [int(seed) for seed in np.random.SeedSequence(int(random_state)).generate_state(n)]


@dataclass(frozen=True)
class Members:
    """Trained networks on the CPU, best validation loss first, and what training told, as in `hae.training.loop.TrainingHistory`.

    Example:
        >>> from hae.training.rows import Rows
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> build = lambda members: HierarchicalNetwork.mlp(3, ["linear"], hidden=(4,), members=members)
        >>> members = train_members(build, Rows(x, x), None, Objective(), Settings(max_epochs=2), seeds=[0, 1])
        >>> len(members.networks), members.loss == sorted(members.loss)
        (2, True)
    """

    networks: list[HierarchicalNetwork]
    loss: list[float]
    best_epoch: list[int]
    rows: list[dict]


class _Single(nn.Module):
    """A network without the axis of members, as a stack of one."""

    def __init__(self, network: HierarchicalNetwork):
        super().__init__()
        self.network = network

    def standardised_levels(self, x: Tensor) -> Tensor:
        return self.network.standardised_levels(x[0])[None]

    def steepness(self, x: Tensor) -> Tensor:
        return self.network.steepness(x[0])[None]


def train_members(
    build: Callable[[int | None], HierarchicalNetwork],
    data: RowSource,
    validation: RowSource | None,
    objective: Objective,
    settings: Settings,
    seeds: Sequence[int],
    *,
    checkpoint: Path | None = None,
    progress: str | None = None,
    on_epoch: Callable[[list[dict]], None] | None = None,
    **options,
) -> Members:
    """Train one network for each seed.

    ``build(M)`` gives a stack of M networks of the default kind; ``build(None)`` gives one of one's own modules, whose random numbers come
    from the member's seed. Other arguments: see `hae.training.loop.train`.
    """
    with torch.random.fork_rng(devices=[]):
        network = build(len(seeds))
    if network.spec is not None:
        for m, seed in enumerate(seeds):
            network.reset(seed, m)
        history = train(
            network.to(data.inputs),
            data,
            validation,
            objective,
            settings,
            seeds,
            checkpoint=checkpoint,
            progress=progress,
            on_epoch=on_epoch,
            **options,
        )
        return _sorted([network.member(m) for m in range(len(seeds))], history)
    networks, whole = [], TrainingHistory()
    for m, seed in enumerate(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(None).to(data.inputs)

        def renumbered(rows, m=m):
            for row in rows:
                row["member"] = m
            if on_epoch is not None:
                on_epoch(rows)

        history = train(
            _Single(network),
            data,
            validation,
            objective,
            settings,
            [seed],
            on_epoch=renumbered,
            checkpoint=None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-{m}.pt"),
            progress=progress and f"{progress}, member {m}",
            **options,
        )
        networks.append(network)
        for name in ("rows", "best_loss", "best_epoch", "stopped"):
            getattr(whole, name).extend(getattr(history, name))
    return _sorted(networks, whole)


def _sorted(networks: list[HierarchicalNetwork], history: TrainingHistory) -> Members:
    order = np.argsort(history.best_loss, kind="stable")
    return Members(
        [networks[i].cpu().eval().requires_grad_(False) for i in order],
        [history.best_loss[i] for i in order],
        [history.best_epoch[i] for i in order],
        history.rows,
    )
