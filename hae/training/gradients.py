"""The gradient of the loss of the default networks, written out: no graph, buffers made once, features first."""

from typing import cast

import torch
from torch import Tensor

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.layers import MaskedMLP
from hae.network.objective import Objective
from hae.training.rows import Rows

__all__ = ["Gradients"]


class Gradients:
    """E_k of a batch, and the gradients of the sum of the members' losses in the ``grad`` of the parameters.

    The same numbers as ``backward`` of the plain code, which is the reference, in less than half its time on a CPU: there most of a
    step goes into the bookkeeping of a graph, fresh memory, and products of matrices with few columns, which features first avoids.
    The parameters become views of one vector, `flat`, so that an optimiser has one tensor to step.
    """

    def __init__(self, network: HierarchicalNetwork, objective: Objective, members: int, batch_size: int):
        parameters = list(network.parameters())
        with torch.no_grad():
            self.flat = torch.cat([p.flatten() for p in parameters]).requires_grad_()
            self.flat.grad = torch.zeros_like(self.flat)
            sizes = [p.numel() for p in parameters]
            for p, value, gradient in zip(parameters, self.flat.detach().split(sizes), self.flat.grad.split(sizes)):
                p.data = value.view_as(p)
                p.grad = gradient.view_as(p)
        self.network, self.objective = network, objective
        self.gradient = self.flat.grad
        assert isinstance(network.encoder, MaskedMLP) and isinstance(network.decoder.outputs, MaskedMLP)  # see `support`
        self.encoder = _Perceptrons(network.encoder, members, batch_size)
        self.decoders = _Perceptrons(network.decoder.outputs, members, batch_size)
        self.linear = all(kind == "linear" for kind in network.bottleneck.kinds)
        n = network.n_levels
        # Levels are sums of the decoders' outputs: mixing (levels, outputs); None: each is its own output.
        mixing = network.decoder.combine(torch.eye(n)[:, None, :])[:, 0].to(self.flat)
        self.mixing = None if torch.equal(mixing, torch.eye(n).to(mixing)) else mixing
        weights = torch.ones(n).to(mixing) if objective.level_weights is None else objective.level_weights
        self.slope = (2 * weights / weights.sum() / (batch_size * self.decoders.n_outputs))[:, None]  # dL/dE_k dE_k/dq_k over q_k

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
        outputs = self.decoders.forward(coordinates)
        plain = batch.weights is None and batch.observed is None and self.objective.root is None
        errors, slope = self._plain_slope(outputs, batch) if plain else self._slope(outputs, batch)
        slope = cast(Tensor, self.decoders.backward(slope, with_input=True))
        if not self.linear:
            (slope,) = torch.autograd.grad(self.curved, self.pre, slope)
        self.encoder.backward(slope)
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


# What multiplies a slope dL/dy, in place, where y is the value of the activation.
ACTIVATIONS = {
    "tanh": lambda slope, y: torch.ops.aten.tanh_backward.grad_input(slope, y, grad_input=slope),
    "relu": lambda slope, y: torch.ops.aten.threshold_backward.grad_input(slope, y, 0, grad_input=slope),
    "identity": lambda slope, y: slope,
}


class _Perceptrons:
    """A `MaskedMLP` of M members x L perceptrons that read the same x (M, n_0, B): the first layers of all L are one wide layer."""

    def __init__(self, mlp: MaskedMLP, members: int, batch_size: int):
        self.mlp, self.activation = mlp, mlp.activation
        self.levels = 1 if mlp.mask is None else len(mlp.mask)
        self.weights = [layer.weight.detach().view(members * self.levels, *layer.weight.shape[-2:]) for layer in mlp.layers]
        self.gradients = [cast(Tensor, layer.weight.grad).view_as(weight) for layer, weight in zip(mlp.layers, self.weights)]
        self.biases = [layer.bias.detach().view(len(w), -1, 1) for layer, w in zip(mlp.layers, self.weights)]
        self.bias_gradients = [cast(Tensor, layer.bias.grad).view_as(bias) for layer, bias in zip(mlp.layers, self.biases)]
        self.n_outputs = self.weights[-1].shape[-1]
        n_inputs, width = self.weights[0].shape[1:]
        like = self.weights[0]
        # W_0 with what is masked set to 0, as (M, L * width, n_0), and the mask in the same order.
        self.first = like.new_empty(members, self.levels, width, n_inputs)
        self.mask = None if mlp.mask is None else mlp.mask.mT
        self.values = [like.new_empty(len(w), w.shape[-1], batch_size) for w in self.weights]
        self.slopes = [torch.empty_like(value) for value in self.values[:-1]]
        self.minus_one = like.new_full((1,), -1)

    def forward(self, x: Tensor) -> Tensor:
        """x (M, n_0, B) -> (M, L, n_last, B), in a buffer that the next call writes over."""
        members, last = len(x), len(self.weights) - 1
        # torch's tanh takes many times as long on a CPU as its sigmoid, so there: tanh z = 2 sigmoid(2 z) - 1, the first 2 for free.
        by_sigmoid = self.activation == "tanh" and x.device.type == "cpu"
        self.x = x
        self.first.copy_(self.mlp.layers[0].weight.view(members, self.levels, *self.weights[0].shape[1:]).mT)
        if self.mask is not None:
            self.first.mul_(self.mask)
        for i, (weight, bias, y) in enumerate(zip(self.weights, self.biases, self.values)):
            twice = 2 if by_sigmoid and i < last else 1
            if i == 0:
                wide = self.first.view(members, -1, self.first.shape[-1])
                torch.baddbmm(bias.view(members, -1, 1), wide, x, beta=twice, alpha=twice, out=y.view(members, -1, y.shape[-1]))
            else:
                torch.baddbmm(bias, weight.mT, x, beta=twice, alpha=twice, out=y)
            if i < last and by_sigmoid:
                torch.add(self.minus_one, y.sigmoid_(), alpha=2, out=y)
            elif i < last and self.activation != "identity":
                y.tanh_() if self.activation == "tanh" else y.relu_()
            x = y
        return x.view(members, self.levels, self.n_outputs, -1)

    def backward(self, slope: Tensor, *, with_input: bool = False) -> Tensor | None:
        """Gradients of the parameters from dL/d(outputs), and dL/dx (M, n_0, B), the sum over levels, if it is asked for."""
        slope = slope.view_as(self.values[-1])
        for i in reversed(range(len(self.weights))):
            torch.sum(slope, -1, keepdim=True, out=self.bias_gradients[i])
            if i == 0:
                break
            torch.bmm(self.values[i - 1], slope.mT, out=self.gradients[i])
            slope = torch.bmm(self.weights[i], slope, out=self.slopes[i - 1])
            ACTIVATIONS[self.activation](slope, self.values[i - 1])
        members = len(self.x)
        slope = slope.view(members, -1, slope.shape[-1])
        gradient = torch.bmm(slope, self.x.mT).view_as(self.first)
        if self.mask is not None:
            gradient.mul_(self.mask)
        self.gradients[0].view(members, self.levels, *self.weights[0].shape[1:]).copy_(gradient.mT)
        return torch.bmm(self.first.view(members, -1, self.first.shape[-1]).mT, slope) if with_input else None
