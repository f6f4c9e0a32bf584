"""CVs for Colvars (LAMMPS, NAMD): its neuralNetwork over torsions and distances, with weights and biases in files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.export.card import Card
from hae.export.cv import PositionsToCVs
from hae.export.plumed import FUNCTIONS, SQUASH, WALL
from hae.files import written_whole
from hae.network.kinds import PERIODS

__all__ = ["KCAL", "width", "write_colvars"]

KCAL = 4.184  # kJ
ANGSTROM = 0.1  # nm
DEGREE = np.pi / 180


def write_colvars(function: PositionsToCVs, card: Card, indices: Sequence[int], folder: str | os.PathLike) -> list[Path]:
    """Write cvs.colvars and the weights and biases of each layer, for a molecule whose atoms have these numbers, from 0.

    The units are Colvars' "real" (Angstrom, kcal/mol), which Colvars itself refuses in a run of other units.

    Raises:
        BadInput: features that are not scalars of their own.
    """
    if function.recipe.kind == "coordinates":
        raise BadInput("colvars: its neuralNetwork takes scalars, not aligned coordinates; allowed: hae export plumed (or openmm) for this "
                       "model, or a model of torsions or distances (prepare.features in params.yaml)")  # fmt: skip
    folder, serials = Path(folder), dict(zip(function.atoms, (int(i) + 1 for i in indices)))
    unit = ANGSTROM if function.recipe.kind == "distances" else 1.0
    layers, path = function.encoder.folded(unit=unit)
    made = [folder / "cvs.colvars"]
    for number, pair in enumerate(layers, 1):
        for what, values in zip(("weights", "biases"), pair):
            made.append(folder / f"layer{number}_{what}.txt")
            with written_whole(made[-1]) as partial:
                np.savetxt(partial, values.T, fmt="%.17g")
    lines = [f"# {line}" for line in card.lines()] + ["# atoms by number: " + ", ".join(f"{name} {n}" for name, n in serials.items())]
    lines += ["units real", "colvarsTrajFrequency 100"]
    for k in range(len(function.encoder.kinds)):
        lines += _colvar(function, card, k, serials, len(layers), path)
    lines += _walls(card) + _metadynamics(card)
    with written_whole(made[0]) as partial:
        partial.write_text("\n".join(lines) + "\n")
    return made


def width(card: Card, k: int) -> float:
    """Colvars' unit of length along CV k: spacing of a grid, and what forces of its biases are relative to."""
    between = card.ranges[k]
    return np.pi / 30 if card.periods[k] else (between[1] - between[0]) / 60 if between else 0.05


def _colvar(function: PositionsToCVs, card: Card, k: int, serials: dict[str, int], depth: int, path: np.ndarray | None) -> list[str]:
    expression, used = _head(function, k, path is not None)
    period, between = card.periods[k], card.ranges[k]
    lines = ["colvar {", f"  name {card.cvs[k]}", f"  width {width(card, k):.17g}"]
    if period:
        lines += [f"  period {period:.17g}", f"  lowerBoundary {-period / 2:.17g}", f"  upperBoundary {period / 2:.17g}"]
    elif between:
        room = 0.1 * (between[1] - between[0])  # a grid reaches beyond the walls
        lines += [f"  lowerBoundary {between[0] - room:.17g}", f"  upperBoundary {between[1] + room:.17g}"]
    lines.append(f"  customFunction {expression}")
    for unit in used:
        lines += ["  neuralNetwork {", f"    name y{unit}", f"    output_component {unit}"]
        for number in range(1, depth + 1):
            lines += [f"    layer{number}_WeightsFile layer{number}_weights.txt", f"    layer{number}_BiasesFile layer{number}_biases.txt",
                      f"    layer{number}_{_activation(function.encoder.activation if number < depth else 'identity')}"]  # fmt: skip
        lines += [f"    {line}" for line in _features(function, serials)] + ["  }"]
        if path is not None:
            lines += [f"  {line}" for line in _path(function, serials, path[:, unit], unit)]
    return [*lines, "}"]


def _activation(name: str) -> str:
    plain = {"tanh": "activation tanh", "identity": "activation linear"}
    return plain.get(name) or f"custom_activation {FUNCTIONS[name].format('x')}"


def _scalars(function: PositionsToCVs, serials: dict[str, int]) -> list[list[str]]:
    """The lines of each component: torsions in degrees, or distances in Angstrom, named q0, q1, ..."""
    kind = "distance" if function.recipe.kind == "distances" else "dihedral"
    return [[f"{kind} {{", f"  name q{i}", *(f"  group{j} {{ atomNumbers {serials[name]} }}" for j, name in enumerate(group, 1)), "}"]
            for i, group in enumerate(function.recipe.pairs or function.recipe.torsions)]  # fmt: skip


def _in_scalars(function: PositionsToCVs) -> list[str]:
    """Each feature as an expression of the components."""
    if function.recipe.kind == "distances":
        return [f"q{i}" for i in range(len(function.recipe.pairs))]
    return [f"{name}({DEGREE:.17g}*q{i})" for i in range(len(function.recipe.torsions)) for name in ("sin", "cos")]


def _features(function: PositionsToCVs, serials: dict[str, int]) -> list[str]:
    scalars, features = _scalars(function, serials), _in_scalars(function)
    if function.recipe.kind == "distances":
        return [line for lines in scalars for line in lines]
    return [line for i, feature in enumerate(features) for line in _custom(f"f{i}", feature, scalars[i // 2])]


def _custom(name: str, expression: str, components: list[str]) -> list[str]:
    return ["customColvar {", f"  name {name}", f"  customFunction {expression}", *(f"  {line}" for line in components), "}"]


def _path(function: PositionsToCVs, serials: dict[str, int], weights: np.ndarray, unit: int) -> list[str]:
    """The linear path beside the network, as a component of its own."""
    terms = "+".join(f"({weight:.17g})*{feature}" for weight, feature in zip(weights, _in_scalars(function)))
    return _custom(f"p{unit}", terms, [line for lines in _scalars(function, serials) for line in lines])


def _head(function: PositionsToCVs, k: int, beside: bool) -> tuple[str, list[int]]:
    """CV k as an expression of pre-activations y (and of what the path adds, p), and the numbers of those that it needs."""
    encoder = function.encoder
    e = [f"(y{i}+p{i})" if beside else f"y{i}" for i in range(len(encoder.t))]
    coordinates: list[tuple[str, set[int]]] = []
    for kind, at in zip(encoder.kinds, encoder.columns):
        coordinates += [(form.format(*e[at]), set(range(at.start, at.stop))) for form in SQUASH[kind]]
    rows, used = [], set()
    for row in range(encoder.columns[k].start, encoder.columns[k].stop):
        parts = [i for i in range(encoder.columns[k].stop) if encoder.T[row, i]]
        rows.append("+".join([f"({encoder.t[row]:.17g})", *(f"({encoder.T[row, i]:.17g})*{coordinates[i][0]}" for i in parts)]))
        used |= set().union(*(coordinates[i][1] for i in parts))
    return (f"atan2({rows[1]},{rows[0]})" if PERIODS[encoder.kinds[k]] else rows[0]), sorted(used)


def _walls(card: Card) -> list[str]:
    lines = []
    for k, (name, period, between) in enumerate(zip(card.cvs, card.periods, card.ranges)):
        if period is None and between is not None:
            lines += ["harmonicWalls {", f"  name walls_{name}", f"  colvars {name}", f"  lowerWalls {between[0]:.8g}",
                      f"  upperWalls {between[1]:.8g}", f"  forceConstant {2 * WALL / KCAL * width(card, k) ** 2:.6g}", "}"]  # fmt: skip
    return lines


def _metadynamics(card: Card) -> list[str]:
    """Ready to be uncommented: bias factor 10 at 300 K."""
    return ["#metadynamics {", f"#  colvars {' '.join(card.cvs)}", "#  hillWeight 0.3", "#  newHillFrequency 100", "#  hillWidth 6",
            "#  wellTempered on", "#  biasTemperature 2700", "#}"]  # fmt: skip
