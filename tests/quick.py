"""Estimators that train in a moment, for tests of what is around the training."""

from hae import HierarchicalAutoencoder

__all__ = ["GOOD", "LINEAR", "QUICK", "quick"]

QUICK = {"n_cvs": 2, "hidden": (8,), "n_seeds": 2, "max_epochs": 3, "device": "cpu"}
LINEAR = {**QUICK, "hidden": (), "activation": "identity", "n_seeds": 1, "patience": None, "learning_rate": 0.05, "max_epochs": 60}
GOOD = {**QUICK, "hidden": (24,), "n_seeds": 1, "patience": None, "learning_rate": 0.02, "batch_size": 128, "max_epochs": 60}


def quick(**more) -> HierarchicalAutoencoder:
    return HierarchicalAutoencoder(**{**QUICK, **more})
