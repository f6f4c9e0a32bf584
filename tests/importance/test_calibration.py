"""The calibration goes on where it stopped and writes its tables; in full it is no test, but a few of its stacks are."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from benchmarks import calibration_faults as calibration
from benchmarks.calibration import judged, run
from benchmarks.calibration_pages import limits, write_page
from benchmarks.calibration_table import lower, tables, upper, write_table
from benchmarks.generated import CELLS, KINDS
from hae.importance.decoders import RefitSettings

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
    rows = pd.concat([calibration.run_unit(cell, True, variant, 0, 30) for variant in ("collective", "boosted")]).reindex(
        columns=calibration.COLUMNS
    )
    plain = rows[(rows["fault"] == "") & (rows["length"] == "whole")]
    n = plain[plain["what"] == "n"]
    assert (n["said"] == n["truth"]).all()
    figures = plain[plain["what"].isin(["fve", "gain", "info_gain"]) & plain["low"].notna()]  # a level has no interval where a tail decides
    assert ((figures["low"] <= figures["truth"]) & (figures["truth"] <= figures["high"])).mean() >= 0.8 and len(figures) > 200
    assert "planted faults of 0.1 or more found" in tables(rows.assign(first=0)) or cell == "noisy curve"
    order = plain[plain["what"] == "order"]
    assert not ((order["word"] == "out of order") & (order["truth"] >= -0.01)).any()


def test_intervals_of_exact_projections_hold(tmp_path):
    """Of 30 sources each: nothing is trained, so this is quick; nominal 0.9."""
    run(["linear", "noise"], "boosted", 30, 1, True, tmp_path)
    rows = judged(tmp_path)
    figures = rows[rows["what"].isin(["fve", "gain"]) & (rows["status"] == "ok")]
    held = ((figures["low"] <= figures["truth"]) & (figures["truth"] <= figures["high"])).groupby(figures["kind"])
    assert (held.mean() >= 0.8).all() and (held.size() >= 100).all()


def test_limits_count_networks_and_not_what_is_asked_of_each():
    network, alike = pd.Series(np.repeat(np.arange(10), 20)), pd.Series(np.repeat([True] * 9 + [False], 20))
    low, high = limits(alike, network)
    assert low < 0.6 and high > 0.99, "nine of ten, not 180 of 200"
    assert limits(pd.Series([True] * 200), network)[0] == pytest.approx(0.692, abs=0.001), "ten of ten"


def test_hard_data_are_judged_and_kept(tmp_path, capsys):
    """Exact projections of weighted frames: never ok, a file a network, nothing measured twice; the tables are printed."""
    names = ["weights, share 0.3", "four walkers, 0.8 apart"]
    run(names, "boosted", 2, 2, True, tmp_path)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(kept) == 4
    run(names, "boosted", 2, 2, True, tmp_path)
    assert kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    rows = judged(tmp_path)
    figures = rows[rows["what"].isin(["fve", "gain"])]
    assert not (figures["status"] == "ok").any() and (figures["plain_status"] == "ok").any()
    weighted = figures[figures["kind"] == names[0]]
    assert weighted["few"].all() and weighted.loc[weighted["what"] == "fve", "low"].isna().all()
    assert figures.loc[figures["kind"] == names[1], "apart"].all()
    write_page(rows, None)
    printed = capsys.readouterr().out
    assert all(f"| {name} | 2 | " in printed for name in names[:1])


@pytest.mark.parametrize("name", list(KINDS))
def test_sources_come_from_their_populations(name):
    """The weighted mean square of a source is that of its population, but for chance; tails of infinite variance are left out."""
    kind, rng = KINDS[name], np.random.default_rng(0)
    if name.startswith(("t, ", "log-normal", "six")) or kind.apart:
        many = kind.population(1000, rng)
        assert np.isfinite(many.inputs).all() and len(kind.source(rng)) == kind.frames
        return
    parts = [kind.source(rng) for _ in range(5)]
    seen = np.mean([np.average(part.inputs**2, axis=0, weights=part.weights).sum() for part in parts])
    assert seen == pytest.approx((kind.population(50_000, rng).inputs ** 2).mean(0).sum(), rel=0.12)
