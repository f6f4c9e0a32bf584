"""What many features of a molecule cost, in words, and what may be taken instead."""

from __future__ import annotations

from hae.data.molecules import Recipe
from hae.errors import BadInput

__all__ = ["words"]

MANY = 2000  # features from which PCA takes more than a second
SECOND = 1500  # features whose PCA takes about one on one core; the time goes with their cube


def words(recipe: Recipe, structure) -> list[str]:
    """Nothing for few features; else their number, what PCA alone takes of memory and time, and what is less."""
    d = len(recipe.names)
    if d <= MANY:
        return []
    seconds = (d / SECOND) ** 3
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
    said = [f"cost: {d:,} features ({recipe.kind}); PCA alone takes about {16 * d * d / 1e9:.1f} GB and {time}, and training grows alike"]
    instead = _instead(recipe, structure)
    return said + ([f"instead: {'; '.join(instead)}"] if instead else [])


def _instead(recipe: Recipe, structure) -> list[str]:
    """Choices of fewer features, with their number."""
    topology = getattr(structure, "topology", structure)
    found = []
    carbons = len(topology.select("name CA"))
    if recipe.kind == "distances":
        atoms = len({atom for pair in recipe.pairs for atom in pair})
        found.append(f"coordinates of the same {atoms} atoms ({3 * atoms:,})")
    every = next((k for k in (1, 2, 3, 4, 5, 8, 10, 20, 50) if _features(recipe, -(-carbons // k)) < min(MANY, len(recipe.names))), None)
    if carbons > 3 and every:
        where = "name CA" + (f" every {every}" if every > 1 else "")
        found.append(f"--atoms '{where}' (about {_features(recipe, -(-carbons // every)):,})")
    try:
        torsions = len(Recipe.for_molecule(topology, "torsions").names)
    except (BadInput, ValueError):
        torsions = 0
    if 0 < torsions < len(recipe.names):
        found.append(f"--features torsions ({torsions:,})")
    if recipe.kind == "distances":
        found.append("a list of the pairs that matter, such as contacts, as prepare.pairs in params.yaml")
    return found


def _features(recipe: Recipe, atoms: int) -> int:
    return atoms * (atoms - 1) // 2 if recipe.kind == "distances" else 3 * atoms
