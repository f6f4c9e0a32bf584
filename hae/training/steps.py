"""A step of a training as an object: plain autograd, gradients written out, or resident on the device. All take the same steps."""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.training.resident import ResidentStep
from hae.training.rows import Rows, RowSource
from hae.training.schedule import Schedule, Settings
from hae.training.written_out import Gradients

__all__ = ["STEPS", "DeviceStep", "PlainStep", "Step", "Trainable", "WrittenStep", "fastest"]

Change = Callable[[Rows], Rows]  # of a batch before its step


class Step(Protocol):
    """What a training asks of its steps.

    Example: The kinds of steps; `PlainStep` has an example of one.
        >>> sorted(STEPS)
        ['device', 'plain', 'written']
    """

    @property
    def optimiser(self) -> torch.optim.Optimizer: ...

    def epoch(self, epoch: int, change: Change | None = None) -> Tensor:
        """Take the steps of an epoch, from 0; gives the sum of E_k over them, (M, n)."""
        ...


class PlainStep:
    """Steps of Adam on the sum of the members' losses, which share no parameter, by autograd: for any network, and the reference.

    Args:
        network: see `hae.training.loop.train`. data: rows that the batches come from. objective: on their device and in their type.
        schedule, settings: of the training.
        rate: a tensor for the learning rate where the rate is changed on the device, else None.

    Example: one step of one batch.
        >>> network = HierarchicalNetwork.mlp(3, ["linear"] * 2, members=1).reset(0, 0)
        >>> rows, settings = Rows(*2 * (torch.ones(64, 3),)), Settings(batch_size=64)
        >>> step = PlainStep(network, rows, Objective(), Schedule.of(settings, 64, seeds=[0]), settings)
        >>> step(next(rows.batches([0], epoch=0, batch_size=64)), rate=0.01).shape  # E_k: members, levels
        torch.Size([1, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        data: RowSource,
        objective: Objective,
        schedule: Schedule,
        settings: Settings,
        rate: Tensor | None = None,
    ):
        self.network, self.data, self.objective, self.schedule = network, data, objective, schedule
        self.optimiser = torch.optim.Adam(
            self.trained(),
            lr=settings.learning_rate if rate is None else rate,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=rate is not None and rate.device.type == "cuda",
        )

    def trained(self) -> list[Tensor]:
        """The tensors that the optimiser steps."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def backward(self, batch: Rows) -> Tensor:
        """Gradients of the sum of the members' losses; gives E_k of the batch, (M, n)."""
        self.optimiser.zero_grad(set_to_none=True)
        network = cast(Trainable, self.network)
        levels = network.standardised_levels(batch.inputs)
        errors = self.objective.level_errors(levels, batch.targets, batch.weights, batch.observed)
        loss = self.objective.loss(errors).sum()
        if self.objective.smooth:
            loss = loss + self.objective.smooth * network.steepness(batch.inputs).sum()
        loss.backward()
        return errors.detach()

    def __call__(self, batch: Rows, rate: float) -> Tensor:
        """One step; gives E_k of the batch, (M, n)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        errors = self.backward(batch)
        self.optimiser.step()
        return errors

    def epoch(self, epoch: int, change: Change | None = None) -> Tensor:
        total: Tensor | float = 0.0
        batches = self.data.batches(self.schedule.seeds, epoch, self.schedule.batch_size)
        for number, batch in enumerate(batches, epoch * self.schedule.steps):
            total = total + self(batch if change is None else change(batch), self.schedule.rates[number])
        return cast(Tensor, total)


class WrittenStep(PlainStep):
    """The same with the gradients of `hae.training.written_out`, for the networks that they support.

    Example:
        >>> network = HierarchicalNetwork.mlp(3, ["linear"], members=1).reset(0, 0)
        >>> fastest(network, Rows(*2 * (torch.ones(64, 3),)), augmented=False)
        'written'
    """

    def trained(self) -> list[Tensor]:
        network = cast(HierarchicalNetwork, self.network)  # see `Gradients.support`
        self.gradients = Gradients(network, self.objective, len(self.schedule.seeds), self.schedule.batch_size)
        return [self.gradients.flat]

    def backward(self, batch: Rows) -> Tensor:
        return self.gradients(batch)


class DeviceStep:
    """The same without the host, for rows in the memory of the device: see `hae.training.resident`. Captured where that is CUDA.

    Example: it takes the steps of any device.
        >>> network = HierarchicalNetwork.mlp(3, ["linear"], members=1).reset(0, 0)
        >>> rows, settings = Rows(*2 * (torch.ones(64, 3),)), Settings(batch_size=32, max_epochs=2)
        >>> step = DeviceStep(network, rows, Objective(), Schedule.of(settings, 64, seeds=[0]), settings)
        >>> step.epoch(0).shape
        torch.Size([1, 1])
    """

    def __init__(self, network: nn.Module, data: Rows, objective: Objective, schedule: Schedule, settings: Settings):
        device = data.inputs.device
        rate = torch.tensor(settings.learning_rate, dtype=torch.float32, device=device)
        how = WrittenStep if Gradients.support(network) else PlainStep
        self.data, self.schedule = data, schedule
        self.inner = how(network, data, objective, schedule, settings, rate)
        self.optimiser = self.inner.optimiser
        self.resident = ResidentStep(
            data,
            (len(schedule.seeds), schedule.steps, schedule.batch_size),
            list(schedule.rates),
            rate,
            self.optimiser,
            self.inner.backward,
            cast(Trainable, network).n_levels,
            capture=device.type == "cuda",
        )

    def epoch(self, epoch: int, change: Change | None = None) -> Tensor:
        assert change is None  # a captured step can't call back
        order = self.data.order(self.schedule.seeds, epoch, self.schedule.batch_size)
        return self.resident.epoch(order, epoch * self.schedule.steps)


class Trainable(Protocol):
    """A network as training sees it: ``n_levels`` where its steps stay on a device, `steepness` where CVs are to be smooth.

    Example: A hierarchical network is one.
        >>> network: Trainable = HierarchicalNetwork.mlp(3, ["linear"] * 2)
        >>> network.standardised_levels(torch.zeros(10, 3)).shape  # (n, N, D)
        torch.Size([2, 10, 3])
    """

    @property
    def n_levels(self) -> int: ...

    def standardised_levels(self, x: Tensor) -> Tensor: ...

    def steepness(self, x: Tensor) -> Tensor: ...


STEPS: dict[str, Callable[..., Step]] = {"plain": PlainStep, "written": WrittenStep, "device": DeviceStep}


def fastest(network: nn.Module, data: RowSource, augmented: bool) -> str:
    """Which of `STEPS` a training takes, unless it is told.

    On a GPU the steps of the default networks are so short that launching them would take longer than running them.
    """
    ours = getattr(network, "spec", None) is not None
    if ours and data.inputs.device.type == "cuda" and isinstance(data, Rows) and not augmented:
        return "device"
    return "written" if Gradients.support(network) else "plain"
