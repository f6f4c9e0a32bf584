"""Hierarchical autoencoders: nonlinear collective variables sorted by importance."""

__version__ = "0.1.0"
__all__ = ["BadInput", "HierarchicalAutoencoder", "HierarchicalNetwork"]


def __getattr__(name: str):
    # torch takes seconds to import, so it is left to the first use: `hae --help` must not wait for it.
    if name == "HierarchicalAutoencoder":
        from hae.estimator import HierarchicalAutoencoder as found
    elif name == "HierarchicalNetwork":
        from hae.network import HierarchicalNetwork as found
    elif name == "BadInput":
        from hae.errors import BadInput as found
    else:
        raise AttributeError(f"module 'hae' has no attribute {name!r}")
    return found
