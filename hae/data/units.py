"""Constants of nature in the units of MD: nm, ps, kJ/mol, K."""

__all__ = ["BOLTZMANN"]

BOLTZMANN = 0.00831446261815324  # kJ / (mol K): exact in the SI of 2019
