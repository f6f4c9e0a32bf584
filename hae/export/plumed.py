"""CVs for PLUMED: an input file that stands alone, of actions that every build of PLUMED >= 2.10 has, and a reference to align to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.export.card import Card
from hae.export.cv import PositionsToCVs
from hae.files import written_whole
from hae.network.kinds import PERIODS

__all__ = ["FUNCTIONS", "SQUASH", "write_plumed"]

# Of Lepton, which PLUMED's CUSTOM, Colvars and OpenMM read.
FUNCTIONS = {
    "tanh": "tanh({0})",
    "silu": "({0})/(1+exp(-({0})))",
    "gelu": "0.5*({0})*(1+erf(({0})/sqrt(2)))",
    "relu": "max({0},0)",
    "identity": "({0})",
}
# Kind -> each coordinate of a CV from its pre-activations.
SQUASH = {
    "linear": ("{0}",),
    "tanh": ("tanh({0})",),
    "circular": ("{0}/sqrt({0}*{0}+{1}*{1})", "{1}/sqrt({0}*{0}+{1}*{1})"),
}
MOST_BIASED = 2  # CVs in the lines of METAD and OPES: along more a bias takes too long to fill
WALL = 1000  # kJ/mol, times the square of the way beyond the training range


def write_plumed(function: PositionsToCVs, card: Card, indices: Sequence[int], folder: str | os.PathLike, ann: bool = False) -> list[Path]:
    """Write plumed.dat, and reference.pdb where positions are aligned, for a molecule whose atoms have these numbers, from 0.

    ann: the network by PLUMED's ANN function, which the optional module annfunc holds, instead of matrix products.

    Raises:
        BadInput: ann of a network that it can't do: a linear path, or another activation than tanh.
    """
    folder, serials = Path(folder), [int(i) + 1 for i in indices]
    if ann and (function.encoder.path is not None or function.encoder.activation != "tanh"):
        raise BadInput("plumed: ANN supports tanh alone and no linear path; allowed: this network without --plumed-ann")
    features, shift = _features(function, serials)
    names = [name for name, _ in features]
    lines = [f"# {line}" for line in card.lines()]
    lines += ["# atoms by number: " + ", ".join(f"{n} {s}" for n, s in zip(function.atoms, serials)), "UNITS LENGTH=nm ENERGY=kj/mol"]
    lines += [line for _, line in features if line]
    lines += (_by_ann if ann else _by_products)(function, names, shift)
    lines += _cvs(function) + _bias(card)
    made = [folder / "plumed.dat"]
    if function.recipe.kind == "coordinates":
        made.append(folder / "reference.pdb")
        with written_whole(made[1]) as partial:
            partial.write_text(_reference(function, serials))
    with written_whole(made[0]) as partial:
        partial.write_text("\n".join(lines) + "\n")
    return made


def _features(function: PositionsToCVs, serials: list[int]) -> tuple[list[tuple[str, str]], np.ndarray | float]:
    """[(name of a scalar, the line that makes it)], and what to take from the scalars to have the features."""
    recipe, place = function.recipe, dict(zip(function.atoms, serials))
    if recipe.kind == "distances":
        return [(f"f{i}", f"f{i}: DISTANCE ATOMS={place[a]},{place[b]}") for i, (a, b) in enumerate(recipe.pairs)], 0.0
    if recipe.kind == "torsions":
        lines = []
        for i, four in enumerate(recipe.torsions):
            angle = f"t{i}: TORSION ATOMS={','.join(str(place[name]) for name in four)}\n"
            lines.append((f"f{2 * i}", f"{angle}f{2 * i}: CUSTOM ARG=t{i} FUNC=sin(x) PERIODIC=NO"))
            lines.append((f"f{2 * i + 1}", f"f{2 * i + 1}: CUSTOM ARG=t{i} FUNC=cos(x) PERIODIC=NO"))
        return lines, 0.0
    align = f"WHOLEMOLECULES ENTITY0={','.join(map(str, serials))}\nFIT_TO_TEMPLATE REFERENCE=reference.pdb TYPE=OPTIMAL\n"
    lines = [(f"p{i}.{axis}", f"{align if i == 0 else ''}p{i}: POSITION ATOM={serial} NOPBC" if axis == "x" else "")
             for i, serial in enumerate(serials) for axis in "xyz"]  # fmt: skip
    return lines, np.tile(_template(function).mean(axis=0), len(serials))


def _template(function: PositionsToCVs) -> np.ndarray:
    """The reference in nm as a PDB file can hold it, from 0.0001 nm: exact from its first atom on where it came from such a file."""
    reference = np.array(function.recipe.reference)
    return np.round(reference - reference[0], 4)


def _reference(function: PositionsToCVs, serials: list[int]) -> str:
    rows = []
    for number in np.argsort(serials):  # PLUMED wants them in order
        name, (x, y, z) = function.atoms[number].rpartition("-")[2], 10 * _template(function)[number]
        rows.append(f"ATOM  {serials[number]:5d} {name[:4]:^4} MOL A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  1.00")
    return "\n".join([*rows, "END", ""])


def _by_products(function: PositionsToCVs, names: list[str], shift) -> list[str]:
    layers, path = function.encoder.folded(shift)
    lines, y = [f"s: CONCATENATE ARG={','.join(names)}"], "s"
    for i, (weight, bias) in enumerate(layers):
        last = i == len(layers) - 1
        lines += [f"w{i}: CONSTANT VALUES={_numbers(weight.T)} NROWS={weight.shape[1]} NCOLS={weight.shape[0]}",
                  f"b{i}: CONSTANT VALUES={_numbers(bias)}", f"z{i}: MATRIX_VECTOR_PRODUCT ARG=w{i},{y}"]  # fmt: skip
        function_of = "x+y" if last else FUNCTIONS[function.encoder.activation].format("x+y")
        if last and path is not None:
            lines += [f"wp: CONSTANT VALUES={_numbers(path.T)} NROWS={path.shape[1]} NCOLS={path.shape[0]}",
                      "zp: MATRIX_VECTOR_PRODUCT ARG=wp,s", f"y{i}: CUSTOM ARG=z{i},b{i},zp FUNC=x+y+z PERIODIC=NO"]  # fmt: skip
        else:
            lines.append(f"y{i}: CUSTOM ARG=z{i},b{i} FUNC={function_of} PERIODIC=NO")
        y = f"y{i}"
    if len(bias) == 1:  # a matrix of one row gives a scalar
        return [*lines, f"e0: CUSTOM ARG={y} FUNC=x PERIODIC=NO"]
    return [*lines, *(f"e{c}: SELECT_COMPONENTS ARG={y} COMPONENTS={c + 1}" for c in range(len(bias)))]


def _by_ann(function: PositionsToCVs, names: list[str], shift) -> list[str]:
    layers, _ = function.encoder.folded(shift)
    nodes = [len(names), *(len(bias) for _, bias in layers)]
    words = [f"ann: ANN ARG={','.join(names)} NUM_LAYERS={len(nodes)} NUM_NODES={','.join(map(str, nodes))}",
             f"ACTIVATIONS={','.join(['Tanh'] * (len(layers) - 1) + ['Linear'])}"]  # fmt: skip
    for i, (weight, bias) in enumerate(layers):
        words += [f"WEIGHTS{i}={_numbers(weight.T)}", f"BIASES{i}={_numbers(bias)}"]
    return [" ".join(words), *(f"e{c}: CUSTOM ARG=ann.node-{c} FUNC=x PERIODIC=NO" for c in range(nodes[-1]))]


def _cvs(function: PositionsToCVs) -> list[str]:
    """From pre-activations e to coordinates c, and by T and t to the CVs."""
    encoder, lines = function.encoder, []
    for kind, at in zip(encoder.kinds, encoder.columns):
        read = ",".join(f"e{i}" for i in range(at.start, at.stop))
        lines += [f"c{i}: CUSTOM ARG={read} FUNC={form.format('x', 'y')} PERIODIC=NO" for i, form in enumerate(SQUASH[kind], at.start)]
    for k, (kind, at) in enumerate(zip(encoder.kinds, encoder.columns)):
        names = [f"cosine{k + 1}", f"sine{k + 1}"] if PERIODS[kind] else [f"cv{k + 1}"]
        for name, row in zip(names, range(at.start, at.stop)):
            used = [i for i in range(at.stop) if encoder.T[row, i]]
            terms = "+".join(f"({encoder.T[row, i]:.17g})*v{i}" for i in used)
            ends = f"FUNC={terms}+({encoder.t[row]:.17g}) PERIODIC=NO"
            lines.append(f"{name}: CUSTOM ARG={','.join(f'c{i}' for i in used)} VAR={','.join(f'v{i}' for i in used)} {ends}")
        if PERIODS[kind]:
            lines.append(f"cv{k + 1}: CUSTOM ARG={names[1]},{names[0]} FUNC=atan2(x,y) PERIODIC=-pi,pi")
    return lines


def _bias(card: Card) -> list[str]:
    lines = []
    for name, period, between in zip(card.cvs, card.periods, card.ranges):
        if period is None and between is not None:
            lines += [f"lower_{name}: LOWER_WALLS ARG={name} AT={between[0]:.8g} KAPPA={WALL}",
                      f"upper_{name}: UPPER_WALLS ARG={name} AT={between[1]:.8g} KAPPA={WALL}"]  # fmt: skip
    biased = ",".join(card.cvs[:MOST_BIASED])
    sigma = ",".join("0.35" if period else f"{0.05 * (between[1] - between[0]):.3g}" if between else "0.2"
                     for period, between in zip(card.periods[:MOST_BIASED], card.ranges))  # fmt: skip
    return [
        *lines,
        "# TEMP is 300 K here; allowed: the temperature of your simulation, whatever that of the training data was",
        f"#metad: METAD ARG={biased} SIGMA={sigma} HEIGHT=1.2 PACE=100 BIASFACTOR=10 TEMP=300 FILE=HILLS",
        f"#opes: OPES_METAD ARG={biased} PACE=500 BARRIER=40 TEMP=300 FILE=KERNELS",
        f"PRINT ARG={','.join(card.cvs)} FILE=COLVAR STRIDE=1",
    ]


def _numbers(values: np.ndarray) -> str:
    return ",".join(f"{value:.17g}" for value in values.ravel())
