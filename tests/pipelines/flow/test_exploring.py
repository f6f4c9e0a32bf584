"""A turn of the loop on a schedule: what keeps it from beginning is its last line."""

import shutil

from pipelines.flow import exploring
from pipelines.stages.simulate import TOPOLOGY


def test_a_turn_that_can_not_begin_says_why(tmp_path):
    shutil.copy(TOPOLOGY.parents[2] / "params.yaml", tmp_path)
    shutil.copy(TOPOLOGY.parents[2] / "dvc.yaml", tmp_path)
    said = []
    code, last = exploring.turn(tmp_path, said.append)
    assert code == 2 and "they hold no rounds to train on; allowed with hae explore: data/rounds" in last and said[-1] == last
