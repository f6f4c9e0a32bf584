"""What the exported reader says of input that can't be right: one line, and never a number."""

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
from hae.export.formats import write_numpy


def reader(folder, kind):
    """The function of an exported cvs.py, a table of features, and the network's CVs of it."""
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    network = trained(recipe)
    topology, x = frames(30)
    table = pd.DataFrame(recipe.features(mdtraj.Trajectory(x, topology)).values.astype(float), columns=list(recipe.names))
    encoder = encoder_of(network)
    ranges = list(zip(table.min(), table.max()))
    write_numpy(encoder, card_of(encoder, recipe.names, recipe.units, feature_ranges=ranges), folder)
    spec = importlib.util.spec_from_file_location("cvs", folder / "cvs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cvs, table, network.encode(torch.tensor(table.to_numpy())).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_go_by_name_in_any_order(kind, tmp_path):
    cvs, table, want = reader(tmp_path, kind)
    turned = table[table.columns[::-1]].assign(beside=1.0)
    for given in ((table,), (turned,), (table.to_dict("list"),), (turned.to_records(index=False),), (turned.to_numpy(), list(turned)),
                  (table.to_numpy().astype(np.float32).astype(float), tuple(table))):  # fmt: skip
        np.testing.assert_allclose(cvs(*given), want, atol=1e-5 if len(given) == 2 else 1e-12)
    assert cvs(table[:0]).shape == (0, want.shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input_is_said_in_a_line(kind, tmp_path):
    cvs, table, _ = reader(tmp_path, kind)
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
            cvs(*given)
        assert "\n" not in str(caught.value) and "allowed: " in str(caught.value)


def test_one_row_in_angstrom_among_many_is_found(tmp_path):
    cvs, table, _ = reader(tmp_path, "distances")
    table.iloc[7] *= 10
    with pytest.raises(ValueError, match="Angstrom"):
        cvs(table)
