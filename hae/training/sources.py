"""Where a fit has its rows from: in memory, or in a file (`hae.training.stored`)."""

import hashlib
from types import TracebackType
from typing import Protocol

import numpy as np
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import score_frames
from hae.training.pairs import Pairs, Standard
from hae.training.rows import Rows, RowSource

__all__ = ["RowsInMemory", "Source"]


class Source(Protocol):
    """What a fit asks of its rows. In a ``with`` block, at whose end what was made for the fit is removed.

    Example: `RowsInMemory` is one, `hae.training.stored.StoredFrames` another.
        >>> source: Source = RowsInMemory({"train": Pairs.same(np.array([[0.0, 1.0], [2.0, 5.0]]))})
        >>> with source:
        ...     source.n_features, source.standard("feature").input_mean
        (2, array([1., 3.]))
    """

    def __enter__(self) -> "Source": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    @property
    def n_features(self) -> int: ...

    @property
    def n_targets(self) -> int: ...

    def digest(self) -> bytes:
        """Of all numbers that a training sees."""
        ...

    def standard(self, scale: str) -> Standard:
        """Mean and scale of the training rows; scale: see `hae.network.objective.standardisation`."""
        ...

    def rows(self, standard: Standard, device: torch.device) -> tuple[RowSource, RowSource | None]:
        """Training and validation rows as training takes them."""
        ...

    def sample(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Training rows (N, D) in raw units, or many of them, and their weights (N,)."""
        ...

    def pairs(self, side: str) -> Pairs | None:
        """The rows of a side in raw units; None where there are none, or where they are not in memory."""
        ...

    def explained(self, network: HierarchicalNetwork, root: np.ndarray | None) -> dict[str, np.ndarray]:
        """Side -> FVE_k of the levels (n,) on its rows. root: see `hae.network.objective.frame_errors`."""
        ...


class RowsInMemory:
    """Pairs of input and target by side, "train" among them, and the side of each row that they were made from, (N,) or None.

    Example:
        >>> source = RowsInMemory({"train": Pairs.same(np.eye(3))})
        >>> source.n_features, source.pairs("test") is None
        (3, True)
    """

    def __init__(self, pairs: dict[str, Pairs], split: np.ndarray | None = None):
        self.by_side, self.split = pairs, split

    def __enter__(self) -> "RowsInMemory":
        return self

    def __exit__(self, *error) -> None:
        pass

    @property
    def n_features(self) -> int:
        return self.by_side["train"].inputs.shape[1]

    @property
    def n_targets(self) -> int:
        return self.by_side["train"].targets.shape[1]

    def digest(self) -> bytes:
        digest = hashlib.sha256()
        for part in (self.by_side["train"], self.pairs("validation")):
            targets = None if part is None or part.targets is part.inputs else part.targets
            for array in (None, None, None) if part is None else (part.inputs, targets, part.weights):
                digest.update(b"-" if array is None else f"{array.dtype} {array.shape}".encode())
                digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        return digest.digest()

    def standard(self, scale: str) -> Standard:
        return Standard.of(self.by_side["train"], scale)

    def rows(self, standard: Standard, device: torch.device) -> tuple[Rows, Rows | None]:
        validation = self.pairs("validation")
        return self.by_side["train"].rows(standard, device), None if validation is None else validation.rows(standard, device)

    def sample(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self.by_side["train"].inputs, self.by_side["train"].weights

    def pairs(self, side: str) -> Pairs | None:
        return self.by_side.get(side)

    def explained(self, network: HierarchicalNetwork, root: np.ndarray | None) -> dict[str, np.ndarray]:
        return {side: score_frames(network, of.inputs, of.targets, root, of.weights).fve for side, of in self.by_side.items()}
