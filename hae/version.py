"""The version, in one place: a module of its own, so that the library's inside can read it without importing the face."""

__all__ = ["__version__"]

__version__ = "0.1.0"
