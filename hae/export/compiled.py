"""Positions to CVs and their Jacobian for one frame, compiled: what a force asks for at every step of a simulation.

The formulas are those of hae.data.jacobian and hae.export.encoder, which say where they come from; a test holds the two together.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numba import njit

from hae.data.jacobian import DEGENERATE
from hae.errors import BadInput
from hae.export.cv import PositionsToCVs

__all__ = ["Compiled"]

ACTIVATIONS = {"tanh": 0, "silu": 1, "gelu": 2, "relu": 3, "identity": 4}
KINDS = {"linear": 0, "tanh": 1, "circular": 2}
FEATURES = {"coordinates": 0, "distances": 1, "torsions": 2}


class Compiled:
    """``cvs, jacobian = f(positions)``: positions (A, 3) in nm -> CVs (n,) and their derivatives (n, A, 3) per nm. It can be pickled.

    function: see `hae.export.cv`; positions are trusted here to be of its molecule, in nm, and whole. The first call of a kind takes
    seconds to compile; numba keeps the result on disk.

    Raises:
        BadInput: positions that are not finite, or where the alignment or a torsion is not defined.

    Example: It goes to other processes with all that it needs.
        >>> import pickle
        >>> from hae.data.molecules import Recipe
        >>> from hae.export.cv import cv
        >>> from hae.network.hierarchy import HierarchicalNetwork
        >>> recipe = Recipe("distances", ("d",), ("nm",), pairs=(("A", "B"),))
        >>> compiled = Compiled(cv(HierarchicalNetwork.mlp(1, ["linear"]).reset(0), recipe))
        >>> pickle.loads(pickle.dumps(compiled)).function.atoms  # rows of the positions that it takes
        ('A', 'B')
    """

    def __init__(self, function: PositionsToCVs):
        self.function = function

    @cached_property
    def plain(self) -> tuple:
        """The arguments of `evaluate` after the positions: numbers and arrays alone."""
        recipe, encoder = self.function.recipe, self.function.encoder
        place = {name: number for number, name in enumerate(self.function.atoms)}
        groups = [[place[name] for name in group] for group in recipe.pairs or recipe.torsions]
        members = np.array(groups or np.empty((0, 2)), dtype=np.int64)
        reference = np.array(recipe.reference if recipe.kind == "coordinates" else np.zeros((1, 3)), dtype=np.float64)
        weights = tuple(np.ascontiguousarray(weight) for weight, _ in encoder.layers)
        path = encoder.path
        return (
            FEATURES[recipe.kind], np.ascontiguousarray(reference), members, ACTIVATIONS[encoder.activation],
            np.array([KINDS[kind] for kind in encoder.kinds]), encoder.mean, encoder.scale, weights,
            tuple(np.ascontiguousarray(weight.T) for weight in weights), tuple(np.ascontiguousarray(bias) for _, bias in encoder.layers),
            np.zeros((0, 0)) if path is None else np.ascontiguousarray(path),
            np.ascontiguousarray(encoder.T), np.ascontiguousarray(encoder.t),
        )

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fine, cvs, jacobian = evaluate(np.ascontiguousarray(positions, dtype=np.float64), *self.plain)
        if not fine:
            raise BadInput("positions: not finite, or the alignment or a torsion is not defined there; allowed: a whole molecule")
        return cvs, jacobian

    def __reduce__(self):
        return Compiled, (self.function,)


@njit(cache=True)
def evaluate(x, features, reference, groups, activation, kinds, mean, scale, weights, transposed, biases, path, T, t):
    """(whether all is defined, CVs (n,), Jacobian (n, A, 3))."""
    empty = np.zeros((len(kinds), *x.shape))
    if not np.isfinite(x).all():
        return False, np.zeros(len(kinds)), empty
    if features == 0:
        fine, s, rotation, y, c, stiffness = _align(x, reference)
    elif features == 1:
        fine, s, steps = _distances(x, groups)
    else:
        fine, s, steps = _torsions(x, groups)
    if not fine:
        return False, np.zeros(len(kinds)), empty
    cvs, g = _encode(s, activation, kinds, mean, scale, weights, transposed, biases, path, T, t)
    if features == 0:
        return True, cvs, _pull_aligned(g, rotation, y, c, stiffness)
    if features == 1:
        return True, cvs, _scatter(g, steps, groups, empty)
    by_angle = np.empty((len(kinds), len(groups)))
    for p in range(len(groups)):
        by_angle[:, p] = g[:, 2 * p] * s[2 * p + 1] - g[:, 2 * p + 1] * s[2 * p]
    return True, cvs, _scatter(by_angle, steps, groups, empty)


@njit(cache=True)
def _align(x, reference):
    y = np.empty_like(x)
    for axis in range(3):
        y[:, axis] = x[:, axis] - x[:, axis].mean()
    u, _, vt = np.linalg.svd(y.T @ reference)
    if np.linalg.det(u @ vt) < 0:
        u[:, 2] = -u[:, 2]
    rotation = u @ vt
    c = reference @ rotation.T
    m = y.T @ c
    stiffness = (m[0, 0] + m[1, 1] + m[2, 2]) * np.eye(3) - (m + m.T) / 2
    strengths = np.linalg.eigvalsh(stiffness)
    return strengths[0] > DEGENERATE * abs(strengths[2]), (y @ rotation).ravel(), rotation, y, c, stiffness


@njit(cache=True)
def _pull_aligned(gradients, rotation, y, c, stiffness):
    n, atoms = len(gradients), len(y)
    out = np.empty((n, atoms, 3))
    inverse = np.linalg.inv(stiffness)
    for k in range(n):
        g = gradients[k].copy().reshape(atoms, 3) @ rotation.T
        torque = np.zeros(3)
        for a in range(atoms):
            torque += _cross(y[a], g[a])
        turn = inverse @ torque
        for a in range(atoms):
            out[k, a] = g[a] + _cross(c[a], turn)
        for axis in range(3):
            out[k, :, axis] -= out[k, :, axis].mean()
    return out


@njit(cache=True)
def _cross(a, b):
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@njit(cache=True)
def _distances(x, pairs):
    lengths, steps = np.empty(len(pairs)), np.empty((len(pairs), 2, 3))
    for p in range(len(pairs)):
        between = x[pairs[p, 1]] - x[pairs[p, 0]]
        lengths[p] = math.sqrt((between * between).sum())
        if lengths[p] == 0:
            return False, lengths, steps
        steps[p, 1] = between / lengths[p]
        steps[p, 0] = -steps[p, 1]
    return True, lengths, steps


@njit(cache=True)
def _torsions(x, fours):
    out, steps = np.empty(2 * len(fours)), np.empty((len(fours), 4, 3))
    for p in range(len(fours)):
        f, g, h = x[fours[p, 0]] - x[fours[p, 1]], x[fours[p, 1]] - x[fours[p, 2]], x[fours[p, 3]] - x[fours[p, 2]]
        a, b = _cross(f, g), _cross(h, g)
        length, a2, b2 = math.sqrt((g * g).sum()), (a * a).sum(), (b * b).sum()
        if not math.sqrt(a2 * b2) > DEGENERATE * math.sqrt((f * f).sum() * (h * h).sum()) * length**2:
            return False, out, steps
        angle = math.atan2((_cross(b, a) * g).sum() / length, (a * b).sum())
        first, last = -length / a2 * a, length / b2 * b
        inner = (f * g).sum() / (a2 * length) * a - (h * g).sum() / (b2 * length) * b
        steps[p, 0], steps[p, 1], steps[p, 2], steps[p, 3] = first, -first + inner, -last - inner, last
        out[2 * p], out[2 * p + 1] = math.sin(angle), math.cos(angle)
    return True, out, steps


@njit(cache=True)
def _scatter(gradients, steps, groups, out):
    for k in range(len(gradients)):
        for p in range(groups.shape[0]):
            for i in range(groups.shape[1]):
                out[k, groups[p, i]] += gradients[k, p] * steps[p, i]
    return out


@njit(cache=True)
def _encode(s, activation, kinds, mean, scale, weights, transposed, biases, path, T, t):
    """CVs (n,) of features (D,), and their gradients (n, D)."""
    x = (s - mean) / scale
    last, widest = len(weights) - 1, 1
    for weight in weights:
        widest = max(widest, weight.shape[1])
    slopes = np.empty((len(weights), widest))
    y = x
    for number in range(last + 1):
        z = biases[number].copy()
        _onto(z, y, weights[number])
        if number < last:
            y = _activate(z, activation, slopes[number])
    if path.shape[0]:
        _onto(z, x, path)
    cvs, by_pre = _head(z, kinds, T, t)
    out = np.empty((len(kinds), len(s)))
    for k in range(len(kinds)):
        g = by_pre[k].copy()
        for number in range(last, -1, -1):
            down = np.zeros(weights[number].shape[0])
            _onto(down, g, transposed[number])
            if number:
                down *= slopes[number - 1][: len(down)]
            g = down
        for i in range(path.shape[0]):
            for j in range(path.shape[1]):
                g[i] += by_pre[k, j] * path[i, j]
        out[k] = g / scale
    return cvs, out


@njit(cache=True)
def _onto(z, x, weight):
    """z += x W, the rows of W in turn: the inner loop runs along memory."""
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            z[j] += x[i] * weight[i, j]


@njit(cache=True)
def _activate(z, activation, slope):
    y = np.empty_like(z)
    for j in range(len(z)):
        v = z[j]
        if activation == 0:
            y[j] = math.tanh(v)
            slope[j] = 1 - y[j] * y[j]
        elif activation == 1:
            sigmoid = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
            y[j] = v * sigmoid
            slope[j] = sigmoid * (1 + v - y[j])
        elif activation == 2:
            normal = math.erfc(-v / math.sqrt(2.0)) / 2
            y[j] = v * normal
            slope[j] = normal + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)
        elif activation == 3:
            y[j], slope[j] = max(v, 0.0), 1.0 if v > 0 else 0.0
        else:
            y[j], slope[j] = v, 1.0
    return y


@njit(cache=True)
def _head(pre, kinds, T, t):
    """CVs (n,) of pre-activations (C,), and their derivatives (n, C)."""
    width = len(pre)
    c, squash = pre.copy(), np.eye(width)
    i = 0
    for kind in kinds:
        if kind == 2:
            length = max(math.hypot(pre[i], pre[i + 1]), 1e-12)
            c[i], c[i + 1] = pre[i] / length, pre[i + 1] / length
            for a in range(2):
                for b in range(2):
                    squash[i + a, i + b] = ((1.0 if a == b else 0.0) - c[i + a] * c[i + b]) / length
        elif kind == 1:
            c[i] = math.tanh(pre[i])
            squash[i, i] = 1 - c[i] * c[i]
        i += 2 if kind == 2 else 1
    p, by_pre = T @ c + t, T @ squash
    cvs, out = np.empty(len(kinds)), np.empty((len(kinds), width))
    i = 0
    for k in range(len(kinds)):
        if kinds[k] == 2:
            cvs[k] = math.atan2(p[i + 1], p[i])
            out[k] = (p[i] * by_pre[i + 1] - p[i + 1] * by_pre[i]) / (p[i] ** 2 + p[i + 1] ** 2)
        else:
            cvs[k], out[k] = p[i], by_pre[i]
        i += 2 if kinds[k] == 2 else 1
    return cvs, out
