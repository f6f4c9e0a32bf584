"""Hierarchical autoencoders: nonlinear collective variables sorted by importance."""

__version__ = "0.1.0"
