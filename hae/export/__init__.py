"""Networks for other programs, and CVs as functions of positions."""

from hae.export.cv import cv

__all__ = ["cv"]
