"""Constants of nature in the units of MD: nm, ps, kJ/mol, K."""

__all__ = ["BOLTZMANN"]

BOLTZMANN = 0.00831446  # kJ / (mol K)
