"""The gradient of the steepness of the CVs written out: as `HierarchicalNetwork.steepness` and its ``backward``, without a graph.

Its second derivatives cost a pass back through the encoder for the slopes ds_k/dx and one forth for what changes them, for all CVs at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hae.network.bottleneck import Bottleneck
from hae.network.hierarchy import STILL
from hae.network.kinds import PERIODS
from hae.training.perceptrons import Perceptrons

__all__ = ["Steepness"]

# Slope of an activation, and what a slope by that slope is by the value y of the activation (None: nothing), from y.
SLOPES: dict[str, tuple[Callable[[Tensor], Tensor] | None, Callable[[Tensor, Tensor], Tensor] | None]] = {
    "tanh": (lambda y: 1 - y.square(), lambda slope, y: slope.mul_(y).mul_(-2)),
    "relu": (torch.sign, None),
    "identity": (None, None),
}
# Kind -> ds / d(pre-activation) of a CV, (M, width, B), from its pre-activations and coordinates, both of this shape.
HEADS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda pre, c: torch.ones_like(pre),
    "tanh": lambda pre, c: 1 - c.square(),
    "circular": lambda pre, c: torch.cat([-pre[:, 1:], pre[:, :1]], 1) / pre.square().sum(1, keepdim=True),
}


class Steepness:
    """``smooth`` times the steepness of the CVs of a batch: what it adds to the gradients of an encoder.

    After `Perceptrons.forward` of the encoder a call finds `beside`, for `Perceptrons.backward`, and what `through` and `add` need.
    Shapes: M members, n CVs, C coordinates, B rows; slopes and all else of each CV are (M, width, n, B).

    Example: As `hae.training.written_out.Gradients` calls it; of a linear CV the steepness of all rows is one.
        >>> from hae.network.layers import MaskedMLP
        >>> mlp = MaskedMLP(2, 1, (), "identity", (1,)).requires_grad_(False)
        >>> for parameter in mlp.parameters():
        ...     parameter.grad = torch.zeros_like(parameter.fill_(1.0))
        >>> encoder = Perceptrons(mlp, members=1, batch_size=2)
        >>> steepness = Steepness(encoder, Bottleneck(["linear"]), smooth=1.0)
        >>> cvs = encoder.forward(torch.tensor([[[1.0, -1.0], [0.0, 0.0]]]))[:, 0]  # (M, C, B) of x (M, D, B)
        >>> steepness(cvs, cvs)
        >>> steepness.through(torch.zeros_like(cvs))  # d(steepness) / d(CV): a wider CV has less of it
        tensor([[[-2.,  2.]]])
    """

    def __init__(self, encoder: Perceptrons, bottleneck: Bottleneck, smooth: float):
        self.encoder, self.bottleneck, self.smooth = encoder, bottleneck, smooth
        self.linear = all(kind == "linear" for kind in bottleneck.kinds)
        self.n = len(bottleneck.kinds)
        self.slope_of, self.back_of = SLOPES[encoder.activation]
        like = encoder.weights[0]
        self.free = torch.tensor([[PERIODS[kind] is None] for kind in bottleneck.kinds]).to(like)  # (n, 1): 0 where Var is 1
        members, batch = len(encoder.first), encoder.values[0].shape[-1]
        widths = [weight.shape[1] for weight in encoder.weights]  # of the inputs and of every hidden layer
        # By layer: ds_k / d(value) and ds_k / d(what the activation is of); then the slopes of the steepness by both.
        self.by_value, self.by_sum, self.of_value, self.of_sum = (
            [like.new_empty(members, width, self.n, batch) for width in widths] for _ in range(4)
        )
        self.of_value[0] = self.by_value[0]  # one becomes the other
        self.slopes: dict[int, Tensor] = {}  # of the activation of each hidden layer
        self.beside: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, pre: Tensor, coordinates: Tensor) -> None:
        """From pre-activations and coordinates, both (M, C, B), with the graph between them where a CV is not linear."""
        self.pre, self.coordinates = pre, coordinates
        self.heads = None if self.linear else self._heads(pre)
        slopes = self._slopes()
        cvs = coordinates if self.linear else self.cvs
        away = cvs.detach() - cvs.detach().mean(-1, keepdim=True)
        found = away.square().mean(-1, keepdim=True)
        variance = torch.where(self.free > 0, found.clamp_min(STILL), 1)
        ratio = slopes.square().mean(1) / variance  # (M, n, B)
        batch, d = ratio.shape[-1], slopes.shape[1]
        pull = self.free * (found >= STILL) * ratio.square().mean(-1, keepdim=True) / variance
        self.of_cvs = away.mul_(pull).mul_(-4 * self.smooth / batch)
        slopes.mul_((ratio / variance).mul_(4 * self.smooth / (batch * d)).unsqueeze(1))  # now those of the steepness by ds_k/dx
        self._back()

    def through(self, slope: Tensor) -> Tensor:
        """Slope of all by the pre-activations from that of the levels by the coordinates, (M, C, B)."""
        if self.heads is None:
            return slope + self.of_cvs
        outputs = [self.coordinates, self.cvs, self.heads]
        return torch.autograd.grad(outputs, self.pre, [slope, self.of_cvs, self.of_heads.view_as(self.heads)])[0]

    def add(self) -> None:
        """Add to the gradients of the encoder's weights, which `Perceptrons.backward` has set."""
        for i, gradient in enumerate(self.encoder.gradients):
            if i + 1 < len(self.encoder.gradients):
                gradient.baddbmm_(self.of_value[i].flatten(2), self.by_sum[i + 1].flatten(2).mT)
            else:
                gradient.add_(self._by_heads(self.of_value[i]))
        if self.encoder.path_gradient is not None:
            self.encoder.path_gradient.add_(self._by_heads(self.of_value[0]))

    def _heads(self, pre: Tensor) -> Tensor:
        """ds_k / d(pre-activation), (M, C, n, B), and the CVs that have a variance, with a graph from the pre-activations."""
        with torch.enable_grad():
            heads, cvs = [], []
            for kind, columns in zip(self.bottleneck.kinds, self.bottleneck.columns):
                c = self.coordinates[:, columns]
                head = HEADS[kind](pre[:, columns], c)
                heads.append(torch.nn.functional.pad(head, (0, 0, columns.start, pre.shape[1] - columns.stop)))
                cvs.append(c[:, :1])
            self.cvs = torch.cat(cvs, 1)
            return torch.stack(heads, 2)

    def _slopes(self) -> Tensor:
        """ds_k/dx, (M, D, n, B), back through the layers; a buffer."""
        last = len(self.encoder.weights) - 1
        for i in reversed(range(last + 1)):
            weight, out = self.encoder.weights[i], self.by_value[i]
            if i < last:
                torch.bmm(weight, self.by_sum[i + 1].flatten(2), out=out.flatten(2))
            elif self.heads is None:
                out.copy_(weight.unsqueeze(-1))
            else:
                torch.bmm(weight, self.heads.detach().flatten(2), out=out.flatten(2))
            if i > 0 and self.slope_of is not None:
                self.slopes[i] = self.slope_of(self.encoder.values[i - 1]).unsqueeze(2)
                torch.mul(out, self.slopes[i], out=self.by_sum[i])
            elif i > 0:
                self.by_sum[i].copy_(out)
        if self.encoder.path is not None:
            slopes = self.by_value[0]
            slopes.add_(self.encoder.path.unsqueeze(-1)) if self.heads is None else slopes.flatten(2).baddbmm_(
                self.encoder.path, self.heads.detach().flatten(2)
            )
        return self.by_value[0]

    def _back(self) -> None:
        """From the slope of the steepness by ds_k/dx: that by all between, forth through the layers."""
        self.beside = []
        for i in range(1, len(self.encoder.weights)):
            weight, value = self.encoder.weights[i - 1], self.encoder.values[i - 1]
            of_sum = torch.bmm(weight.mT, self.of_value[i - 1].flatten(2), out=self.of_sum[i].flatten(2)).view_as(self.of_sum[i])
            by_bend = None if self.back_of is None else self.back_of((of_sum * self.by_value[i]).sum(2), value)
            self.beside.append(torch.zeros_like(value) if by_bend is None else by_bend)
            if self.slope_of is None:
                self.of_value[i].copy_(of_sum)
            else:
                torch.mul(of_sum, self.slopes[i], out=self.of_value[i])
        if self.heads is not None:
            self.of_heads = torch.bmm(self.encoder.weights[-1].mT, self.of_value[-1].flatten(2))
            if self.encoder.path is not None:
                self.of_heads.baddbmm_(self.encoder.path.mT, self.of_value[0].flatten(2))

    def _by_heads(self, of_value: Tensor) -> Tensor:
        """Sum over rows and CVs of a slope (M, width, n, B) times the heads: (M, width, C)."""
        if self.heads is None:
            return of_value.sum(-1)
        return torch.bmm(of_value.flatten(2), self.heads.detach().flatten(2).mT)
