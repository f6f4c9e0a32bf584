"""Losses of other ordered autoencoders, from the formulas of their papers, around one pair of perceptrons."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Autoencoder", "hierarchical", "least_volume", "nested_dropout", "plain", "polca"]

Loss = Callable[["Autoencoder", Tensor, Tensor, float], Tensor]  # (network, rows x, codes z, weight) -> a number


def _perceptron(*widths: int, wrap=lambda layer: layer) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [wrap(nn.Linear(a, b)), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """Perceptrons x (N, D) -> z (N, n) -> (N, D). lipschitz: every layer of the decoder has the spectral norm 1, and one scale follows."""

    def __init__(self, d: int, n: int, hidden: tuple[int, ...], lipschitz: bool = False):
        super().__init__()
        self.n = n
        self.encoder = _perceptron(d, *hidden, n)
        self.decoder = _perceptron(n, *reversed(hidden), d, wrap=spectral_norm if lipschitz else lambda layer: layer)
        self.gain = nn.Parameter(torch.ones(()), requires_grad=lipschitz)

    def decode(self, z: Tensor) -> Tensor:
        return self.gain * self.decoder(z)

    def error(self, x: Tensor, z: Tensor) -> Tensor:
        return (self.decode(z) - x).square().mean()


def plain(network: Autoencoder, x: Tensor, z: Tensor, weight: float) -> Tensor:
    """mean((x - q)^2), and nothing that orders the codes."""
    return network.error(x, z)


def hierarchical(network: Autoencoder, x: Tensor, z: Tensor, weight: float) -> Tensor:
    """E_1 + E_{1,2} + ... + E_{1..n}, later codes at 0, one decoder for all. Scholz and Vigario, ESANN 2002."""
    keep = torch.ones(network.n, network.n).tril()
    return network.error(x.expand(network.n, *x.shape), z * keep[:, None])


def nested_dropout(network: Autoencoder, x: Tensor, z: Tensor, weight: float) -> Tensor:
    """For every row the codes after a random one are 0; the number kept is geometric. Rippel, Gelbart, Adams, ICML 2014. weight: its p."""
    chances = (1 - weight) ** torch.arange(network.n, dtype=torch.float32)
    kept = torch.multinomial(chances, len(x), replacement=True)
    return network.error(x, z * (torch.arange(network.n) <= kept[:, None]))


def least_volume(network: Autoencoder, x: Tensor, z: Tensor, weight: float) -> Tensor:
    """mean((x - q)^2) + weight (prod_i (std z_i + 1))^(1/n), with a Lipschitz decoder. Chen and Fuge, ICLR 2024."""
    return network.error(x, z) + weight * torch.log(z.std(0) + 1).mean().exp()


def polca(network: Autoencoder, x: Tensor, z: Tensor, weight: float) -> Tensor:
    """Reconstruction, orthogonal codes, their variance moved to the front, and its size. Martin, Perozo, Lopez, arXiv:2410.07289, 2024.

    With p_i = var z_i / sum var z: mean square cosine of the columns p_i z_i, mean of p_i i^1.25 / n, and mean variance; the weights of
    the three are weight, weight and 1e-6 weight, in the proportion of the authors' defaults.
    """
    variance = z.var(0)
    share = variance / variance.sum()
    columns = nn.functional.normalize(z * share, dim=0)
    cosines = (columns.T @ columns)[*torch.triu_indices(network.n, network.n, 1)]
    place = torch.arange(network.n) ** 1.25 / network.n
    return network.error(x, z) + weight * (cosines.square().mean() + (place * share).mean() + 1e-6 * variance.mean())
