"""Perceptrons side by side, forward and backward written out: no graph, buffers made once, features first."""

from typing import cast

import torch
from torch import Tensor, nn

from hae.network.layers import MaskedMLP

__all__ = ["ACTIVATIONS", "Perceptrons", "one_vector"]

# What multiplies a slope dL/dy, in place, where y is the value of the activation.
ACTIVATIONS = {
    "tanh": lambda slope, y: torch.ops.aten.tanh_backward.grad_input(slope, y, grad_input=slope),
    "relu": lambda slope, y: torch.ops.aten.threshold_backward.grad_input(slope, y, 0, grad_input=slope),
    "identity": lambda slope, y: slope,
}


@torch.no_grad()
def one_vector(network: nn.Module) -> Tensor:
    """One vector whose parts the parameters of a network become views of, and their gradients of its own: an optimiser has one tensor
    to step.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> one_vector(layer).data.zero_().shape, layer.bias.tolist()
        (torch.Size([9]), [0.0, 0.0, 0.0])
    """
    parameters = list(network.parameters())
    flat = torch.cat([p.flatten() for p in parameters]).requires_grad_()
    flat.grad = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    for p, value, gradient in zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes)):
        p.data = value.view_as(p)
        p.grad = gradient.view_as(p)
    return flat


class Perceptrons:
    """A `MaskedMLP` of M members x L perceptrons that read the same x (M, n_0, B): the first layers of all L are one wide layer.

    Example: Values as the layers give them, (N, n) there and (n, N) here.
        >>> mlp = MaskedMLP(3, 2, (8,), "tanh", (1,)).requires_grad_(False)
        >>> for parameter in mlp.parameters():
        ...     parameter.grad = torch.zeros_like(parameter.normal_())
        >>> x = torch.randn(1, 20, 3)
        >>> values = Perceptrons(mlp, members=1, batch_size=20).forward(x.mT)
        >>> torch.allclose(values[:, 0].mT, mlp(x), atol=1e-6)
        True
    """

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
        self.path = None if mlp.path is None else mlp.path.detach().view(members, n_inputs, -1)
        self.path_gradient = None if mlp.path is None else cast(Tensor, mlp.path.grad).view_as(cast(Tensor, self.path))
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
        if self.path is not None:
            x.baddbmm_(self.path.mT, self.x)
        return x.view(members, self.levels, self.n_outputs, -1)

    def backward(self, slope: Tensor, *, with_input: bool = False, beside: list[Tensor] | None = None) -> Tensor | None:
        """Gradients of the parameters from dL/d(outputs), and dL/dx (M, n_0, B), the sum over levels, if it is asked for.

        beside: what else the loss has of a slope by the value of each hidden layer, (M L, width, B).
        """
        slope = slope.view_as(self.values[-1])
        if self.path_gradient is not None:
            torch.bmm(self.x, slope.mT, out=self.path_gradient)
        for i in reversed(range(len(self.weights))):
            torch.sum(slope, -1, keepdim=True, out=self.bias_gradients[i])
            if i == 0:
                break
            torch.bmm(self.values[i - 1], slope.mT, out=self.gradients[i])
            slope = torch.bmm(self.weights[i], slope, out=self.slopes[i - 1])
            if beside is not None:
                slope.add_(beside[i - 1])
            ACTIVATIONS[self.activation](slope, self.values[i - 1])
        members = len(self.x)
        slope = slope.view(members, -1, slope.shape[-1])
        gradient = torch.bmm(slope, self.x.mT).view_as(self.first)
        if self.mask is not None:
            gradient.mul_(self.mask)
        self.gradients[0].view(members, self.levels, *self.weights[0].shape[1:]).copy_(gradient.mT)
        return torch.bmm(self.first.view(members, -1, self.first.shape[-1]).mT, slope) if with_input else None
