"""The calibration goes on where it stopped and writes its tables; in full it is no test, but a few of its stacks are."""

import dataclasses

import pandas as pd
import pytest

from benchmarks import calibration
from benchmarks.calibration_table import lower, tables, upper, write_table
from benchmarks.generated import CELLS
from hae.importance.refits import RefitSettings

PAGE = "before\n<!-- calibration: begin -->\nold\n<!-- calibration: end -->\nafter\n"


def test_limits_of_a_rate():
    assert upper(0, 59) == pytest.approx(0.05, abs=0.001)  # the rule of three
    assert lower(59, 59) == pytest.approx(0.95, abs=0.001)
    assert upper(7, 7) == 1 and lower(0, 7) == 0


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "N_TRAIN", 200)
    monkeypatch.setattr(calibration, "N_TEST", {False: 200, True: 200})
    monkeypatch.setattr(calibration, "N_SHORT", {False: 150, True: 150})
    monkeypatch.setattr(calibration, "N_POPULATION", 200)
    monkeypatch.setattr(calibration, "STACK", 3)
    monkeypatch.setattr(calibration, "RefitSettings", lambda: RefitSettings(steps=5))
    monkeypatch.setattr(calibration, "CELLS", {"torus": dataclasses.replace(CELLS["torus"], steps=5)})
    rows = tmp_path / "rows.csv"
    calibration.run(rows, 3)
    whole = rows.read_text()
    table = pd.read_csv(rows)
    assert set(zip(table["correlated"], table["variant"], strict=True)) == {
        (c, v) for c in (False, True) for v in ("collective", "boosted")
    }
    assert set(table["fault"].dropna()) == {"swapped", "noise", "copy"}
    few = table[table["length"] == "short"]
    assert set(few["status"]) == {"rough"} and set(few["what"]) == {"fve", "gain", "info_gain", "verdict", "order", "n"}
    assert len(table[table["what"] == "by feature"]) == 4 * 3 * (3 * 4), "units, networks, levels and features of the torus"
    calibration.run(rows, 3)
    assert rows.read_text() == whole
    last = table["correlated"] & (table["variant"] == "boosted")
    table[~last].to_csv(rows, index=False)
    calibration.run(rows, 3)
    again = pd.read_csv(rows)
    assert len(again) == len(table)
    pd.testing.assert_series_equal(again["truth"], table["truth"], rtol=1e-4)  # written with six digits
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_table(rows, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "planted fault found: swapped" in text and "right n, boosted" in text


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cell", ["linear", "torus", "noisy curve", "rare state"])
def test_known_answers_are_found(cell):
    rows = pd.concat([calibration.run_unit(cell, True, variant, 0, 6) for variant in ("collective", "boosted")]).reindex(
        columns=calibration.COLUMNS
    )
    plain = rows[(rows["fault"] == "") & (rows["length"] == "whole")]
    n = plain[plain["what"] == "n"]
    assert (n["said"] == n["truth"]).all()
    figures = plain[plain["what"].isin(["fve", "gain", "info_gain"])]
    assert ((figures["low"] <= figures["truth"]) & (figures["truth"] <= figures["high"])).mean() > 0.5, "six draws that all networks share"
    assert "planted faults of 0.1 or more found" in tables(rows.assign(first=0)) or cell == "noisy curve"
    order = plain[plain["what"] == "order"]
    assert not ((order["word"] == "out of order") & (order["truth"] >= -0.01)).any()
