"""What readers of features by name say of input that can't be right: one line, and never a number. cvs.py by NumPy alone; the server's."""

import importlib.util
import re

import mdtraj
import numpy as np
import pandas as pd
import pytest
import torch
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

from hae.data.molecules import Recipe
from hae.export.card import card_of
from hae.export.encoder import encoder_of
from hae.export.of_features import write_numpy
from hae.export.reader import features


def exported(folder, kind):
    """The function of an exported cvs.py, a table of features, the network's CVs of it, and the card."""
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    network = trained(recipe)
    topology, x = frames(30)
    table = pd.DataFrame(recipe.features(mdtraj.Trajectory(x, topology)).values.astype(float), columns=list(recipe.names))
    encoder = encoder_of(network)
    card = card_of(encoder, recipe.names, recipe.units, feature_ranges=list(zip(table.min(), table.max())))
    write_numpy(encoder, card, folder)
    spec = importlib.util.spec_from_file_location("cvs", folder / "cvs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cvs, table, network.encode(torch.tensor(table.to_numpy())).numpy(), card.to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_go_by_name_in_any_order(kind, tmp_path):
    cvs, table, want, card = exported(tmp_path, kind)
    turned = table[table.columns[::-1]].assign(beside=1.0)
    for given in (table, turned, table.to_dict("list")):
        np.testing.assert_allclose(cvs(given), want, atol=1e-12)
    assert cvs(table[:0]).shape == (0, want.shape[1])
    for given in ((table,), (turned,), (table.to_dict("list"),), (turned.to_records(index=False),), (turned.to_numpy(), list(turned))):
        np.testing.assert_array_equal(features(*given, *([None] if len(given) == 1 else []), card), table.to_numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_the_script_is_short_and_says_what_it_can_not_read(kind, tmp_path):
    cvs, table, _, _ = exported(tmp_path, kind)
    lines = [line for line in (tmp_path / "cvs.py").read_text().splitlines() if line]
    assert len(lines) <= 26 and max(map(len, lines)) <= 140
    first = table.columns[0]
    wrong = [
        (table.drop(columns=first), f"columns: 1 are missing, such as {first}; allowed: "),
        ({"x": [1.0]}, f"columns: {len(table.columns)} are missing"),
        (table.to_numpy(), "are missing"),
        (pd.concat([table, table[[first]]], axis=1), "same shape"),
        (table.assign(**{first: "a"}), "could not convert"),
        (table.assign(**{first: np.nan}), "a number is not finite; allowed: "),
        (10 * table, "-1 to 1" if kind == "torsions" else "1 nm = 10 Angstrom"),
        (table / 10 if kind != "torsions" else np.degrees(table), "allowed: (nm|-1 to 1)"),
    ]
    for given, words in wrong:
        with pytest.raises(ValueError, match=words if "|" in words else re.escape(words)) as caught:
            cvs(given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input_is_said_in_a_line(kind, tmp_path):
    _, table, _, card = exported(tmp_path, kind)
    first, values = table.columns[0], table.to_numpy()
    wrong = [
        ((values,), "columns: they have no names"),
        ((values, list(table)[1:]), "values: shape"),
        ((values[0], list(table)), "values: shape"),
        ((table.drop(columns=first),), f"columns: '{first}' is there 0 times"),
        ((values, [table.columns[1], *table.columns[1:]]), f"columns: '{first}' is there 0 times"),
        ((pd.concat([table, table[[first]]], axis=1),), f"columns: '{first}' is there 2 times"),
        ((table.assign(**{first: "a"}),), f"column '{first}': "),
        ((table.assign(**{first: True}),), f"column '{first}': bool"),
        ((table.assign(**{first: 1j}),), f"column '{first}': complex128"),
        ((table.assign(**{first: np.nan}),), f"column '{first}': "),
        ((10 * table,), "1 to 1, the sine" if kind == "torsions" else "1 nm = 10 Angstrom"),
        ((table / 10 if kind != "torsions" else np.degrees(table),), "allowed: (nm|-1 to 1)"),
    ]
    for given, words in wrong:
        with pytest.raises(ValueError, match=words if "|" in words else re.escape(words)) as caught:
            features(*given, *([None] if len(given) == 1 else []), card)
        assert "\n" not in str(caught.value) and "allowed: " in str(caught.value)


def test_one_row_in_angstrom_among_many_is_found(tmp_path):
    cvs, table, _, card = exported(tmp_path, "distances")
    table.iloc[7] *= 10
    for read in (cvs, lambda rows: features(rows, None, card)):
        with pytest.raises(ValueError, match="Angstrom"):
            read(table)
