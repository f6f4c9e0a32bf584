"""Networks of one's own: a convolutional encoder and decoders on images of handwritten digits.

    python examples/digits.py

Any torch modules will do. The encoder turns rows (N, D) into pre-activations of the CVs, one for each linear CV; the decoder factory is
asked once a level for a module from as many CVs as that level may see to rows (N, D).
"""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from hae import HierarchicalAutoencoder, HierarchicalNetwork
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components

__all__ = ["conv_network", "fit", "images"]

N_CVS = 3


def images(n: int | None = None) -> np.ndarray:
    """(N, 64): images of 8 x 8 pixels, in rows, between 0 and 1."""
    return (load_digits().data[:n] / 16).astype(np.float32)


def encoder() -> nn.Module:
    """(N, 64) -> (N, N_CVS)."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 12, 3, stride=2, padding=1),  # 4 x 4
        nn.SiLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),  # 2 x 2
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(24 * 4, N_CVS),
    )


def decoder(n_inputs: int) -> nn.Module:
    """(N, n_inputs) -> (N, 64)."""
    return nn.Sequential(
        nn.Linear(n_inputs, 24 * 4),
        nn.SiLU(),
        nn.Unflatten(1, (24, 2, 2)),
        nn.ConvTranspose2d(24, 12, 2, stride=2),  # 4 x 4
        nn.SiLU(),
        nn.ConvTranspose2d(12, 1, 2, stride=2),  # 8 x 8
        nn.Flatten(),
    )


def conv_network(variant: str):
    """What `HierarchicalAutoencoder(network=...)` takes: a function that makes the network, here of either variant."""

    def build(n_features: int, n_targets: int) -> HierarchicalNetwork:
        return HierarchicalNetwork(encoder(), decoder, variant, cv=["linear"] * N_CVS)

    return build


def fit(variant: str, X: np.ndarray, max_epochs: int = 60) -> HierarchicalAutoencoder:
    return HierarchicalAutoencoder(
        n_cvs=N_CVS, variant=variant, network=conv_network(variant), n_seeds=1, batch_size=64, max_epochs=max_epochs, learning_rate=5e-3
    ).fit(X)


def main() -> None:
    X = images()
    print("held-out FVE of level      1      2      3")
    for variant in ("collective", "boosted"):
        model = fit(variant, X)
        test = X[model.split_ == "test"]
        print(f"{variant:22s}", "".join(f"{value:7.3f}" for value in score_frames(model.network_, test).fve))
    pca = principal_components(X[model.split_ == "train"], N_CVS)
    print(f"{'PCA':22s}", "".join(f"{value:7.3f}" for value in score_frames(pca, test.astype(np.float64)).fve))


if __name__ == "__main__":
    main()
