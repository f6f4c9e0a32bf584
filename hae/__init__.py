"""Hierarchical autoencoders: nonlinear collective variables sorted by importance."""

from hae.version import __version__

__all__ = ["BadInput", "HierarchicalAutoencoder", "HierarchicalNetwork", "__version__"]


def __getattr__(name: str):
    # torch takes seconds to import, so it is left to the first use: `hae --help` must not wait for it.
    if name == "HierarchicalAutoencoder":
        from hae.estimator import HierarchicalAutoencoder

        return HierarchicalAutoencoder
    if name == "HierarchicalNetwork":
        from hae.network.hierarchy import HierarchicalNetwork

        return HierarchicalNetwork
    if name == "BadInput":
        from hae.errors import BadInput

        return BadInput
    raise AttributeError(f"module 'hae' has no attribute {name!r}")
