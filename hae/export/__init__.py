"""Networks for other programs, and CVs as functions of positions."""

from hae.export.cv import cv
from hae.export.openmm import openmm_force

__all__ = ["cv", "openmm_force"]
