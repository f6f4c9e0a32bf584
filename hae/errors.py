"""The one error that people see: something they gave is not allowed, where, and what is."""

__all__ = ["BadInput"]


class BadInput(ValueError):
    """Input that can't be used. The message is one line: the place, what stood there, what is allowed."""
