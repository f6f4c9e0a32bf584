"""Warnings said once for each line of a user's code, also where a search by another library calls `fit` a hundred times."""

import sys
import warnings

__all__ = ["warn_once"]

BETWEEN = {"hae", "sklearn", "joblib"}  # packages that stand between a user's line and the warning
said: set[tuple[str, int, str]] = set()


def warn_once(text: str, kind: str) -> None:
    """Warn of the nearest line outside of hae and scikit-learn, once for this line and kind, whatever the text says of numbers.

    Python's own memory of what was said does not do: scikit-learn enters `warnings.catch_warnings` at every fold, which clears it. Who
    asks for every warning, by the filter "always" or "error", gets every one.

    Example:
        >>> with warnings.catch_warnings(record=True) as heard:
        ...     warnings.simplefilter("default")
        ...     for rows in (9, 10):
        ...         warn_once(f"{rows} rows are few", "few rows")
        >>> [str(one.message) for one in heard]
        ['9 rows are few']
    """
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        frame, depth = frame.f_back, depth + 1
    action = next((action for action, message, category, _, _ in warnings.filters
                   if issubclass(UserWarning, category) and (message is None or message.match(text))), "default")  # type: ignore[union-attr]
    place = frame.f_code.co_filename, frame.f_lineno, kind
    if action in ("default", "module", "once"):
        if place in said:
            return
        said.add(place)
    warnings.warn(text, stacklevel=depth)
