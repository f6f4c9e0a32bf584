"""The one error that people see: something they gave is not allowed, where, and what is."""

import difflib
from collections.abc import Collection, Iterable
from itertools import islice

__all__ = ["BadInput", "did_you_mean", "listed"]


class BadInput(ValueError):
    """Input that can't be used. The message is one line: the place, what stood there, what is allowed.

    Example:
        >>> from hae import HierarchicalAutoencoder
        >>> try:
        ...     HierarchicalAutoencoder(n_cvs=0).fit([[1.0, 2.0], [2.0, 1.0]])
        ... except BadInput as error:
        ...     print(error)
        n_cvs: 0 is not allowed; a whole number of 1 or more, or "auto"
    """


def did_you_mean(name: object, among: Iterable[object]) -> str:
    """" (did you mean ...?)" where one of the names allowed is nearly this one, letters of either case alike; else "".

    Example:
        >>> did_you_mean("colective", ["collective", "boosted"])
        ' (did you mean collective?)'
    """
    by_letters = {str(other).lower(): str(other) for other in among}
    close = difflib.get_close_matches(str(name).lower(), list(by_letters), n=1)
    return f" (did you mean {by_letters[close[0]]}?)" if close else ""


def listed(names: Collection[object], most: int = 8) -> str:
    """The first names with commas between them, and how many there are in all where that is not every one.

    Example:
        >>> listed("abcd", most=2)
        'a, b, ... (4 in all)'
    """
    return ", ".join(map(str, islice(names, most))) + (f", ... ({len(names)} in all)" if len(names) > most else "")
