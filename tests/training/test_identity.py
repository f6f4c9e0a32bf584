"""Keys of checkpoints: what does the same has one key, what does something else never shares it."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from hae.training.identity import Unknowable, fingerprint, training_key

SIZE = 3


def closure(factor):
    return lambda x, generator: factor * x


def default(factor):
    def times(x, generator, by=factor):
        return by * x

    return times


def by_keyword(factor):
    def times(x, generator, *, by=factor):
        return by * x

    return times


def scaled(factor, x, generator):
    return factor * x


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x, generator):
        return self.factor * x


class Other(Scaled):
    def __call__(self, x, generator):
        return self.factor + x


MAKERS = {
    "closure": closure,
    "default": default,
    "keyword": by_keyword,
    "partial": lambda factor: functools.partial(scaled, factor),
    "partial by keyword": lambda factor: functools.partial(scaled, x=factor),
    "object": Scaled,
    "method": lambda factor: Scaled(factor).__call__,
    "closure over an array": lambda factor: closure(np.full(3, factor)),
    "closure over a tensor": lambda factor: closure(torch.full((3,), float(factor))),
    "closure over a function": lambda factor: closure(closure(factor)),
    "closure over a dictionary": lambda factor: closure({"a": [factor]}),
    "module": lambda factor: nn.Linear(2, factor, bias=False).requires_grad_(False).apply(lambda m: nn.init.ones_(m.weight)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_functions_of_one_source_share_a_key_only_where_they_do_the_same(make):
    assert fingerprint(make(2)) == fingerprint(make(2))
    assert fingerprint(make(2)) != fingerprint(make(3))


def test_functions_on_one_line_are_told_apart():
    double, triple = (lambda x: 2 * x), (lambda x: 3 * x)  # one source line
    assert fingerprint(double) != fingerprint(triple)
    assert fingerprint(Scaled(2)) != fingerprint(Other(2))


def uses_a_global(x, generator):
    return SIZE * x


def test_a_global_that_a_function_names_counts(monkeypatch):
    before = fingerprint(uses_a_global)
    monkeypatch.setitem(globals(), "SIZE", 4)
    assert fingerprint(uses_a_global) != before


def recursive(n):
    return recursive(n - 1) if n else torch.tanh(torch.ones(1))


def test_a_function_that_calls_itself_and_libraries_is_known():
    assert fingerprint(recursive) == fingerprint(recursive)
    assert fingerprint(closure(torch.tanh)) != fingerprint(closure(torch.relu))
    assert fingerprint(closure(nn.functional.silu)) != fingerprint(closure(nn.functional.gelu))


RANDOM = {
    "numpy": np.random.default_rng(0),
    "its method": np.random.default_rng(0).normal,
    "torch": torch.Generator(),
    "iterator": iter([1, 2]),
    "object": object(),
}


@pytest.mark.parametrize("value", RANDOM.values(), ids=RANDOM)
def test_what_hides_its_state_has_no_key(value):
    with pytest.raises(Unknowable):
        fingerprint(closure(value))
    assert training_key({"augment": closure(value)}, b"rows", [0]) is None
    assert training_key({"augment": functools.partial(scaled, value)}, b"rows", [0]) is None


def test_a_key_is_that_of_parameters_rows_and_seeds():
    others = [({"n": 2}, b"a", [0]), ({"n": 1}, b"b", [0]), ({"n": 1}, b"a", [1]), ({"n": 1, "f": closure(1)}, b"a", [0])]
    keys = [training_key(*of) for of in [({"n": 1}, b"a", [0]), *others]]
    assert len(set(keys)) == 5 and training_key({"n": 1}, b"a", [0]) == keys[0]
