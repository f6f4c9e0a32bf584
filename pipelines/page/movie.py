"""The molecule along each CV as a movie that turns and plays inside the page: real frames, as numbers that movie.js hands to 3Dmol.js."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import numpy as np

from hae.data.molecules import Recipe
from hae.data.trajectories import NAME
from hae.figures.maps import skeleton
from pipelines.page.evidence import Evidence

__all__ = ["SCRIPTS", "as_json", "movies"]

HERE = Path(__file__).parent
SCRIPTS = (HERE / "3Dmol-min.js", HERE / "movie.js")  # 3Dmol.js 2.5.5 as npm has it; its licence is beside it
NUMBERS = 300_000  # that the page may carry of all movies: some 1.5 MB
FRAMES = 25
SMALLEST = 7  # frames that are still a movie
HYDROGEN = 0.13  # nm: longest bond of a hydrogen


def movies(evidence: Evidence) -> dict | None:
    """What movie.js reads: the symbol of each atom, bonds, and a movie for each CV of each variant; positions are whole picometres.

    None where the features are no positions, or the molecule is so large that the page could not carry it.
    """
    if evidence.recipe.kind != "coordinates":
        return None
    reference, symbols = np.array(evidence.recipe.reference), _symbols(evidence.recipe)
    told = [(variant.name, k, frames) for variant in evidence.variants for k, frames in enumerate(variant.along)]
    most = NUMBERS // max(len(told) * reference.size, 1)
    if most < SMALLEST:
        told, most = told[: len(evidence.variants[0].along)], NUMBERS // (len(evidence.variants[0].along) * reference.size)
    if most < SMALLEST:
        return None
    found = []
    for name, k, frames in told:
        rows = np.unique(np.linspace(0, len(frames.cv) - 1, min(most, len(frames.cv), FRAMES)).round().astype(int))
        positions = (1000 * frames.values[rows]).round().astype(int)
        found.append({"title": f"{name}, CV{k + 1}", "cv": f"CV{k + 1}", "at": frames.cv[rows].round(3).tolist(),
                      "frames": positions.tolist()})
    return {"symbols": symbols, "bonds": _bonds(reference, symbols), "movies": found}


def as_json(content: dict) -> str:
    """JSON that can stand in an element of a page whatever the names in it are."""
    return re.sub(r"[<>&\u2028\u2029]", lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(content, separators=(",", ":")))


def _symbols(recipe: Recipe) -> list[str]:
    names = [cast(re.Match, NAME.fullmatch(full)).group(4) for full in recipe.atoms]
    return [name.lstrip("0123456789")[:1].upper() or "X" for name in names]  # nothing but the name is known: C for CA, as of proteins


def _bonds(reference: np.ndarray, symbols: list[str]) -> list[tuple[int, int]]:
    """Bonds by their length; those of a hydrogen are short ones."""
    light = [symbol == "H" for symbol in symbols]
    return [(i, j) for i, j in skeleton(reference)
            if not (light[i] or light[j]) or np.linalg.norm(reference[i] - reference[j]) < HYDROGEN]
