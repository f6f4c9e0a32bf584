"""Layers of the default network: stacks of perceptrons, members and levels side by side in a few batched operations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "MLPFactory", "MaskedMLP", "SeparateDecoders", "fused"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "relu": torch.relu,
    "identity": lambda x: x,
}


class StackedLinear(nn.Module):
    """A stack of affine maps in one operation: y_s = x_s W_s + b_s.

    weight: (*stack, n_inputs, n_outputs); bias: (*stack, 1, n_outputs). x: (*stack, N, n_inputs), or any shape that expands to it.
    """

    def __init__(self, n_inputs: int, n_outputs: int, stack: tuple[int, ...] = ()):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*stack, n_inputs, n_outputs))
        self.bias = nn.Parameter(torch.zeros(*stack, 1, n_outputs))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        weight = self.weight if mask is None else self.weight * mask
        if weight.ndim == 2:
            return torch.addmm(self.bias, x, weight)
        stack = weight.shape[:-2]
        x = x.expand(*stack, *x.shape[-2:])
        y = torch.baddbmm(self.bias.flatten(0, -3), x.flatten(0, -3), weight.flatten(0, -3))
        return y.unflatten(0, stack) if len(stack) > 1 else y

    @torch.no_grad()
    def reset(self, generator: torch.Generator, member: tuple[int, ...], fan_in: Tensor | int) -> None:
        """Xavier's uniform start (Glorot and Bengio 2010) of one member; ``fan_in`` may differ along the stack."""
        weight = self.weight[member]
        bound = (6 / (torch.as_tensor(fan_in, dtype=torch.float64) + weight.shape[-1])).sqrt()
        noise = torch.rand(weight.shape, generator=generator, dtype=torch.float64) * 2 - 1
        weight.copy_(noise * bound.reshape(*bound.shape, *(1,) * (weight.ndim - bound.ndim)))
        self.bias[member].zero_()


class MaskedMLP(nn.Module):
    """Perceptrons side by side; number l sees input i only where ``adjacency[l, i]`` is 1, so the other derivatives are exactly 0.

    x: (*members, N, n_inputs) -> (*members, L, N, n_outputs) for an adjacency (L, n_inputs). With ``adjacency`` None: one
    perceptron that sees all, and no axis L. Linear output. With ``fused`` the forward pass is one node of the graph with its own
    backward pass, two to three times faster on a CPU; it has first derivatives only, so training turns it on (see `fused`).
    """

    fused = False

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        hidden: Sequence[int],
        activation: str,
        members: tuple[int, ...] = (),
        adjacency: Tensor | None = None,
    ):
        super().__init__()
        self.members, self.activation = members, activation
        stack = members if adjacency is None else (*members, len(adjacency))
        widths = [n_inputs, *hidden, n_outputs]
        self.layers = nn.ModuleList(StackedLinear(a, b, stack) for a, b in pairwise(widths))
        dtype = self.layers[0].weight.dtype
        self.register_buffer("mask", None if adjacency is None else adjacency.to(dtype).unsqueeze(-1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and self.activation in _FusedMLP.BACKWARD and self.layers[0].weight.ndim > 2:
            return self._fused_forward(x)
        x = self.layers[0](x if self.mask is None else x.unsqueeze(-3), self.mask)
        for layer in self.layers[1:]:
            x = layer(ACTIVATIONS[self.activation](x))
        return x

    def _fused_forward(self, x: Tensor) -> Tensor:
        """The same in one node of the graph: what training uses."""
        stack = self.layers[0].weight.shape[:-2]
        x = (x if self.mask is None else x.unsqueeze(-3)).expand(*stack, *x.shape[-2:])
        weights = [layer.weight for layer in self.layers]
        if self.mask is not None:
            weights[0] = weights[0] * self.mask
        flat = [tensor.flatten(0, -3) for pair in zip(weights, (layer.bias for layer in self.layers)) for tensor in pair]
        return _FusedMLP.apply(self.activation, x.flatten(0, -3), *flat).unflatten(0, stack)

    def reset(self, generator: torch.Generator, member: tuple[int, ...] = ()) -> None:
        for i, layer in enumerate(self.layers):
            seen = self.mask is not None and i == 0
            layer.reset(generator, member, self.mask.sum((-2, -1)) if seen else layer.weight.shape[-2])


class _FusedMLP(torch.autograd.Function):
    """Perceptrons side by side as one function: x (S, N, n_0), W_i (S, n_i, n_{i+1}), b_i (S, 1, n_{i+1}) -> (S, N, n_last).

    Activations are made in place, and only their values are kept: y' of each is known from y.
    """

    BACKWARD: ClassVar = {
        "tanh": torch.ops.aten.tanh_backward.grad_input,
        "relu": lambda g, y, *, grad_input: torch.ops.aten.threshold_backward.grad_input(g, y, 0, grad_input=grad_input),
        "identity": lambda g, y, *, grad_input: g,
    }

    @staticmethod
    def forward(ctx, activation, x, *parameters):
        weights, biases = parameters[::2], parameters[1::2]
        # torch's tanh takes six times as long on a CPU as its sigmoid, so there: tanh z = 2 sigmoid(2 z) - 1, the first 2 for free.
        by_sigmoid = activation == "tanh" and x.device.type == "cpu"
        values = [x]
        for i, (weight, bias) in enumerate(zip(weights, biases)):
            last = i == len(weights) - 1
            twice = 2 if by_sigmoid and not last else 1
            x = torch.baddbmm(bias, x, weight, beta=twice, alpha=twice)
            if last:
                break
            if by_sigmoid:
                x.sigmoid_().mul_(2).sub_(1)
            elif activation != "identity":
                x = x.tanh_() if activation == "tanh" else x.relu_()
            values.append(x)
        ctx.activation = activation
        ctx.save_for_backward(*values, *weights)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        n = len(ctx.saved_tensors) // 2
        values, weights = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        gradients = []
        for i in reversed(range(n)):
            gradients += [g.sum(-2, keepdim=True), torch.bmm(values[i].mT, g)]
            if i > 0:
                g = torch.bmm(g, weights[i].mT)
                g = _FusedMLP.BACKWARD[ctx.activation](g, values[i], grad_input=g)
        x = torch.bmm(g, weights[0].mT) if ctx.needs_input_grad[1] else None
        return None, x, *reversed(gradients)


@contextmanager
def fused(network: nn.Module) -> Iterator[None]:
    """Let the perceptrons of a network take their fast path, which has first derivatives only, inside the block."""
    parts = [part for part in network.modules() if isinstance(part, MaskedMLP)]
    for part in parts:
        part.fused = True
    try:
        yield
    finally:
        for part in parts:
            part.fused = False


@dataclass(frozen=True)
class MLPFactory:
    """Makes the decoders of the default network: perceptrons of the same widths, all levels and members in one stack."""

    n_outputs: int
    hidden: tuple[int, ...]
    activation: str
    members: tuple[int, ...] = ()

    def stacked(self, adjacency: Tensor) -> nn.Module:
        return MaskedMLP(adjacency.shape[1], self.n_outputs, self.hidden, self.activation, self.members, adjacency)

    def __call__(self, n_inputs: int) -> nn.Module:
        return MaskedMLP(n_inputs, self.n_outputs, self.hidden, self.activation, self.members)


class SeparateDecoders(nn.Module):
    """One module for every row of the adjacency, each given only the inputs it may see: the plain form of `MaskedMLP`."""

    def __init__(self, factory: Callable[[int], nn.Module], adjacency: Tensor):
        super().__init__()
        self.inputs = [row.nonzero().flatten().tolist() for row in adjacency]
        self.decoders = nn.ModuleList(factory(len(seen)) for seen in self.inputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([decoder(x[..., seen]) for decoder, seen in zip(self.decoders, self.inputs)], dim=-3)
