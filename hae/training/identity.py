"""What a checkpoint belongs to: the parameters and rows of a training, functions among them, as one key."""

import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from hae.version import __version__

__all__ = ["Unknowable", "fingerprint", "training_key"]


class Unknowable(Exception):
    """A value that can't be told apart from others of its kind.

    Example: The state of a random generator can't be seen, so a training with one has no key and keeps no checkpoint.
        >>> try:
        ...     fingerprint(np.random.default_rng(0))
        ... except Unknowable as error:
        ...     print(error)
        Generator
        >>> training_key({"generator": np.random.default_rng(0)}, b"", [0]) is None
        True
    """


def training_key(params: Mapping, rows: bytes, seeds: Iterable[int]) -> str | None:
    """The key of a training, or None where a parameter can't be told from another one: then no checkpoint is kept.

    params: name -> plain value, array, function or module; rows: a digest of the numbers that it is trained on.
    """
    versions = f"{__version__} {torch.__version__} {np.__version__}".encode()
    try:
        known = [fingerprint(dict(params)), fingerprint(list(seeds))]
    except (Unknowable, RecursionError):
        return None
    return hashlib.sha256(b"\0".join([versions, *known, rows])).hexdigest()[:32]


def fingerprint(value) -> bytes:
    """A digest that two values share only where they do the same.

    A function counts with its code, defaults, closure and the globals that it names; a partial with its function and arguments; an object
    with its class and its attributes; what libraries bring with its name. Raises Unknowable where that is not all there is to know, as of
    a file or a random generator.

    Example:
        >>> times = lambda factor: lambda x: factor * x
        >>> fingerprint(times(2)) == fingerprint(times(2)), fingerprint(times(2)) == fingerprint(times(3))
        (True, False)
    """
    return _digest(value, ())


def _digest(value, above: tuple[int, ...]) -> bytes:
    if id(value) in above:
        return _hash("again", str(len(above) - above.index(id(value))).encode())
    above = (*above, id(value))
    for kinds, describe in KNOWN:
        if isinstance(value, kinds):
            return _hash(str(type(value)), *describe(value, above))
    return _hash("object", *_object(value, above))


def _hash(kind: str, *parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in (kind.encode(), *parts))).digest()


def _array(value, above):
    array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)
    if array.dtype.hasobject:
        return [_digest(array.tolist(), above)]
    return [str((array.dtype, array.shape)).encode(), array.tobytes()]


def _function(value, above):
    if _installed(value.__code__.co_filename):
        return [f"{value.__module__}.{value.__qualname__}".encode()]
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    named = [(name, value.__globals__[name]) for name in sorted(_names(value.__code__)) if name in value.__globals__]
    return [_digest(part, above) for part in (value.__code__, value.__defaults__, value.__kwdefaults__, cells, vars(value), named)]


def _names(code: types.CodeType) -> set[str]:
    """Names that the code may look up among the globals, also from inside."""
    return set(code.co_names).union(*(_names(inner) for inner in code.co_consts if isinstance(inner, types.CodeType)))


def _code(value, above):
    layout = (value.co_argcount, value.co_kwonlyargcount, value.co_flags, value.co_varnames, value.co_freevars, value.co_names)
    return [value.co_code, value.co_exceptiontable, _digest(layout, above), _digest(value.co_consts, above)]


def _builtin(value, above):
    return [value.__name__.encode(), _digest(getattr(value, "__self__", None), above)]


def _class(value, above):
    name = f"{value.__module__}.{value.__qualname__}".encode()
    if value.__module__ == "builtins" or _installed(getattr(sys.modules.get(value.__module__), "__file__", None) or ""):
        return [name]
    own = {key: part for key, part in vars(value).items() if isinstance(part, types.FunctionType | str | int | float | tuple)}
    return [name, _digest(own, above), *(_digest(base, above) for base in value.__bases__)]


def _object(value, above):
    kind = type(value)
    bases = [base for base in kind.__mro__ if base is not object]
    if not hasattr(value, "__dict__") or any(base.__flags__ & MADE_IN_C or getattr(base, "__slots__", ()) for base in bases):
        raise Unknowable(kind.__qualname__)
    return [_digest(kind, above), _digest(vars(value), above)]


def _installed(file: str) -> bool:
    """Whether a file of code is that of a library, which is known by its name, and not one's own."""
    return file.startswith(PLACES) or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


PLACES = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]), "<frozen")
MADE_IN_C = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: such objects hide their state
# The first kind that a value is of says how it is known.
KNOWN = (
    (np.ndarray | torch.Tensor, _array),
    (type(None) | bool | int | float | complex | str | bytes | np.generic | type(...), lambda value, above: [repr(value).encode()]),
    (Mapping, lambda value, above: sorted(_digest(pair, above) for pair in list(value.items()))),
    (list | tuple, lambda value, above: [_digest(part, above) for part in value]),
    (set | frozenset, lambda value, above: sorted(_digest(part, above) for part in value)),
    (functools.partial, lambda value, above: [_digest(part, above) for part in (value.func, value.args, value.keywords)]),
    (types.MethodType, lambda value, above: [_digest(part, above) for part in (value.__func__, value.__self__)]),
    (types.FunctionType, _function),
    (types.CodeType, _code),
    (types.ModuleType, lambda value, above: [value.__name__.encode()]),
    (types.BuiltinFunctionType, _builtin),
    (type, _class),
    (torch.device | torch.dtype, lambda value, above: [str(value).encode()]),
)
