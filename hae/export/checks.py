"""Whether what a client said of an exported file is what the network says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hae.errors import BadInput
from hae.export.card import Card
from hae.export.clients import Answer, Missing

__all__ = ["TOLERANCE", "compared"]

TOLERANCE = {"onnx": 1e-5, "torchscript": 1e-5}  # float32; times the standard deviation of each CV
DOUBLE, FORCES = 1e-6, 1e-4


def compared(
    kind: str, answer: Answer | Missing, card: Card, cvs: np.ndarray, spread: Sequence[float], jacobian: np.ndarray | None = None,
    on: str = "",
) -> str:
    """The line that says how well a client agrees, or that it is not here.

    cvs: (N, n) of the network; spread: standard deviation of each CV (of a circular CV that of its point on the circle); jacobian:
    (N, n, A, 3) of positions; on: which rows, in words.

    Raises BadInput where they differ by more than 1e-6 of the spread (1e-5 in float32), forces by 1e-4.
    """
    if isinstance(answer, Missing):
        return f"not checked: {answer.client} is not installed ({answer.how})"
    if answer.cvs.shape != cvs.shape:
        raise BadInput(f"{kind}: {answer.client} gives CVs of shape {answer.cvs.shape}, the network {cvs.shape}; nothing was kept")
    apart = answer.cvs - cvs
    turns = np.array([period is not None for period in card.periods])
    apart[:, turns] = np.angle(np.exp(1j * apart[:, turns]))
    allowed = np.maximum(spread, 1e-12 * np.maximum(np.abs(cvs).max(0), 1e-300))  # a CV that never varies is compared with its size
    furthest, most = float(np.max(np.abs(apart) / allowed)), TOLERANCE.get(kind, DOUBLE)
    if not furthest <= most:
        raise BadInput(f"{kind}: {answer.client} gives other CVs than the network (by {furthest:.1e} of their standard deviation); "
                       f"allowed: {most:.0e}; nothing was kept")  # fmt: skip
    said, where = f"checked against {answer.client}: CVs agree to {furthest:.1e} of their standard deviation", f" ({on})" if on else ""
    if answer.forces is None or jacobian is None:
        return said + where
    want = -np.einsum("nk,nkax->nax", cvs, jacobian)
    wrong = float(np.abs(answer.forces - want).max() / max(np.abs(want).max(), 1e-300))
    if not wrong <= FORCES:
        raise BadInput(f"{kind}: {answer.client} gives other forces than the network (by {wrong:.1e} of the largest); "
                       f"allowed: {FORCES:.0e}; nothing was kept")  # fmt: skip
    return f"{said}, forces to {wrong:.1e} of the largest{where}"
