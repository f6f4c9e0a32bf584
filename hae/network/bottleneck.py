"""The CV layer: what an encoder gives, what decoders read, and the CVs that people see."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .kinds import PERIODS, WIDTHS

__all__ = ["SQUASH", "Bottleneck"]

# Kind -> coordinates (..., width) of pre-activations (..., width).
SQUASH: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda pre: pre,
    "tanh": torch.tanh,
    "circular": lambda pre: nn.functional.normalize(pre, dim=-1),
}


class Bottleneck(nn.Module):
    """CVs of one kind or of several. Three forms of the same numbers, C = sum of widths:

    - pre-activations (..., C): the encoder's output;
    - coordinates (..., C): what decoders read; tanh of a bounded CV, a point on the unit circle of a circular one
      (Kirby and Miranda, Circular nodes in neural networks, 1996);
    - CVs (..., n): what people see. ``T c + t`` of the coordinates c, with a circular CV given as its angle. T and t are the
      canonical form (see `hae.network.canonical`): they rename the CVs, and the decoders, which read c, cannot notice.

    T is lower block-triangular, so no CV is given a part of a later one.

    Example: A linear CV takes one number of the encoder, a circular one two.
        >>> bottleneck = Bottleneck(["linear", "circular"])
        >>> coordinates = bottleneck(torch.tensor([[0.5, 0.0, 2.0]]))
        >>> coordinates
        tensor([[0.5000, 0.0000, 1.0000]])
        >>> bottleneck.publish(coordinates)  # the angle in radians
        tensor([[0.5000, 1.5708]])
    """

    T: Tensor
    T_inverse: Tensor
    t: Tensor

    def __init__(self, kinds: Sequence[str]):
        super().__init__()
        kinds = tuple(kinds)
        for i, kind in enumerate(kinds):
            if kind not in WIDTHS:
                raise BadInput(f"cv[{i}]: {kind!r} is not a kind of CV; allowed: {', '.join(WIDTHS)}")
        if not kinds:
            raise BadInput("cv: an empty list; at least one CV is needed")
        self.kinds = kinds
        widths = [WIDTHS[kind] for kind in kinds]
        starts = [sum(widths[:i]) for i in range(len(kinds))]
        # Slices: a list of numbers would be copied to the device at every step, which a captured step forbids.
        self.columns = [slice(start, start + width) for start, width in zip(starts, widths)]
        self.owner = torch.repeat_interleave(torch.arange(len(kinds)), torch.tensor(widths))  # CV of each coordinate
        self.n_coordinates = len(self.owner)
        self.register_buffer("T", torch.eye(self.n_coordinates))
        self.register_buffer("T_inverse", torch.eye(self.n_coordinates))
        self.register_buffer("t", torch.zeros(self.n_coordinates))

    def forward(self, pre: Tensor) -> Tensor:
        """Coordinates (..., C) of pre-activations (..., C)."""
        if all(kind == "linear" for kind in self.kinds):
            return pre
        return torch.cat([SQUASH[kind](pre[..., columns]) for kind, columns in zip(self.kinds, self.columns)], dim=-1)

    def publish(self, coordinates: Tensor) -> Tensor:
        """CVs (..., n) of coordinates (..., C)."""
        c = coordinates @ self.T.mT + self.t
        return torch.cat(
            [_angle(c[..., columns]) if PERIODS[kind] else c[..., columns] for kind, columns in zip(self.kinds, self.columns)],
            dim=-1,
        )

    def embed(self, cvs: Tensor) -> Tensor:
        """CVs (..., n) as (..., C): an angle as its cosine and sine, others as they are."""
        return torch.cat(
            [
                torch.cat([cvs[..., i : i + 1].cos(), cvs[..., i : i + 1].sin()], dim=-1) if PERIODS[kind] else cvs[..., i : i + 1]
                for i, kind in enumerate(self.kinds)
            ],
            dim=-1,
        )

    def read(self, cvs: Tensor) -> Tensor:
        """Coordinates (..., C) of CVs (..., n): the inverse of `publish`."""
        return (self.embed(cvs) - self.t) @ self.T_inverse.mT

    @torch.no_grad()
    def forget_names(self) -> None:
        """Back to the CVs as training left them: T the identity, t zero."""
        for buffer, value in ((self.T, torch.eye(self.n_coordinates)), (self.T_inverse, torch.eye(self.n_coordinates)), (self.t, 0)):
            buffer.copy_(torch.as_tensor(value))

    @torch.no_grad()
    def rename(self, T: Tensor, t: Tensor) -> None:
        """Put CVs' = T CVs + t (in coordinates) on top of the present form. T (C, C) lower block-triangular, t (C,)."""
        T, t = T.double().cpu(), t.double().cpu()
        new_T, new_t = T @ self.T.double().cpu(), T @ self.t.double().cpu() + t
        inverse = (
            torch.linalg.solve_triangular(new_T, torch.eye(len(t), dtype=torch.float64), upper=False)
            if torch.equal(new_T, new_T.tril())
            else torch.linalg.inv(new_T)
        )
        allowed = self.owner[:, None] >= self.owner[None, :]  # rounding must not let a later CV in
        for buffer, value in ((self.T, new_T), (self.T_inverse, inverse * allowed), (self.t, new_t)):
            buffer.copy_(value)


def _angle(point: Tensor) -> Tensor:
    return torch.atan2(point[..., 1:], point[..., :1])
