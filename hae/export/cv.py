"""Positions to CVs as one function: features by the recipe, the encoder, and the gradients of both, in one pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hae.data.jacobian import atoms_read, featurise
from hae.data.molecules import Recipe, atom_names
from hae.errors import BadInput
from hae.export.encoder import Encoder, encoder_of
from hae.network.kinds import PERIODS

__all__ = ["PositionsToCVs", "cv", "recipe_of"]

FARTHEST = 4  # times the size known from training: positions beyond are in other units (Angstrom: 10 times) or of another molecule
BOND = 0.9  # nm: the closest neighbours in a torsion are never so far apart


@dataclass(frozen=True)
class PositionsToCVs:
    """``cvs, jacobian = f(positions)``: positions (A, 3) or (N, A, 3) in nm of `atoms`, molecules whole -> CVs (n,) or (N, n), and
    their derivatives (n, A, 3) or (N, n, A, 3) per nm; a circular CV in radians. It can be pickled.

    Example: The CV (d - 0.25 nm) / 0.1 nm of the distance of two atoms.
        >>> recipe = Recipe("distances", ("d",), ("nm",), pairs=(("A", "B"),))
        >>> layers, one = ((np.ones((1, 1)), np.zeros(1)),), np.eye(1)
        >>> encoder = Encoder(("linear",), "identity", np.array([0.25]), np.array([0.1]), layers, None, one, np.zeros(1))
        >>> cvs, jacobian = PositionsToCVs(recipe, encoder)([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])
        >>> cvs.round(3), jacobian[0, 1].round(3)
        (array([0.5]), array([10.,  0.,  0.]))
    """

    recipe: Recipe
    encoder: Encoder

    @property
    def atoms(self) -> tuple[str, ...]:
        """Full names of the atoms, in the order of the positions."""
        return atoms_read(self.recipe)

    @property
    def periods(self) -> tuple[float | None, ...]:
        return tuple(PERIODS[kind] for kind in self.encoder.kinds)

    def indices(self, topology) -> list[int]:
        """Numbers of `atoms` in an mdtraj or OpenMM topology. Raises BadInput where one is not there."""
        if not hasattr(topology, "find_molecules"):
            import mdtraj

            topology = mdtraj.Topology.from_openmm(topology)
        place = {name: number for number, name in enumerate(atom_names(topology))}
        for name in self.atoms:
            if name not in place:
                raise BadInput(f"topology: no atom '{name}'; allowed: the molecule of the training data ({', '.join(self.atoms[:4])}, ...)")
        return [place[name] for name in self.atoms]

    def __call__(self, positions) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(positions, dtype=np.float64)
        if x.ndim not in (2, 3) or x.shape[-2:] != (len(self.atoms), 3):
            raise BadInput(f"positions: shape {x.shape}; allowed: ({len(self.atoms)}, 3), or (frames, {len(self.atoms)}, 3), in nm")
        if not np.isfinite(x).all():
            raise BadInput("positions: some are not finite; allowed: numbers in nm")
        frames = x.reshape(-1, *x.shape[-2:])
        self._in_nm(frames)
        features, pull = featurise(self.recipe, frames)
        cvs, gradients = self.encoder(features)
        jacobian = pull(gradients)
        return (cvs, jacobian) if x.ndim == 3 else (cvs[0], jacobian[0])

    def _in_nm(self, x: np.ndarray) -> None:
        """Raises BadInput for positions of a size that nanometres of this molecule never have."""
        recipe = self.recipe
        if recipe.kind == "coordinates":
            size = np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).sum((1, 2)).max() / np.square(recipe.reference).sum())
            least, wrong = size, not 1 / FARTHEST < size < FARTHEST
        else:
            place = {name: number for number, name in enumerate(self.atoms)}
            groups = recipe.pairs or recipe.torsions
            steps = np.array([[place[a], place[b]] for group in groups for a, b in pairwise(group)])
            lengths = np.linalg.norm(x[:, steps[:, 0]] - x[:, steps[:, 1]], axis=-1)
            if recipe.kind == "distances":
                least = float(np.median(lengths / self.encoder.mean, axis=1).max())
                wrong = not 1 / FARTHEST < least < FARTHEST
            else:
                least = float(lengths.min(axis=1).max())
                wrong = least > BOND
        if wrong:
            what = "nm between neighbours" if recipe.kind == "torsions" else "times the size in the training data"
            raise BadInput(f"positions: {least:.3g} {what}; allowed: nm (1 nm = 10 Angstrom), the molecule of the training data, whole")


def recipe_of(recipe) -> Recipe:
    """A recipe, or the JSON object of one."""
    return recipe if isinstance(recipe, Recipe) else Recipe.from_json(recipe if isinstance(recipe, str) else json.dumps(recipe))


def cv(model, recipe=None, cvs: int | None = None) -> PositionsToCVs:
    """The function from positions to the first `cvs` CVs (None: all) and their Jacobian, in closed form, NumPy and float64.

    model: a network, a fitted estimator, or a registered version as loaded. recipe: the `Recipe` of its features, or its JSON; None:
    the one that a loaded version brings.

    Raises:
        BadInput: a recipe of columns or of another number of features, more CVs than there are, an encoder that is no perceptron.

    Example: Two CVs of the three distances between three atoms.
        >>> from hae.network.hierarchy import HierarchicalNetwork
        >>> recipe = Recipe("distances", ("d1", "d2", "d3"), ("nm",) * 3, pairs=(("A", "B"), ("B", "C"), ("A", "C")))
        >>> network = HierarchicalNetwork.mlp(3, ["linear", "linear"]).reset(0)
        >>> network.scale_by([0.3], [0.1], [0.3], [0.1])
        >>> cvs, jacobian = cv(network, recipe)([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.4, 0.0]])
        >>> cvs.shape, jacobian.shape  # (n,), (n, A, 3)
        ((2,), (2, 3, 3))
    """
    recipe = getattr(model, "recipe", None) if recipe is None else recipe
    if recipe is None:
        raise BadInput("recipe: missing; allowed: the recipe of the model's features (data/prepared/recipe.json)")
    recipe, encoder = recipe_of(recipe), encoder_of(model, cvs)
    atoms_read(recipe)
    if len(recipe.names) != encoder.n_features:
        raise BadInput(f"recipe: {len(recipe.names)} features, the model reads {encoder.n_features}; allowed: the model's own recipe")
    return PositionsToCVs(recipe, encoder)
