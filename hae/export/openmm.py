"""CVs for OpenMM: as an expression of torsions and distances on any platform, as Python for aligned coordinates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.export.card import Card, write_card
from hae.export.cv import PositionsToCVs, cv
from hae.export.plumed import FUNCTIONS, SQUASH
from hae.files import written_whole
from hae.network.kinds import PERIODS

__all__ = ["Biased", "Value", "bias_variables", "openmm_force", "write_openmm"]

MOST_LAYERS = 2  # one hidden: OpenMM writes expressions out; what two layers give takes minutes to differentiate


@dataclass(frozen=True)
class Value:
    """The energy (kJ/mol) of one CV times 1 kJ/mol, and its forces (kJ/mol/nm): what a PythonForce over the CV's atoms calls.

    Example: x of an atom as the CV.
        >>> import openmm
        >>> system = openmm.System()
        >>> _ = system.addParticle(12.0)
        >>> context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        >>> context.setPositions([[0.1, 0.2, 0.3]])
        >>> Value(lambda x: (x[0, :1], np.array([[[1.0, 0.0, 0.0]]])), k=0)(context.getState(positions=True))
        (0.1, array([[-1., -0., -0.]]))
    """

    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    k: int

    def __call__(self, state):
        cvs, jacobian = self.function(state.getPositions(asNumpy=True)._value)
        return float(cvs[self.k]), -jacobian[self.k]


@dataclass(frozen=True)
class Biased:
    """A bias of all CVs in one pass. bias: (cvs (n,), parameters) -> energy in kJ/mol and its derivatives (n,) by the CVs, a function of a
    module's top level, since OpenMM pickles it.

    Example: A spring of 100 kJ/mol/nm^2 that pulls x of an atom to 0.
        >>> import openmm
        >>> system = openmm.System()
        >>> _ = system.addParticle(12.0)
        >>> context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        >>> context.setPositions([[0.1, 0.2, 0.3]])
        >>> x_of = lambda x: (x[0, :1], np.array([[[1.0, 0.0, 0.0]]]))
        >>> biased = Biased(x_of, bias=lambda cvs, parameters: (50 * cvs @ cvs, 100 * cvs))
        >>> energy, forces = biased(context.getState(positions=True, parameters=True))
        >>> round(energy, 3), forces.round(3)
        (0.5, array([[-10.,  -0.,  -0.]]))
    """

    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    bias: Callable[[np.ndarray, Mapping[str, float]], tuple[float, np.ndarray]]

    def __call__(self, state):
        cvs, jacobian = self.function(state.getPositions(asNumpy=True)._value)
        energy, slopes = self.bias(cvs, state.getParameters())
        return float(energy), -(np.asarray(slopes) @ jacobian.reshape(len(jacobian), -1)).reshape(jacobian.shape[1:])


def openmm_force(model, recipe=None, topology=None, cvs: int | None = None, bias=None, parameters: Mapping[str, float] | None = None):
    """Forces of the first `cvs` CVs: a list, whose k-th force has CV_k as its energy, in kJ/mol for a CV of 1 (for
    `openmm.app.BiasVariable`, see `bias_variables`); or with `bias` one PythonForce that has this bias inside (see `Biased`).

    model, recipe: see `hae.export.cv`. topology: of OpenMM, with the molecule of the training data. parameters: global parameters of
    the bias and their values. For torsions and distances a CustomCVForce, on any platform; for coordinates a PythonForce over the
    atoms read, which have to be whole: OpenMM's positions are, unless a box is enforced.

    Raises:
        BadInput: as `hae.export.cv`; no topology or one without the atoms; an OpenMM without PythonForce where one is needed.

    Example: A CV of one distance; ``system.addForce(force)`` makes it the energy.
        >>> from openmm import app
        >>> from hae.data.molecules import Recipe
        >>> from hae.network.hierarchy import HierarchicalNetwork
        >>> topology = app.Topology()
        >>> glycine = topology.addResidue("GLY", topology.addChain())
        >>> _ = [topology.addAtom(name, app.element.carbon, glycine) for name in ("CA", "C")]
        >>> recipe = Recipe("distances", ("d",), ("nm",), pairs=(("GLY1-CA", "GLY1-C"),))
        >>> (force,) = openmm_force(HierarchicalNetwork.mlp(1, ["linear"], hidden=(2,)).reset(0), recipe, topology)
        >>> force.getName(), force.getNumCollectiveVariables()
        ('hae cv1', 1)
    """
    function = cv(model, recipe, cvs)
    if topology is None:
        raise BadInput("topology: missing; allowed: the OpenMM topology of the system, for the numbers of atoms")
    indices = function.indices(topology)
    if bias is not None:
        return _python(Biased(_fast(function), bias), indices, dict(parameters or {}))
    if function.recipe.kind == "coordinates" or len(function.encoder.layers) > MOST_LAYERS:
        return [_python(Value(_fast(function), k), indices, {}) for k in range(len(function.encoder.kinds))]
    return [_expression(function, indices, k) for k in range(len(function.encoder.kinds))]


def bias_variables(model, recipe=None, topology=None, cvs: int | None = None, ranges=(), widths=(), grid: int | None = None) -> list:
    """The CVs as `openmm.app.BiasVariable`s for `openmm.app.Metadynamics`, periodic where the CV is.

    ranges: (lowest, highest) of each; a circular CV goes from -pi to pi. A bias is 0 outside: leave room, and set walls inside.
    widths: of the Gaussians, 0.2 (0.35 of a circular CV) where not given.
    """
    from openmm import app

    function, forces = cv(model, recipe, cvs), openmm_force(model, recipe, topology, cvs)
    if len({period is None for period in function.periods}) > 1:
        raise BadInput(f"cvs: {', '.join(function.encoder.kinds)}; allowed in OpenMM's Metadynamics: all with a period, or all without")
    made = []
    for k, (force, period) in enumerate(zip(forces, function.periods)):
        if period is None and k >= len(ranges):
            raise BadInput(f"ranges: none for CV{k + 1}; allowed: lowest and highest value, beyond those of the training data")
        low, high = (-np.pi, np.pi) if period else ranges[k]
        width = widths[k] if k < len(widths) else 0.35 if period else 0.2
        made.append(app.BiasVariable(force, low, high, width, period is not None, grid))
    return made


def _fast(function: PositionsToCVs) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The same function compiled, where numba is installed."""
    try:
        from hae.export.compiled import Compiled
    except ImportError:
        return function
    return Compiled(function)


def _python(computation, indices: Sequence[int], parameters: dict[str, float]):
    import openmm

    if not hasattr(openmm, "PythonForce"):
        raise BadInput(f"OpenMM {openmm.version.version}: it has no PythonForce, which coordinates need; allowed: OpenMM 8.4 or newer")
    force = openmm.PythonForce(computation, parameters, indices)
    force.setName("hae")
    return force


def _expression(function: PositionsToCVs, indices: Sequence[int], k: int):
    """CV k as a CustomCVForce of the torsions' or distances' own forces: hidden units as intermediate values."""
    import openmm

    recipe, place = function.recipe, dict(zip(function.atoms, indices))
    force = openmm.CustomCVForce("; ".join([f"y_{k}", *_lines(function, k)]))
    force.setName(f"hae cv{k + 1}")
    for i, group in enumerate(recipe.pairs or recipe.torsions):
        part = openmm.CustomBondForce("r") if recipe.kind == "distances" else openmm.CustomTorsionForce("theta")
        (part.addBond if recipe.kind == "distances" else part.addTorsion)(*(place[name] for name in group), [])
        force.addCollectiveVariable(f"q{i}", part)
    return force


def _lines(function: PositionsToCVs, k: int) -> list[str]:
    """Intermediate values, each after those that use it: y_k the CV, p and c coordinates, e pre-activations, h units."""
    encoder = function.encoder
    at, kind = encoder.columns[k], encoder.kinds[k]
    out = [f"y_{k}=atan2(p{at.start + 1},p{at.start})" if PERIODS[kind] else f"y_{k}=p{at.start}"]
    used: set[int] = set()
    for row in range(at.start, at.stop):
        columns = [i for i in range(at.stop) if encoder.T[row, i]]
        used |= set(columns)
        out.append(f"p{row}=" + _sum([(encoder.T[row, i], f"c{i}") for i in columns], encoder.t[row]))
    for of, span in zip(encoder.kinds, encoder.columns):
        if not used & set(range(span.start, span.stop)):
            continue
        own = range(span.start, span.stop)
        used |= set(own)
        out += [f"c{i}=" + form.format(*(f"e{j}" for j in own)) for i, form in zip(own, SQUASH[of])]
    depth = len(encoder.layers) - 1
    path = encoder.path
    for unit in sorted(used):
        terms = _terms(encoder.layers[depth][0][:, unit], depth)
        terms += [] if path is None else _terms(path[:, unit], 0)
        out.append(f"e{unit}=" + _sum(terms, encoder.layers[depth][1][unit]))
    for layer in range(depth - 1, -1, -1):
        weight, bias = encoder.layers[layer]
        for unit in range(len(bias)):
            out.append(f"h{layer + 1}_{unit}=" + FUNCTIONS[encoder.activation].format(f"g{layer + 1}_{unit}"))
            out.append(f"g{layer + 1}_{unit}=" + _sum(_terms(weight[:, unit], layer), bias[unit]))
    inputs = [f"q{i}" for i in range(encoder.n_features)]
    if function.recipe.kind == "torsions":
        inputs = [f"{name}(q{i // 2})" for i in range(0, encoder.n_features, 2) for name in ("sin", "cos")]
    return [*out, *(f"h0_{i}=({name}-({m:.17g}))/{s:.17g}" for i, (name, m, s) in enumerate(zip(inputs, encoder.mean, encoder.scale)))]


def _terms(weights: np.ndarray, layer: int) -> list[tuple[float, str]]:
    return [(weight, f"h{layer}_{i}") for i, weight in enumerate(weights)]


def _sum(terms: Sequence[tuple[float, str]], start: float) -> str:
    return "+".join([f"({start:.17g})", *(f"({weight:.17g})*{name}" for weight, name in terms)])


def write_openmm(function: PositionsToCVs, model, card: Card, topology, folder: str | os.PathLike) -> list[Path]:
    """Write cv1.xml, cv2.xml, ...: each CV's force as OpenMM's XML (XmlSerializer.deserialize reads it; a PythonForce holds a pickle,
    for which hae has to be installed, so read only files you trust), and card.json."""
    import openmm

    made = []
    for k, force in enumerate(openmm_force(model, function.recipe, topology, len(function.encoder.kinds))):
        made.append(Path(folder) / f"cv{k + 1}.xml")
        with written_whole(made[-1]) as partial:
            partial.write_text(openmm.XmlSerializer.serialize(force))
    return [*made, write_card(card, Path(folder))]
