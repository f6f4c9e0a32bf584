"""Simulations biased along CVs: the bias on a grid, the force, walkers side by side, and free energies from what they write."""
