"""Data of known truth, and exact minimisation: what the tests compare networks with."""

import numpy as np
import torch
from torch import Tensor

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective

torch.set_num_threads(1)  # networks this small gain nothing from threads, which on a busy machine wait for each other

__all__ = ["boosted_mixed_derivatives", "curve", "gaussian", "jacobian", "linear_network", "minimise", "product", "small", "torus"]


def gaussian(eigenvalues, n: int = 400, seed: int = 0, mean: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows X (n, D) whose covariance has exactly these eigenvalues, and its eigenvectors (D, D), one a column."""
    rng = np.random.default_rng(seed)
    d = len(eigenvalues)
    noise = rng.normal(size=(n, d))
    white = np.linalg.qr(noise - noise.mean(0))[0] * np.sqrt(n)
    vectors = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return white * np.sqrt(eigenvalues) @ vectors.T + mean, vectors


def torus(n: int, seed: int = 0) -> np.ndarray:
    """(n, 4): two independent angles on circles of radii 2 and 1. With circular CVs the FVE is 0.8 and 1."""
    a, b = np.random.default_rng(seed).uniform(-np.pi, np.pi, (2, n))
    return np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], axis=1)


def curve(n: int, seed: int = 0) -> np.ndarray:
    """(n, 3): a smooth curve. One CV explains everything."""
    t = np.random.default_rng(seed).uniform(-1.5, 1.5, n)
    return np.stack([t, np.sin(2 * t), t**2], axis=1)


def product(n: int, seed: int = 0) -> np.ndarray:
    """(n, 4): (2 cos t, 2 sin t, 2.5 u cos t, 2.5 u sin t), two factors that multiply; a sum of functions of one CV each can't follow."""
    rng = np.random.default_rng(seed)
    t, u = rng.uniform(-np.pi, np.pi, n), rng.uniform(-1, 1, n)
    return np.stack([2 * np.cos(t), 2 * np.sin(t), 2.5 * u * np.cos(t), 2.5 * u * np.sin(t)], axis=1)


def linear_network(n_inputs: int, n: int, variant: str, n_outputs: int | None = None, seed: int = 0) -> HierarchicalNetwork:
    """A linear network in float64, from its random start."""
    return HierarchicalNetwork.mlp(n_inputs, ["linear"] * n, variant, (), "identity", n_outputs).reset(seed).double()


def small(variant: str = "collective", cv=("linear", "circular", "tanh"), n_inputs: int = 5, seed: int = 0) -> HierarchicalNetwork:
    """A small nonlinear network in float64, with its random start and some standardisation."""
    network = HierarchicalNetwork.mlp(n_inputs, cv, variant, (7, 6)).reset(seed).double()
    network.scale_by(np.linspace(-1, 1, n_inputs), np.linspace(0.5, 2, n_inputs), np.linspace(1, 0, n_inputs), np.linspace(1, 3, n_inputs))
    return network


def minimise(network, x, y=None, objective: Objective | None = None, rounds: int = 40) -> Tensor:
    """Least loss by L-BFGS over all rows; gives the levels (n, N, D') reached, in float64."""
    x = torch.as_tensor(x, dtype=torch.float64)
    y = x if y is None else torch.as_tensor(y, dtype=torch.float64)
    objective = objective or Objective()
    optimiser = torch.optim.LBFGS(
        network.parameters(), max_iter=200, history_size=50, tolerance_grad=1e-14, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(objective.level_errors(network.standardised_levels(x), y))
        loss.backward()
        return loss

    last = np.inf
    for _ in range(rounds):
        loss = float(optimiser.step(closure).detach())
        gradient = max(float(p.grad.abs().max()) for p in network.parameters())
        if gradient < 1e-12 or (last - loss) == 0:
            break
        last = loss
    return network.standardised_levels(x).detach()


def jacobian(network, cvs: Tensor) -> Tensor:
    """dq_j/dCV_k at CVs (N, n): (n levels, N, D, n CVs)."""
    one = torch.func.jacrev(lambda row: network.decode(row[None])[:, 0])
    return torch.stack([one(row) for row in cvs], dim=1)


def boosted_mixed_derivatives(network, cvs: Tensor) -> Tensor:
    """d^2 q_n / dCV_j dCV_k at CVs (N, n): (N, D, n, n)."""
    one = torch.func.hessian(lambda row: network.decode(row[None])[-1, 0])
    return torch.stack([one(row) for row in cvs])
