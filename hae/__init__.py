"""Hierarchical autoencoders: nonlinear collective variables sorted by importance."""

__version__ = "0.1.0"
__all__ = ["BadInput", "HierarchicalAutoencoder", "HierarchicalNetwork"]


def __getattr__(name: str):
    # torch takes seconds to import, so it is left to the first use: `hae --help` must not wait for it.
    if name == "HierarchicalAutoencoder":
        from hae.estimator import HierarchicalAutoencoder

        return HierarchicalAutoencoder
    if name == "HierarchicalNetwork":
        from hae.network import HierarchicalNetwork

        return HierarchicalNetwork
    if name == "BadInput":
        from hae.errors import BadInput

        return BadInput
    raise AttributeError(f"module 'hae' has no attribute {name!r}")
