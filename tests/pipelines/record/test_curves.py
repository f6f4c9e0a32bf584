"""history.csv while it grows: whole lines only, a name that ignores the clock, the member that is the model."""

import pytest

from pipelines.record.curves import History

TEXT = """member,epoch,seconds,learning_rate,train_error_1,validation_error_1
0,1,0.5,0.001,0.9,0.8
1,1,0.5,0.001,0.7,0.6
0,2,1.0,0.002,0.45,0.55
1,2,1.0,0.002,0.6,0.5
0,3,1.5,0.003,0.4,0.7
"""


@pytest.fixture
def history(tmp_path):
    (tmp_path / "history.csv").write_text(TEXT)
    return History.read(tmp_path / "history.csv")


def test_no_file_is_an_empty_history(tmp_path):
    history = History.read(tmp_path / "none.csv")
    assert len(history) == 0 and history.seconds == 0 and history.best_member is None and history.of_model(0) == []


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    (tmp_path / "history.csv").write_text(TEXT + "1,3,1.5,0.00")
    assert len(History.read(tmp_path / "history.csv")) == 5


def test_the_best_member_has_the_least_validation_error_at_any_epoch(history):
    assert history.best_member == 1


def test_the_name_of_a_history_is_of_its_numbers_not_of_its_clock(history, tmp_path):
    (tmp_path / "later.csv").write_text(TEXT.replace(",0.5,", ",7.5,").replace(",1.0,", ",8.0,"))
    (tmp_path / "other.csv").write_text(TEXT.replace("0.7,0.6", "0.7,0.61"))
    later, other = History.read(tmp_path / "later.csv"), History.read(tmp_path / "other.csv")
    assert later.digest(4) == history.digest(4) != history.digest(3)
    assert other.digest(1) == history.digest(1) and other.digest(2) != history.digest(2)


def test_every_epoch_of_every_member_becomes_a_metric(history):
    metrics = history.of_members(start=1000)
    assert len(metrics) == 5 * 3
    names = ("learning_rate", "train_error_1", "validation_error_1")
    assert {metric.key for metric in metrics} == {f"member_{member}/{name}" for member in (0, 1) for name in names}
    curve = [(metric.step, metric.value, metric.timestamp) for metric in metrics if metric.key == "member_0/train_error_1"]
    assert curve == [(1, 0.9, 1500), (2, 0.45, 2000), (3, 0.4, 2500)]
    assert len(history.of_members(start=1000, after=4)) == 3


def test_the_model_s_own_curve_has_plain_names(history):
    assert [(m.step, m.value) for m in history.of_model(0) if m.key == "validation_error_1"] == [(1, 0.6), (2, 0.5)]
