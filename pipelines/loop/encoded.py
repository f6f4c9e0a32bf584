"""The prepared frames along CVs. Rounds add frames without end; of their features only a piece is in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hae.data.frames import Frames, concatenate, read_pieces
from pipelines import paths

__all__ = ["encoded"]


def encoded(project: Path, *models: Callable[[np.ndarray], np.ndarray]) -> list[Frames]:
    """For each model, (N, D) -> (N, n), the frames with its CVs in the place of features. Raises BadInput as `Frames.read`."""
    pieces: list[list[Frames]] = [[] for _ in models]
    for piece in read_pieces(project / paths.FRAMES):
        for along, encode in zip(pieces, models, strict=True):
            cvs = encode(piece.values)
            names = tuple(f"cv{k}" for k in range(1, cvs.shape[1] + 1))
            along.append(replace(piece, values=cvs, features=names, units=("",) * len(names)))
    return [concatenate(along) for along in pieces]
