"""What a CV adds to earlier ones: what no polynomial of them says."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement

import numpy as np

from hae.data.rows import IN_MEMORY, Rows, Shelf, made_rows, pieces_of

__all__ = ["innovations"]

DEGREE, MOST_TERMS = 6, 330  # of the polynomials that tell what a CV adds to earlier ones
NOTHING = 1e-6  # an innovation below this share of its CV's standard deviation is rounding
POLYNOMIAL_ROWS = 16384  # whose polynomials are held at once


def innovations(
    earlier: Sequence[list[Rows]], cv: list[Rows], weights: np.ndarray | None = None, shelf: Shelf = IN_MEMORY
) -> list[Rows]:
    """What ``cv`` adds to ``earlier`` ones: the residual of least squares on polynomials of them, with unit variance.

    Each is [training rows (N, width), evaluation rows (N', width)]; a circular CV, as cosine and sine, has width 2. The polynomials
    are products of Legendre's up to a total degree of 6, or less where those would be too many. They are fitted on the training
    rows, with weights (N,). Zeros where nothing is left. Evaluation rows may be in files, and what is made of them is on the shelf.
    """
    train, test = np.asarray(cv[0]), cv[1]
    w = np.ones(len(train)) if weights is None else weights / np.mean(weights)
    root = np.sqrt(w)[:, None]
    others = np.concatenate([train, *(e[0] for e in earlier)], axis=1)[:, train.shape[1] :]
    polynomials = _polynomials(others)
    basis = polynomials(others)
    coefficients = np.linalg.lstsq(root * basis, root * train, rcond=1e-10)[0]
    left = train - basis @ coefficients
    spread = np.sqrt(np.average((left**2).mean(1), weights=w))
    before = np.sqrt(np.average(((train - np.average(train, axis=0, weights=w)) ** 2).mean(1), weights=w))
    if spread <= max(NOTHING * before, 1e-12 * np.abs(train).max()):
        return [np.zeros_like(train), made_rows(test, test.shape[1], np.zeros_like)]

    def left_of(rows: slice) -> np.ndarray:
        of = np.concatenate([test[rows], *(e[1][rows] for e in earlier)], axis=1)
        return (of[:, : test.shape[1]] - polynomials(of[:, test.shape[1] :]) @ coefficients) / spread

    return [left / spread, shelf.keep(map(left_of, pieces_of(len(test), POLYNOMIAL_ROWS)))]


def _polynomials(train: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What makes (N, P) of columns (N, C), by the reach of training rows; columns that never change there are left out."""
    moving = np.ptp(train, axis=0) > 0
    train = train[:, moving]
    columns, most = train.shape[1], max(min(MOST_TERMS, len(train) // 10), 1)
    degree = max(d for d in range(DEGREE + 1) if math.comb(columns + d, d) <= most)
    terms = [Counter(term) for d in range(degree + 1 if columns else 1) for term in combinations_with_replacement(range(columns), d)]
    middle, reach = (train.max(0) + train.min(0)) / 2 if columns else 0, np.ptp(train, axis=0) / 2 if columns else 1

    def made(side: np.ndarray) -> np.ndarray:
        # Polynomials say nothing of rows far outside those they are fitted on, and would overflow there.
        powers = np.polynomial.legendre.legvander(np.clip((side[:, moving] - middle) / reach, -100, 100), degree)  # (rows, C, degree + 1)
        return np.stack([np.prod([powers[:, c, p] for c, p in term.items()] or [np.ones(len(side))], axis=0) for term in terms], 1)

    return made
