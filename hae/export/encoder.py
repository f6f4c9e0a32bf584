"""The encoder of a network as plain numbers: what every export writes, and its CVs with their gradients in NumPy and float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import numpy as np
from scipy.special import expit, ndtr

from hae.errors import BadInput
from hae.network.kinds import PERIODS, WIDTHS

__all__ = ["Encoder", "encoder_of", "network_of"]


def _gelu_slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _bounded(pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = np.tanh(pre)
    return c, 1 - c[:, None] ** 2


def _on_circle(pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.maximum(np.linalg.norm(pre, axis=1), 1e-12)[:, None]
    c = pre / length
    return c, (np.eye(2) - c[:, :, None] * c[:, None]) / length[:, :, None]


# Name -> the function, and its derivative from its argument and value.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda x, y: 1 - y * y),
    "silu": (lambda x: x * expit(x), lambda x, y: expit(x) * (1 + x - y)),
    "gelu": (lambda x: x * ndtr(x), _gelu_slope),
    "relu": (lambda x: np.maximum(x, 0), lambda x, y: (x > 0).astype(float)),
    "identity": (lambda x: x, lambda x, y: np.ones_like(x)),
}
# Kind -> coordinates (N, width) of pre-activations (N, width), and their derivatives (N, width, width).
SQUASH: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "linear": lambda pre: (pre, np.ones((len(pre), 1, 1))),
    "tanh": _bounded,
    "circular": _on_circle,
}


@dataclass(frozen=True)
class Encoder:
    """x = (s - mean) / scale; pre-activations by `layers` [(W, b)], y = x W + b, with `activation` between, plus x path; squashed by the
    kind of each CV; then T c + t, and the angle of a circular CV. All float64. C: coordinates, two of a circular CV, one of others.

    Example:
        >>> layer = np.array([[1.0], [2.0]]), np.zeros(1)
        >>> encoder = Encoder(("linear",), "identity", np.zeros(2), np.ones(2), (layer,), None, np.eye(1), np.zeros(1))
        >>> cvs, gradients = encoder(np.array([[3.0, 1.0]]))  # rows (N, D)
        >>> cvs.tolist(), gradients.tolist()  # (N, n), (N, n, D)
        ([[5.0]], [[[1.0, 2.0]]])
    """

    kinds: tuple[str, ...]
    activation: str
    mean: np.ndarray
    scale: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    path: np.ndarray | None
    T: np.ndarray
    t: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.layers[0][0])

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        ends = np.cumsum([WIDTHS[kind] for kind in self.kinds])
        return tuple(slice(int(end) - WIDTHS[kind], int(end)) for kind, end in zip(self.kinds, ends))

    def folded(self, shift: float | np.ndarray = 0.0, unit: float = 1.0) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray | None]:
        """Layers and path that read scalars q themselves, s = q * unit - shift: standardisation is in the first weights, and in biases."""
        layers, start = list(self.layers), (self.mean + shift) / self.scale
        first = layers[0][0]
        layers[0] = (first * unit / self.scale[:, None], layers[0][1] - start @ first)
        if self.path is None:
            return layers, None
        layers[-1] = (layers[-1][0], layers[-1][1] - start @ self.path)
        return layers, self.path * unit / self.scale[:, None]

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CVs (N, n) of features s (N, D) in raw units, and their gradients (N, n, D) by the features."""
        x = (np.asarray(s, dtype=np.float64) - self.mean) / self.scale
        function, slope = ACTIVATIONS[self.activation]
        y, slopes = x, []
        for number, (weight, bias) in enumerate(self.layers):
            z = y @ weight + bias
            if number < len(self.layers) - 1:
                y = function(z)  # type: ignore[operator]
                slopes.append(slope(z, y))
        cvs, g = self._head(z if self.path is None else z + x @ self.path)
        direct = 0 if self.path is None else g @ self.path.T
        for number in range(len(self.layers) - 1, 0, -1):
            g = (g @ self.layers[number][0].T) * slopes[number - 1][:, None]
        return cvs, (g @ self.layers[0][0].T + direct) / self.scale

    def _head(self, pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CVs (N, n) of pre-activations (N, C), and their derivatives (N, n, C)."""
        c, squash = np.empty_like(pre), np.zeros((*pre.shape, pre.shape[1]))
        for kind, at in zip(self.kinds, self.columns):
            c[:, at], squash[:, at, at] = SQUASH[kind](pre[:, at])
        p, by_pre = c @ self.T.T + self.t, self.T @ squash
        cvs, out = np.empty((len(p), len(self.kinds))), np.empty((len(p), len(self.kinds), p.shape[1]))
        for k, (kind, at) in enumerate(zip(self.kinds, self.columns)):
            i = at.start
            if PERIODS[kind]:
                cosine, sine = p[:, i, None], p[:, i + 1, None]
                cvs[:, k] = np.arctan2(sine, cosine)[:, 0]
                out[:, k] = (cosine * by_pre[:, i + 1] - sine * by_pre[:, i]) / (cosine**2 + sine**2)
            else:
                cvs[:, k], out[:, k] = p[:, i], by_pre[:, i]
        return cvs, out


def network_of(model):
    """The network of a fitted estimator, of a registered version as loaded, or itself."""
    return getattr(model, "network_", None) or getattr(model, "network", None) or model


def encoder_of(model, cvs: int | None = None) -> Encoder:
    """The encoder of the first `cvs` CVs (None: all) of a network, a fitted estimator or a registered version as loaded.

    Raises:
        BadInput: more CVs than there are, or an encoder that is no perceptron of this library.
    """
    network = network_of(model)
    try:
        bottleneck, encoder = network.bottleneck, network.encoder
        part = SimpleNamespace(layers=encoder.layers, activation=encoder.activation, path=getattr(encoder, "path", None))
    except AttributeError:
        raise BadInput("model: its encoder is not a perceptron of hae, so it can't be written out; allowed: the default network") from None
    n = len(bottleneck.kinds) if cvs is None else cvs
    if not 1 <= n <= len(bottleneck.kinds):
        raise BadInput(f"cvs: {n} is not allowed; allowed: 1 to {len(bottleneck.kinds)}, the number of CVs of the model")
    kinds = tuple(bottleneck.kinds[:n])
    c = sum(WIDTHS[kind] for kind in kinds)  # no CV has a part of a later one
    layers = [(_plain(layer.weight), _plain(layer.bias).reshape(-1)) for layer in part.layers]
    if any(weight.ndim != 2 for weight, _ in layers):
        raise BadInput("model: a stack of several networks; allowed: one of them (network.member(i))")
    layers[-1] = (layers[-1][0][:, :c], layers[-1][1][:c])
    size = len(layers[0][0])
    return Encoder(
        kinds,
        part.activation,
        np.broadcast_to(_plain(network.input_mean), size).copy(),
        np.broadcast_to(_plain(network.input_scale), size).copy(),
        tuple(layers),
        None if part.path is None else _plain(part.path)[:, :c],
        _plain(bottleneck.T)[:c, :c],
        _plain(bottleneck.t)[:c],
    )


def _plain(tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
