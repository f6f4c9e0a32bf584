"""Rows as training takes them: standardised tensors on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["RowSource", "Rows", "epoch_generator", "epoch_seed"]


def epoch_seed(seed: int, epoch: int) -> int:
    return (int(seed) * 1_000_003 + epoch) % 2**63


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of one epoch, from seed and epoch alone, so that a resumed training needs no saved state of a generator."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


class RowSource(Protocol):
    """What a training reads its rows from: `Rows` in memory, or `hae.training.stored.StoredRows` in a file.

    Example:
        >>> source: RowSource = Rows(torch.zeros(5, 2), torch.zeros(5, 2))
        >>> [chunk.inputs.shape[1] for chunk in source.chunks(size=2)]
        [2, 2, 1]
    """

    @property
    def inputs(self) -> Tensor:
        """(N, D), or (0, D) of rows that are not in memory: their type and their device."""
        ...

    def __len__(self) -> int: ...

    def batches(self, seeds: Sequence[int], epoch: int, batch_size: int) -> Iterator["Rows"]:
        """The full batches of an epoch, fields (M, B, ...); a member's order depends on its seed and the epoch alone."""
        ...

    def chunks(self, size: int) -> Iterator["Rows"]:
        """All rows in order, fields (1, size, ...)."""
        ...


@dataclass(frozen=True)
class Rows:
    """Standardised rows on the device: inputs (N, D), targets (N, D'), weights (N,) of mean 1, observed (N, D') of 0 and 1.

    Example:
        >>> x = torch.arange(8.0).view(4, 2)
        >>> rows = Rows(x, x)
        >>> [tuple(batch.inputs.shape) for batch in rows.batches(seeds=[0, 1, 2], epoch=0, batch_size=2)]  # members, rows, features
        [(3, 2, 2), (3, 2, 2)]
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Tensor) -> "Rows":
        """Rows by number, (M, B) -> fields (M, B, ...)."""

        def pick(field):  # index_select takes a third of the time of indexing
            return None if field is None else field.index_select(0, rows.flatten()).view(*rows.shape, *field.shape[1:])

        inputs = pick(self.inputs)
        targets = inputs if self.targets is self.inputs else pick(self.targets)
        return Rows(inputs, targets, pick(self.weights), pick(self.observed))

    def order(self, seeds: Sequence[int], epoch: int, batch_size: int) -> Tensor:
        """Row numbers of the batches of an epoch, (M, steps, B): what is left is less than a batch, and another part each time."""
        steps = len(self) // batch_size
        orders = [torch.randperm(len(self), generator=epoch_generator(seed, epoch))[: steps * batch_size] for seed in seeds]
        return torch.stack(orders).view(len(seeds), steps, batch_size).to(self.inputs.device)

    def batches(self, seeds: Sequence[int], epoch: int, batch_size: int) -> Iterator["Rows"]:
        """The full batches of an epoch, fields (M, B, ...); a member's order depends on its seed and the epoch alone."""
        for rows in self.order(seeds, epoch, batch_size).unbind(1):
            yield self.take(rows)

    def chunks(self, size: int) -> Iterator["Rows"]:
        """All rows in order, fields (1, size, ...)."""
        for start in range(0, len(self), size):
            yield self.take(torch.arange(start, min(start + size, len(self)), device=self.inputs.device)[None])
