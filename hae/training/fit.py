"""The one fit: from rows, wherever they are, to trained members in their canonical form."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from hae.errors import BadInput
from hae.network.canonical import canonicalise_members
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.identity import training_key
from hae.training.members import Members, train_members
from hae.training.pairs import Standard
from hae.training.rows import Rows
from hae.training.schedule import FEW, Settings
from hae.training.sources import Source

__all__ = ["Plan", "fit_members"]


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    kinds: of the CVs, in order. variant, hidden, activation, linear_path: of the default network; network: function of (n_features,
    n_targets) that gives one of one's own instead. scale: see `hae.network.objective.standardisation`; level_weights, root, smooth: see
    `hae.network.objective.Objective`. augment: function of (inputs (B, D), generator) in raw units, or None. settings, seeds: of the
    training. device: where it runs. progress: title of a progress bar, or None.

    Example:
        >>> from hae.training.pairs import Pairs
        >>> from hae.training.sources import RowsInMemory
        >>> x = np.random.default_rng(0).normal(size=(400, 3))
        >>> members = fit_members(RowsInMemory({"train": Pairs.same(x)}), Plan(("linear",), settings=Settings(max_epochs=2), seeds=[0, 1]))
        >>> len(members.networks), members.networks[0].n_cvs
        (2, 1)
    """

    kinds: Sequence[str]
    variant: str = "collective"
    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    network: Callable[[int, int], HierarchicalNetwork] | None = None
    scale: str = "global"
    level_weights: Sequence[float] | None = None
    smooth: float = 0.0
    linear_path: bool = False
    root: np.ndarray | None = None
    augment: Callable | None = None
    settings: Settings = field(default_factory=Settings)
    seeds: Sequence[int] = (0,)
    device: torch.device | str = "cpu"
    progress: str | None = None

    def build(self, standard: Standard, source: Source, members: int | None) -> HierarchicalNetwork:
        """A stack of untrained networks, or one of one's own modules. Raises BadInput where that has other CVs than said."""
        n_inputs, n_outputs = len(standard.input_mean), len(standard.output_mean)
        if self.network is None:
            how = self.variant, self.hidden, self.activation, n_outputs, members, self.linear_path
            network = HierarchicalNetwork.mlp(n_inputs, self.kinds, *how)
        else:
            network = self.network(n_inputs, n_outputs)
        if network.bottleneck.kinds != tuple(self.kinds):
            raise BadInput(f"network: has the CVs {network.bottleneck.kinds}; allowed with these n_cvs and cv: {tuple(self.kinds)}")
        network.scale_by(*dataclasses.astuple(standard))
        if self.linear_path and self.network is None:
            inputs, weights = source.sample()
            network.start_path(torch.from_numpy(inputs), None if weights is None else torch.from_numpy(weights))
        return network

    def of_rows(self, source: Source) -> "Plan":
        """The plan as hidden="auto" has it: of up to `FEW` training rows with a linear path, which spares a network to learn what is
        straight; early stopping keeps it from learning the rows by heart. Narrower ones explain less: docs/own-data.md measures it."""
        train = source.pairs("train")
        return self if train is None or len(train) > FEW else dataclasses.replace(self, linear_path=True)

    @property
    def objective(self) -> Objective:
        return Objective(
            None if self.level_weights is None else torch.as_tensor(self.level_weights, dtype=torch.float64),
            None if self.root is None else torch.as_tensor(self.root),
            self.smooth,
        )


def fit_members(
    source: Source,
    plan: Plan,
    *,
    params: Mapping | None = None,
    checkpoints: Path | None = None,
    on_epoch: Callable[[list[dict]], None] | None = None,
) -> Members:
    """Train the members of a plan on the rows of a source.

    params: all that the result depends on beside rows and seeds, by which a checkpoint is known. checkpoints: folder for them, or None.
    on_epoch: called with the rows of every new epoch.
    """
    standard = source.standard(plan.scale)
    data, validation = source.rows(standard, torch.device(plan.device))
    key = None if checkpoints is None else training_key(params or {}, source.digest(), plan.seeds)
    members = train_members(
        lambda members: plan.build(standard, source, members),
        data,
        validation,
        plan.objective,
        plan.settings,
        plan.seeds,
        on_epoch=on_epoch,
        progress=plan.progress,
        checkpoint=None if checkpoints is None or key is None else checkpoints / f"{key}.pt",
        augment=None if plan.augment is None else augmentation(plan.augment, standard),
    )
    canonicalise_members(members.networks, *source.sample())
    return members


def augmentation(augment: Callable, standard: Standard) -> Callable[[Rows, list[torch.Generator]], Rows]:
    """The user's function of raw inputs, around the standardised batches of training: (M, B, D) -> (M, B, D). In float64: raw inputs far
    from zero would lose in float32 what they vary by."""

    def changed(batch: Rows, generators: list[torch.Generator]) -> Rows:
        mean, scale = (torch.as_tensor(value, dtype=torch.float64, device=batch.inputs.device)
                       for value in (standard.input_mean, standard.input_scale))
        raw = batch.inputs * scale + mean
        new = torch.stack([augment(rows, generator) for rows, generator in zip(raw, generators, strict=True)])
        return dataclasses.replace(batch, inputs=((new - mean) / scale).to(batch.inputs))

    return changed
