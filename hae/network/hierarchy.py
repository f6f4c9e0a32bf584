"""The two diagrams in code: one encoder, n CVs, and a decoder for every level, collective or boosted."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .bottleneck import Bottleneck
from .kinds import PERIODS
from .layers import ACTIVATIONS, MaskedMLP, MLPFactory, SeparateDecoders

STILL = 1e-12  # variance of a CV below which `steepness` takes it for this: nothing is divided by 0 where a CV stands still
STANDARD = ("input_mean", "input_scale", "output_mean", "output_scale")

__all__ = ["DECODERS", "VARIANTS", "BoostedDecoder", "CollectiveDecoder", "Decoder", "HierarchicalNetwork", "PlainDecoder"]


class Decoder(nn.Module):
    """What variants share: a decoder of its own for every level, which reads the CVs that ``reads`` names.

    coordinates: (*members, N, C) -> levels q: (*members, n, N, D).

    Example:
        >>> class Together(Decoder):  # a variant: every level sees all CVs, and is what its decoder gives
        ...     reads = staticmethod(lambda n: torch.ones(n, n))
        ...     combine = staticmethod(lambda outputs: outputs)
        >>> decoder = Together(lambda width: nn.Linear(width, 5), owner=torch.arange(3))
        >>> decoder(torch.zeros(7, 3)).shape  # (n, N, D)
        torch.Size([3, 7, 5])
    """

    def __init__(self, factory: Callable[[int], nn.Module], owner: Tensor):
        super().__init__()
        adjacency = self.reads(int(owner.max()) + 1)[:, owner]
        self.outputs = factory.stacked(adjacency) if hasattr(factory, "stacked") else SeparateDecoders(factory, adjacency)

    @staticmethod
    def reads(n: int) -> Tensor:
        """(levels, n) of 0 and 1: which CVs the decoder of each level sees."""
        raise NotImplementedError

    @staticmethod
    def combine(outputs: Tensor) -> Tensor:
        """Levels from the outputs of the decoders, both (*members, levels, N, D)."""
        raise NotImplementedError

    def forward(self, coordinates: Tensor) -> Tensor:
        return self.combine(self.outputs(coordinates))


class CollectiveDecoder(Decoder):
    """q_k = f_k(CV_1, ..., CV_k): every level decodes all CVs so far afresh.

    Example: What each of three levels reads.
        >>> CollectiveDecoder.reads(3).int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """

    @staticmethod
    def reads(n: int) -> Tensor:
        return torch.ones(n, n).tril()

    @staticmethod
    def combine(outputs: Tensor) -> Tensor:
        return outputs


class BoostedDecoder(Decoder):
    """q_k = q_{k-1} + d_k(CV_k): every level adds what one CV says of the residual.

    Example: What each of three levels reads, and how they add up.
        >>> BoostedDecoder.reads(3).int()
        tensor([[1, 0, 0],
                [0, 1, 0],
                [0, 0, 1]], dtype=torch.int32)
        >>> BoostedDecoder.combine(torch.tensor([1.0, 10.0, 100.0])[:, None, None]).flatten()
        tensor([  1.,  11., 111.])
    """

    @staticmethod
    def reads(n: int) -> Tensor:
        return torch.eye(n)

    @staticmethod
    def combine(outputs: Tensor) -> Tensor:
        return torch.stack(list(accumulate(outputs.unbind(-3))), -3)


class PlainDecoder(Decoder):
    """One level that decodes all CVs at once: the plain autoencoder, which no hierarchy of as many CVs can beat at its last level.

    Example:
        >>> PlainDecoder.reads(3).int()
        tensor([[1, 1, 1]], dtype=torch.int32)
    """

    @staticmethod
    def reads(n: int) -> Tensor:
        return torch.ones(1, n)

    @staticmethod
    def combine(outputs: Tensor) -> Tensor:
        return outputs


# A further variant is a class and an entry here: docs/architecture.md, "Where a new one goes".
VARIANTS: dict[str, type[Decoder]] = {"collective": CollectiveDecoder, "boosted": BoostedDecoder}
DECODERS: dict[str, type[Decoder]] = {**VARIANTS, "plain": PlainDecoder}


class HierarchicalNetwork(nn.Module):
    """A hierarchical autoencoder (Chen, Tan, Ferguson, J. Chem. Phys. 149, 072312, 2018) around any encoder and decoders.

    Args:
        encoder: module (N, D) -> (N, C), the pre-activations of the CVs: one for a linear or tanh CV, two for a circular one.
        decoder_factory: called as ``decoder_factory(n_inputs)`` for every level; gives a module (N, n_inputs) -> (N, D).
        variant: a name in `DECODERS`.
        cv: kind of every CV, in order: "linear", "tanh" or "circular".

    ``cvs, levels = network(s)``: s (N, D) in raw units, cvs (N, n), levels (n, N, D) in the units of s. A network of several
    members has their axis in front of each shape. Inputs are standardised and levels restored by buffers that `scale_by` sets.

    Example: Two CVs of four features, with modules of one's own.
        >>> network = HierarchicalNetwork(nn.Linear(4, 2), lambda n: nn.Linear(n, 4), "boosted", ("linear", "linear"))
        >>> cvs, levels = network(torch.zeros(10, 4))
        >>> cvs.shape, levels.shape
        (torch.Size([10, 2]), torch.Size([2, 10, 4]))
    """

    spec: dict[str, Any] | None
    input_mean: Tensor
    input_scale: Tensor
    output_mean: Tensor
    output_scale: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder_factory: Callable[[int], nn.Module],
        variant: str = "collective",
        cv: Sequence[str] = ("linear",),
    ):
        super().__init__()
        if variant not in DECODERS:
            raise BadInput(f"variant: {variant!r} is not a variant; allowed: {', '.join(VARIANTS)}")
        self.variant, self.spec = variant, None
        self.bottleneck = Bottleneck(cv)
        self.encoder = encoder
        self.decoder = DECODERS[variant](decoder_factory, self.bottleneck.owner)
        for name, value in zip(STANDARD, (0.0, 1.0, 0.0, 1.0)):
            self.register_buffer(name, torch.tensor([value], dtype=torch.float64))

    def _apply(self, fn, recurse=True):
        """As of any module, but the standardisation stays float64: far from zero a mean in float32 would be off by whole deviations."""
        exact = {name: getattr(self, name) for name in STANDARD}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    @classmethod
    def mlp(
        cls,
        n_inputs: int,
        cv: Sequence[str],
        variant: str = "collective",
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        n_outputs: int | None = None,
        members: int | None = None,
        linear_path: bool = False,
    ) -> "HierarchicalNetwork":
        """The default network: a perceptron as encoder and one for every level; the decoders' widths mirror the encoder's.

        ``members``: number of networks in one stack, or None for one network without that axis. ``linear_path``: the encoder adds a
        linear map to what its perceptron gives (see `start_path`). `spec` holds these arguments.
        """
        if activation not in ACTIVATIONS:
            raise BadInput(f"activation: {activation!r} is not an activation; allowed: {', '.join(ACTIVATIONS)}")
        n_outputs = n_inputs if n_outputs is None else n_outputs
        stack = () if members is None else (members,)
        encoder = MaskedMLP(n_inputs, Bottleneck(cv).n_coordinates, hidden, activation, stack, linear_path=linear_path)
        network = cls(encoder, MLPFactory(n_outputs, tuple(reversed(hidden)), activation, stack), variant, cv)
        network.spec = {
            "n_inputs": n_inputs,
            "cv": list(cv),
            "variant": variant,
            "hidden": [int(width) for width in hidden],
            "activation": activation,
            "n_outputs": n_outputs,
            "linear_path": linear_path,
        }
        return network

    def member(self, i: int) -> "HierarchicalNetwork":
        """Network i of a stack, by itself."""
        assert self.spec is not None
        single = HierarchicalNetwork.mlp(**self.spec).to(self.bottleneck.T)
        stacked = {name for name, _ in self.named_parameters()}
        state = {name: value[i] if name in stacked else value for name, value in self.state_dict().items()}
        single.scale_by(self.input_mean, self.input_scale, self.output_mean, self.output_scale)
        single.load_state_dict(state)
        return single

    def first(self, n: int) -> "HierarchicalNetwork":
        """The default network of the first n CVs of this one: its levels are the first n of these, unchanged."""
        assert self.spec is not None
        cv = self.spec["cv"][:n]
        cut = HierarchicalNetwork.mlp(**{**self.spec, "cv": cv}).to(self.bottleneck.T)
        cut.scale_by(self.input_mean, self.input_scale, self.output_mean, self.output_scale)
        # Later CVs, coordinates and levels are the last rows of each tensor, and no earlier level depends on them.
        state = {name: self.state_dict()[name][tuple(slice(size) for size in value.shape)] for name, value in cut.state_dict().items()}
        cut.load_state_dict(state)
        return cut.requires_grad_(False)

    @property
    def n_levels(self) -> int:
        return len(self.decoder.reads(self.n_cvs))

    @property
    def n_cvs(self) -> int:
        return len(self.bottleneck.kinds)

    def reset(self, seed: int, member: int | None = None) -> "HierarchicalNetwork":
        """Xavier start of a default network (of one of its members) from a seed; the same on every device and for any stack."""
        generator = torch.Generator().manual_seed(seed)
        for part in cast(tuple[MaskedMLP, ...], (self.encoder, self.decoder.outputs)):
            part.reset(generator, () if member is None else (member,))
        return self

    @torch.no_grad()
    def start_path(self, s: Tensor, weights: Tensor | None = None) -> "HierarchicalNetwork":
        """Start the linear path of every member at the principal directions of rows s (N, D) in raw units, weights (N,).

        Coordinate c gets the c-th direction over the standard deviation along it, and so begins as a principal component of unit
        variance; a further one than there are gets none. What is missing is read as the mean. `reset` leaves the path alone.
        """
        path = cast(MaskedMLP, self.encoder).path
        if path is None:
            return self
        x = ((s.double().cpu() - self.input_mean.cpu()) / self.input_scale.cpu()).nan_to_num()
        w = torch.ones(len(x), 1, dtype=torch.float64) if weights is None else weights.double().cpu()[:, None]
        centred = x - (w * x).sum(0) / w.sum()
        variances, axes = torch.linalg.eigh(centred.mT @ (w * centred) / w.sum())
        variances, axes = variances.flip(0), axes.flip(1)  # largest first
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        sure = variances > 1e-10 * variances[0]
        count = min(path.shape[-1], int(sure.sum()))
        path.zero_()
        path[..., :count] = (axes / variances.sqrt())[:, :count].to(path)
        return self

    def scale_by(self, input_mean, input_scale, output_mean, output_scale) -> None:
        """Set the standardisation: x = (s - input_mean) / input_scale inside, q = output_mean + output_scale * y outside."""
        for name, value in zip(STANDARD, (input_mean, input_scale, output_mean, output_scale)):
            old = getattr(self, name)
            setattr(self, name, torch.as_tensor(value, dtype=old.dtype, device=old.device).reshape(-1).clone())

    @property
    def dtype(self) -> torch.dtype:
        """The type that the network works in; its standardisation is float64 always."""
        return self.bottleneck.T.dtype

    def standardise(self, s: Tensor) -> Tensor:
        """Inputs (N, D) in raw units as the encoder reads them; the difference from the mean is taken in float64."""
        return ((s - self.input_mean) / self.input_scale).to(self.dtype)

    def coordinates(self, x: Tensor) -> Tensor:
        """What the decoders read, (*members, N, C), of standardised input x (*members, N, D)."""
        return self.bottleneck(self.encoder(x))

    def standardised_levels(self, x: Tensor) -> Tensor:
        """Levels (*members, n, N, D) in standardised units: all that training needs."""
        return self.decoder(self.coordinates(x))

    def steepness(self, x: Tensor) -> Tensor:
        """sum_k mean((|ds_k/dx|^2 / (D Var s_k))^2) over rows x (*members, N, D) in standardised units, (*members,).

        s_k: the CVs, (N,) each; Var: over these rows, and 1 for an angle. The fourth power acts on cliffs, where a mean square would
        smooth all alike. By autograd through the encoder; its own gradients can be taken.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            cvs = self.bottleneck.publish(self.coordinates(x))
            terms = []
            for kind, s in zip(self.bottleneck.kinds, cvs.unbind(-1)):
                (slope,) = torch.autograd.grad(s.sum(), x, create_graph=True)
                square = slope.square().mean(-1)
                variance = 1 if PERIODS[kind] else s.var(-1, correction=0, keepdim=True).clamp_min(STILL)
                terms.append((square / variance).square().mean(-1))
            return torch.stack(terms).sum(0)

    def encode(self, s: Tensor) -> Tensor:
        """CVs (N, n) of s (N, D) in raw units; a circular CV is an angle in radians, in (-pi, pi]."""
        return self.bottleneck.publish(self.coordinates(self.standardise(s)))

    def decode(self, cvs: Tensor) -> Tensor:
        """Levels (n, N, D) in raw units of CVs (N, n)."""
        return self._restore(self.decoder(self.bottleneck.read(cvs)))

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        coordinates = self.coordinates(self.standardise(s))
        return self.bottleneck.publish(coordinates), self._restore(self.decoder(coordinates))

    def _restore(self, levels: Tensor) -> Tensor:
        return (self.output_mean + self.output_scale * levels).to(levels.dtype)

    @property
    def widths(self) -> str:
        """The hidden layers of a default network in words, such as "64-64 beside a linear path"; "" of another one."""
        if self.spec is None:
            return ""
        layers = "-".join(map(str, self.spec["hidden"])) or "no hidden layer"
        return layers + (" beside a linear path" if self.spec.get("linear_path") else "")

    def n_parameters(self) -> int:
        return sum(math.prod(p.shape) for p in self.parameters())
