"""cvs.py: a network as some twenty lines of Python that need NumPy alone."""

from __future__ import annotations

import numpy as np

from hae.export.card import Card
from hae.export.encoder import Encoder
from hae.export.reader import FARTHEST, usual_size
from hae.network.kinds import PERIODS

__all__ = ["arrays_of", "script"]

ACTIVATIONS = {
    "tanh": "np.tanh(y)",
    "silu": "y / (1 + np.exp(-y))",
    "gelu": "y * (1 + np.vectorize(math.erf)(y / np.sqrt(2))) / 2",
    "relu": "np.maximum(y, 0)",
    "identity": "y",
}
# Kind -> the lines that make coordinates of pre-activations.
SQUASH: dict[str, tuple[str, ...]] = {
    "linear": (),
    "tanh": ("{0} = np.tanh({0})",),
    "circular": ("{0} /= np.maximum(np.linalg.norm({0}, axis=1, keepdims=True), 1e-12)",),
}
# Kind of recipe -> the lines that make features s (N, D) of positions x (N, A, 3), as `hae.data.jacobian.featurise` does.
FEATURES = {
    "coordinates": (
        "x = x - x.mean(1, keepdims=True)  # turned to the reference, whose mean is zero (Kabsch)",
        'u, _, v = np.linalg.svd(x.swapaxes(1, 2) @ W["reference"])',
        "u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]",
        "s = (x @ u @ v).reshape(len(x), -1)",
    ),
    "distances": ('s = np.linalg.norm(x[:, W["groups"][:, 1]] - x[:, W["groups"][:, 0]], axis=2)',),
    "torsions": (
        'a, b, c, d = np.moveaxis(x[:, W["groups"]], 2, 0)',
        "f, g, h = a - b, b - c, d - c",
        "a, b = np.cross(f, g), np.cross(h, g)",
        "angle = np.arctan2((np.cross(b, a) * g).sum(2) / np.linalg.norm(g, axis=2), (a * b).sum(2))",
        "s = np.stack([np.sin(angle), np.cos(angle)], 2).reshape(len(x), -1)",
    ),
}


def arrays_of(encoder: Encoder, card: Card) -> dict[str, np.ndarray]:
    """What weights.npz holds: the numbers of the network, names of the features, for what is in nm where it is and its usual
    size, and for a molecule how its features are made."""
    arrays = {f"{name}{i}": value for i, pair in enumerate(encoder.layers) for name, value in zip("wb", pair)}
    arrays |= {"mean": encoder.mean, "scale": encoder.scale, "T": encoder.T, "t": encoder.t, "features": np.array(card.features, dtype=str)}
    arrays |= {} if encoder.path is None else {"path": encoder.path}
    if usual_size(card.to_dict()):
        arrays |= {"lengths": np.array([unit == "nm" for unit in card.units]), "usual": np.array(usual_size(card.to_dict()))}
    return arrays | _of_molecule(card)


def _of_molecule(card: Card) -> dict[str, np.ndarray]:
    """What features of positions are made with: the reference, or the atoms of each distance or torsion by their numbers in the card."""
    if card.recipe is None:
        return {}
    made = {"made": np.array(card.recipe.names, dtype=str)}
    if card.recipe.kind == "coordinates":
        return made | {"reference": np.array(card.recipe.reference)}
    place = {name: number for number, name in enumerate(card.atoms)}
    return made | {"groups": np.array([[place[name] for name in group] for group in card.recipe.pairs or card.recipe.torsions])}


def script(encoder: Encoder, card: Card) -> str:
    """The text of cvs.py: only what this network needs is in it."""
    return "\n".join([*_head(encoder, card), *_checks(card), *_network(encoder), *_cvs(encoder), *_features(card)]) + "\n"


def _features(card: Card) -> list[str]:
    """For a molecule a second function, so that nobody has to align positions by another convention."""
    if card.recipe is None:
        return []
    return [
        "",
        "",
        "def features(positions):",
        '    """Features by name, for `cvs`, of positions (N, A, 3) in nm of the atoms in card.json, in that order, molecules whole."""',
        "    x = np.asarray(positions, float)",
        f"    if x.ndim != 3 or x.shape[1:] != ({len(card.atoms)}, 3):",
        f'        raise ValueError(f"positions: {{x.shape}}; allowed: (N, {len(card.atoms)}, 3), the atoms of card.json")',
        *(f"    {line}" for line in FEATURES[card.recipe.kind]),
        '    return dict(zip(W["made"], s.T))',
    ]


def _head(encoder: Encoder, card: Card) -> list[str]:
    names = "cvs" if card.recipe is None else "cvs, features"
    return [
        f'"""CVs by NumPy alone: `from cvs import {names}`. {_harmless(card.model)} version {_harmless(card.version)}, exported by hae."""',
        *(["import math"] if encoder.activation == "gelu" else []),
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        'W = dict(np.load(Path(__file__).with_name("weights.npz")))',
        "",
        "",
        "def cvs(table):",
        f'    """CVs (N, {len(card.cvs)}) of a DataFrame, or a dict of columns, by name; card.json has units, ranges and periods."""',
    ]


def _harmless(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " -_.")


def _checks(card: Card) -> list[str]:
    circle = any(name.startswith(("sin(", "cos(")) for name in card.features)
    lines = [
        '    missing = [name for name in W["features"] if name not in getattr(table, "columns", table)]',
        "    if missing:",
        '        raise ValueError(f"columns: {len(missing)} are missing, such as {missing[0]}; allowed: all of card.json, by their names")',
        '    s = np.stack([np.asarray(table[name], float) for name in W["features"]], 1)',
        "    if not np.isfinite(s).all():",
        '        raise ValueError("columns: a number is not finite; allowed: finite numbers")',
    ]
    if circle:
        lines += [
            '    circle = np.char.startswith(W["features"], "sin(") | np.char.startswith(W["features"], "cos(")',
            "    if (np.abs(s[:, circle]) > 1 + 1e-6).any():",
            '        raise ValueError("columns: a sine or cosine beyond 1; allowed: -1 to 1")',
        ]
    if usual_size(card.to_dict()):
        lines += [
            '    size = np.sqrt((s[:, W["lengths"]] ** 2).mean(1)) / W["usual"]',
            f"    if ((size > {FARTHEST}) | (size < {1 / FARTHEST})).any():",
            f'        raise ValueError("lengths: {FARTHEST} times the usual size, or a quarter; allowed: nm (1 nm = 10 Angstrom)")',
        ]
    return lines


def _network(encoder: Encoder) -> list[str]:
    last = len(encoder.layers) - 1
    lines = ['    x = y = (s - W["mean"]) / W["scale"]']
    if last:
        lines += [
            f"    for i in range({last}):",
            '        y = y @ W[f"w{i}"] + W[f"b{i}"]',
            f"        y = {ACTIVATIONS[encoder.activation]}",
        ]
    beside = "" if encoder.path is None else ' + x @ W["path"]'
    return [*lines, f'    y = y @ W["w{last}"] + W["b{last}"]{beside}']


def _cvs(encoder: Encoder) -> list[str]:
    lines, parts = [], []
    for kind, at in zip(encoder.kinds, encoder.columns):
        here = f"y[:, {at.start}:{at.stop}]"
        lines += [f"    {line.format(here)}" for line in SQUASH[kind]]
        parts.append(f"np.arctan2(c[:, {at.start + 1}], c[:, {at.start}])" if PERIODS[kind] else f"c[:, {at.start}]")
    if all(kind == "linear" for kind in encoder.kinds):
        return ['    return y @ W["T"].T + W["t"]']
    return [*lines, '    c = y @ W["T"].T + W["t"]', f"    return np.stack([{', '.join(parts)}], 1)"]
