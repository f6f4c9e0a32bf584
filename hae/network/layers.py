"""Layers of the default network: stacks of perceptrons, members and levels side by side in a few batched operations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "MLPFactory", "MaskedMLP", "SeparateDecoders", "tanh"]


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent. On a CPU torch takes many times as long for it as for its sigmoid, so there, where no graph is
    made: tanh x = 2 sigmoid(2 x) - 1."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return torch.tanh(x)
    return (2 * x).sigmoid_().mul_(2).sub_(1)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": tanh,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "relu": torch.relu,
    "identity": lambda x: x,
}


class StackedLinear(nn.Module):
    """A stack of affine maps in one operation: y_s = x_s W_s + b_s.

    weight: (*stack, n_inputs, n_outputs); bias: (*stack, 1, n_outputs). x: (*stack, N, n_inputs), or any shape that expands to it.

    Example: Three maps of the same five rows.
        >>> layer = StackedLinear(2, 4, stack=(3,))
        >>> with torch.no_grad():
        ...     layer(torch.ones(5, 2)).shape
        torch.Size([3, 5, 4])
    """

    def __init__(self, n_inputs: int, n_outputs: int, stack: tuple[int, ...] = ()):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*stack, n_inputs, n_outputs))  # until `reset`: memory as it is may hold NaN
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
    perceptron that sees all, and no axis L. Linear output. ``linear_path``: x A is added to the output of such a one, with A
    (*members, n_inputs, n_outputs). Training takes a faster way to the same numbers, see `hae.training.written_out`.

    Example: Two perceptrons; the second alone sees the second input.
        >>> mlp = MaskedMLP(2, 3, (8,), "tanh", adjacency=torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        >>> mlp(torch.zeros(5, 2)).shape
        torch.Size([2, 5, 3])
    """

    layers: Sequence[StackedLinear]
    mask: Tensor | None
    path: nn.Parameter | None

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        hidden: Sequence[int],
        activation: str,
        members: tuple[int, ...] = (),
        adjacency: Tensor | None = None,
        linear_path: bool = False,
    ):
        super().__init__()
        self.members, self.activation = members, activation
        stack = members if adjacency is None else (*members, len(adjacency))
        widths = [n_inputs, *hidden, n_outputs]
        # For a type checker a ModuleList forgets what it holds.
        self.layers = nn.ModuleList(StackedLinear(a, b, stack) for a, b in pairwise(widths))  # type: ignore[assignment]
        self.register_parameter("path", nn.Parameter(torch.zeros(*members, n_inputs, n_outputs)) if linear_path else None)
        dtype = self.layers[0].weight.dtype
        self.register_buffer("mask", None if adjacency is None else adjacency.to(dtype).unsqueeze(-1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers[0](x if self.mask is None else x.unsqueeze(-3), self.mask)
        for layer in self.layers[1:]:
            y = layer(ACTIVATIONS[self.activation](y))
        return y if self.path is None else y + x @ self.path

    def reset(self, generator: torch.Generator, member: tuple[int, ...] = ()) -> None:
        for i, layer in enumerate(self.layers):
            layer.reset(generator, member, layer.weight.shape[-2] if self.mask is None or i > 0 else self.mask.sum((-2, -1)))


@dataclass(frozen=True)
class MLPFactory:
    """Makes the decoders of the default network: perceptrons of the same widths, all levels and members in one stack.

    Example:
        >>> MLPFactory(3, (8,), "tanh")(2)(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """

    n_outputs: int
    hidden: tuple[int, ...]
    activation: str
    members: tuple[int, ...] = ()

    def stacked(self, adjacency: Tensor) -> nn.Module:
        return MaskedMLP(adjacency.shape[1], self.n_outputs, self.hidden, self.activation, self.members, adjacency)

    def __call__(self, n_inputs: int) -> nn.Module:
        return MaskedMLP(n_inputs, self.n_outputs, self.hidden, self.activation, self.members)


class SeparateDecoders(nn.Module):
    """One module for every row of the adjacency, each given only the inputs it may see: the plain form of `MaskedMLP`.

    Example:
        >>> decoders = SeparateDecoders(lambda n: nn.Linear(n, 3), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        >>> decoders(torch.zeros(5, 2)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(self, factory: Callable[[int], nn.Module], adjacency: Tensor):
        super().__init__()
        for k, row in enumerate(adjacency):
            self.register_buffer(f"seen_{k}", row.nonzero().flatten(), persistent=False)
        self.decoders = nn.ModuleList(factory(int(row.sum())) for row in adjacency)

    def forward(self, x: Tensor) -> Tensor:
        seen = (self.get_buffer(f"seen_{k}") for k in range(len(self.decoders)))
        return torch.stack([decoder(x.index_select(-1, columns)) for decoder, columns in zip(self.decoders, seen)], dim=-3)
