"""Weights of the frames of a round by its bias, with known answers, and files that give none."""

from pathlib import Path

import numpy as np
import pytest

from hae.data.rounds import frame_weights, share
from hae.errors import BadInput

KT = 1.380649e-23 * 6.02214076e23 * 300 / 1000  # exact in the SI, kJ/mol


def beside(folder: Path, biases: list[str], column: str = "metad.rbias") -> Path:
    """A trajectory's path, with the COLVAR of these biases beside it."""
    rows = "".join(f" {i} {bias}\n" for i, bias in enumerate(biases))
    (folder / "COLVAR.0").write_text(f"#! FIELDS time {column}\n{rows}")
    return folder / "walker-0.dcd"


@pytest.mark.parametrize("rule, power", [("equal", 0), ("tempered", 0.5), ("reweighted", 1)])
def test_the_weight_of_a_frame_is_the_factor_of_its_bias(tmp_path, rule, power):
    bias = np.array([0.0, 2.0, -1.5, 7.0])
    weights = frame_weights(beside(tmp_path, [str(value) for value in bias]), rule, 300)
    np.testing.assert_allclose(weights(np.array([3, 0, 1])), np.exp(power * bias[[3, 0, 1]] / KT))


def test_a_round_weighs_at_its_own_temperature(tmp_path):
    path = beside(tmp_path, ["0.0", "2.0"])
    (tmp_path / "round.json").write_text('{"dynamics": {"temperature": 600.0}}')
    np.testing.assert_allclose(frame_weights(path, "reweighted", 300)(np.arange(2)), [1, np.exp(2.0 / (2 * KT))])


@pytest.mark.parametrize("bias", ["nan", "inf", "4000"])
def test_a_bias_that_gives_no_weight_is_refused_with_its_row(tmp_path, bias):
    with pytest.raises(BadInput, match=r"COLVAR.0: row 2: metad.rbias is .*, which gives no weight at 300 K"):
        frame_weights(beside(tmp_path, ["0", bias, "1"]), "reweighted", 300)


def test_a_frame_without_a_row_or_a_file_without_the_column_is_refused(tmp_path):
    with pytest.raises(BadInput, match="2 rows for 3 frames"):
        frame_weights(beside(tmp_path, ["0", "1"]), "reweighted", 300)(np.array([2]))
    with pytest.raises(BadInput, match=r"one column that ends in \.rbias"):
        frame_weights(beside(tmp_path, ["0", "1"], "metad.bias"), "reweighted", 300)(np.array([0]))
    with pytest.raises(BadInput, match="no such file"):
        frame_weights(tmp_path / "walker-1.dcd", "reweighted", 300)


def test_a_trajectory_with_fewer_frames_than_rows_is_refused(tmp_path):
    """PLUMED's COLVAR may be written more often than frames are: the row of a frame is then another one."""
    weights = frame_weights(beside(tmp_path, ["0", "1", "2"]), "reweighted", 300)
    weights.check_whole(3)
    with pytest.raises(BadInput, match=r"COLVAR\.0: 3 rows for 2 frames, columns time, metad\.rbias; allowed: a row for each frame"):
        weights.check_whole(2)


def test_two_columns_of_a_bias_are_refused(tmp_path):
    (tmp_path / "COLVAR.0").write_text("#! FIELDS time metad.rbias opes.rbias\n 0 0 1\n")
    with pytest.raises(BadInput, match=r"allowed: one column that ends in \.rbias"):
        frame_weights(tmp_path / "walker-0.dcd", "reweighted", 300)


def test_kishs_share_of_even_weights_is_one_and_of_a_single_one_its_part():
    assert share(np.ones(7)) == pytest.approx(1) and share(np.array([1.0, 0, 0, 0])) == pytest.approx(0.25)
