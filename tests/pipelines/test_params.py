"""params.yaml: what the repository ships is right, and what is wrong is said with its place and what is allowed."""

import inspect
import re
from pathlib import Path

import pytest

from hae.errors import BadInput
from pipelines import params
from pipelines.params import Learning, Params, Section

FILE = Path(__file__).parents[2] / "params.yaml"
TEXT = FILE.read_text()


def refusal(tmp_path, old: str, new: str) -> str:
    """The message for params.yaml with one text replaced."""
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        params.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shipped_parameters_hold():
    loaded = params.load(FILE)
    assert set(loaded.train) == {"collective", "boosted"}
    assert loaded.record.model_name == "alanine-dipeptide"


def test_parameters_are_those_of_the_estimator():
    from hae import HierarchicalAutoencoder
    from hae.network.hierarchy import ACTIVATIONS, VARIANTS

    known = set(inspect.signature(HierarchicalAutoencoder).parameters)
    for name, section in params.load(FILE).train.items():
        assert name in VARIANTS
        assert set(section.arguments()) <= known
    assert set(ACTIVATIONS) == set(Learning.model_fields["activation"].annotation.__args__)


def sections(model: type[Section]) -> set[type[Section]]:
    inner = [field.annotation for field in model.model_fields.values()]
    inner += [argument for annotation in inner for argument in getattr(annotation, "__args__", ())]
    found = {part for part in inner if isinstance(part, type) and issubclass(part, Section)}
    return {model}.union(*map(sections, found))


def test_every_key_is_explained():
    explained = set(re.findall(r"^[ #]*(\w+):.*#", TEXT, re.MULTILINE))
    for section in sections(Params) - {Params}:
        assert set(section.model_fields) - explained <= {"split"}, section.__name__


@pytest.mark.parametrize(("old", "new", "place", "allowed"), [
    ("n_cvs: 3", "n_cvs: 0", "train.collective.n_cvs: 0", "an integer of 1 or more"),
    ("n_cvs: 3", "n_cvs: 2.5", "train.collective.n_cvs: 2.5", "an integer of 1 or more"),
    ("n_cvs: 3", "n_cvs: true", "train.collective.n_cvs: true", "an integer of 1 or more"),
    ("n_cvs: 3", "n_csv: 3", "train.collective.n_csv: no such key", "did you mean n_cvs?"),
    ("hidden: [64, 64]", "hidden: [64, -1]", "train.collective.hidden[1]: -1", "integers of 1 or more"),
    ("activation: tanh", "activation: tahn", "train.collective.activation: 'tahn'", "relu"),
    ("scale: global", "scale: feature", "train.collective.scale: feature", "one scale for all"),
    ("n_cvs: 3", "n_cvs: 9", "baseline.n_cvs:", "at least the most CVs of a variant under train, 9"),
    ("n_cvs: 3", "n_cvs: most", "train.collective.n_cvs: 'most'", "or auto"),
    ("learning_rate:", "learning_rate: .nan #", "train.collective.learning_rate", "a number above 0"),
    ("prepare:", "prepar:", "prepar: no such key", "did you mean prepare?"),
    ("  temperature:", "  # temperature:", "simulate.temperature: missing", "a number above 0"),
    ("features: coordinates", "features: coords", "prepare.features: 'coords'", "distances"),
])
def test_what_is_wrong_is_said_with_its_place(tmp_path, old, new, place, allowed):
    message = refusal(tmp_path, old, new)
    assert message.startswith(f"params.yaml: {place}"), message
    assert allowed in message


def test_shares_sum_to_one(tmp_path):
    text = re.sub(r"(shares:.*\n\s*- )[\d.]+", r"\g<1>0.9", TEXT)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"prepare.split.shares: .* sum to .*; allowed: a sum of 1"):
        params.load(tmp_path / "params.yaml")


def test_a_text_that_is_no_yaml_is_named_by_its_line(tmp_path):
    (tmp_path / "params.yaml").write_text("simulate:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(BadInput, match="line 3: not YAML: found duplicate key"):
        params.load(tmp_path / "params.yaml")


def test_an_unknown_variant_lists_those_there_are():
    with pytest.raises(BadInput, match=r"train.bosted: no such variant; allowed: collective, boosted \(did you mean boosted\?\)"):
        params.load(FILE).variant("bosted")


@pytest.mark.parametrize(("line", "said"), [
    (b"# Ger\xe4t", f"line {TEXT.count(chr(10)) + 1}: not UTF-8"),  # as an editor of Windows writes it
    (b"# \x07", "not YAML: unacceptable character #x0007"),
    (b"x: 2024-13-45", "not YAML: month must be in 1..12"),  # what looks like a date
    (b"x: " + b"[" * 3000, "not YAML: maximum recursion depth exceeded"),
])
def test_bytes_that_are_no_text_and_values_that_are_none_are_one_line(tmp_path, line, said):
    path = tmp_path / "params.yaml"
    path.write_bytes(TEXT.encode() + line)
    with pytest.raises(BadInput) as caught:
        params.load(path)
    assert str(caught.value).startswith(f"{path}: {said}") and "\n" not in str(caught.value)
