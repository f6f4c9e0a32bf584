"""The gradient of the loss of the default networks, written out: no graph, buffers made once, features first."""

from typing import cast

import torch
from torch import Tensor, nn

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.layers import MaskedMLP
from hae.network.objective import Objective
from hae.training.perceptrons import ACTIVATIONS, Perceptrons, one_vector
from hae.training.rows import Rows
from hae.training.steepness import Steepness

__all__ = ["Gradients"]


class Gradients:
    """E_k of a batch, and the gradients of the sum of the members' losses in the ``grad`` of the parameters.

    The same numbers as ``backward`` of the plain code, which is the reference, in less than half its time on a CPU: there most of a
    step goes into the bookkeeping of a graph, fresh memory, and products of matrices with few columns, which features first avoids.
    The parameters become views of one vector, `flat`, so that an optimiser has one tensor to step.

    Example:
        >>> x = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
        >>> network = HierarchicalNetwork.mlp(3, ["linear"], hidden=(8,), members=1).reset(0, 0)
        >>> gradients = Gradients(network, Objective(), members=1, batch_size=50)
        >>> gradients(Rows(x, x)).shape, bool(gradients.flat.grad.any())
        (torch.Size([1, 1]), True)
    """

    def __init__(self, network: nn.Module, objective: Objective, members: int, batch_size: int):
        network = cast(HierarchicalNetwork, network)  # see `support`
        self.flat = one_vector(network)
        self.network, self.objective = network, objective
        self.gradient = cast(Tensor, self.flat.grad)
        assert isinstance(network.encoder, MaskedMLP) and isinstance(network.decoder.outputs, MaskedMLP)
        self.encoder = Perceptrons(network.encoder, members, batch_size)
        self.decoders = Perceptrons(network.decoder.outputs, members, batch_size)
        self.steepness = Steepness(self.encoder, network.bottleneck, objective.smooth) if objective.smooth else None
        self.linear = all(kind == "linear" for kind in network.bottleneck.kinds)
        n = network.n_levels
        # Levels are sums of the decoders' outputs: mixing (levels, outputs); None: each is its own output.
        mixing = network.decoder.combine(torch.eye(n)[:, None, :])[:, 0].to(self.flat)
        self.mixing = None if torch.equal(mixing, torch.eye(n).to(mixing)) else mixing
        self.slope = (2 * objective.shares(n, mixing) / (batch_size * self.decoders.n_outputs))[:, None]  # dL/dE_k dE_k/dq_k over q_k

    @staticmethod
    def support(network) -> bool:
        """Whether a network is one of those: perceptrons whose activation's slope is known from its value."""
        return (
            getattr(network, "spec", None) is not None
            and all(isinstance(part, MaskedMLP) and part.activation in ACTIVATIONS for part in (network.encoder, network.decoder.outputs))
            and all(p.requires_grad for p in network.parameters())
        )

    @torch.no_grad()
    def __call__(self, batch: Rows) -> Tensor:
        """E_k (M, n) of a batch (M, B, ...); sets the gradients."""
        pre = self.encoder.forward(batch.inputs.mT)[:, 0]
        coordinates = pre if self.linear else self._coordinates(pre)
        if self.steepness is not None:
            self.steepness(pre if self.linear else self.pre, coordinates if self.linear else self.curved)
        outputs = self.decoders.forward(coordinates)
        plain = batch.weights is None and batch.observed is None and self.objective.root is None
        errors, slope = self._plain_slope(outputs, batch) if plain else self._slope(outputs, batch)
        slope = cast(Tensor, self.decoders.backward(slope, with_input=True))
        if self.steepness is None:
            if not self.linear:
                (slope,) = torch.autograd.grad(self.curved, self.pre, slope)
            self.encoder.backward(slope)
        else:
            self.encoder.backward(self.steepness.through(slope), beside=self.steepness.beside)
            self.steepness.add()
        self.flat.grad = self.gradient  # an optimiser may have dropped it
        return errors

    def _coordinates(self, pre: Tensor) -> Tensor:
        """Coordinates (M, C, B) of pre-activations (M, C, B), with a graph of their own."""
        with torch.enable_grad():
            self.pre = pre.clone().requires_grad_()
            self.curved = self.network.bottleneck(self.pre.mT).mT
        return self.curved.detach()

    def _plain_slope(self, outputs: Tensor, batch: Rows) -> tuple[Tensor, Tensor]:
        """E_k, and dL/d(outputs) (M, L, D', B), of mean squares: what most trainings are about."""
        shape = outputs.shape
        levels = outputs if self.mixing is None else (self.mixing @ outputs.flatten(2)).view(shape)
        flat = levels.sub_(batch.targets.mT.unsqueeze(1)).flatten(2)
        errors = torch.linalg.vector_norm(flat, dim=-1).square_().div_(flat.shape[-1])
        flat.mul_(self.slope)
        return errors, (flat if self.mixing is None else self.mixing.mT @ flat).view(shape)

    def _slope(self, outputs: Tensor, batch: Rows) -> tuple[Tensor, Tensor]:
        """The same with weights, missing targets or a further metric."""
        with torch.enable_grad():
            outputs = outputs.clone().requires_grad_()
            levels = self.network.decoder.combine(outputs.mT)
            errors = self.objective.level_errors(levels, batch.targets, batch.weights, batch.observed)
            (slope,) = torch.autograd.grad(self.objective.loss(errors).sum(), outputs)
        return errors.detach(), slope.contiguous()
