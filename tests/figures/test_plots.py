"""Figures show what they are given: the right numbers at the right places, nothing where there is nothing."""

import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from hae.figures import maps, plots
from hae.figures.maps import Variable
from hae.importance.intervals import Sampling
from hae.importance.report import Comparison, Contributions, CVImportance, ImportanceReport

NAN = float("nan")


def report_of(fves, interval=0.02, variant="collective", pca=None):
    gains = np.diff([0, *fves])
    half = interval if interval else NAN
    cvs = tuple(
        CVImportance(k + 1, fve, fve - half, fve + half, gain, gain - half, gain + half, gain, gain - half, gain + half, "alive", "ordered",
                     300.0, "ok")
        for k, (fve, gain) in enumerate(zip(fves, gains, strict=True))
    )
    against = tuple(Comparison("pca", k + 1, value, value - half, value + half, *(fves[k] - value + x for x in (0, -half, half)))
                    for k, value in enumerate(pca or ()))
    return ImportanceReport(variant, 0.01, "ok", 1000, 40, cvs, len(cvs), against=against)


@pytest.fixture
def axis():
    return plots.figure()[1]


def points(axis, label):
    """Data of the line with this label, an error bar's included."""
    containers = {c.get_label(): c.lines[0] for c in axis.containers if hasattr(c, "lines")}
    line = containers.get(label) or next(line for line in axis.get_lines() if line.get_label() == label)
    return line.get_xdata(), line.get_ydata()


def test_fve_is_drawn_at_its_number_of_cvs_for_variants_of_different_length(axis):
    plots.fve_by_level({"collective": report_of([0.5, 0.7, 0.8], pca=[0.3, 0.5, 0.6]), "boosted": report_of([0.4, 0.6])}, axis)
    for label, fves in (("collective", [0.5, 0.7, 0.8]), ("boosted", [0.4, 0.6]), ("PCA", [0.3, 0.5, 0.6])):
        x, y = points(axis, label)
        assert np.allclose(y, fves) and np.allclose(x, np.arange(1, len(fves) + 1), atol=0.1)
    assert [text.get_text() for text in axis.figure.legends[0].get_texts()] == ["collective", "boosted", "PCA"]


@pytest.mark.parametrize(("interval", "drawn"), [(0.02, True), (None, False)])
def test_intervals_are_drawn_where_they_are_known_and_only_there(axis, interval, drawn):
    plots.fve_by_level({"collective": report_of([0.5, 0.7], interval)}, axis)
    bars = axis.containers[0].lines[2]
    assert bool(bars) is drawn
    if drawn:
        low, high = bars[0].get_segments()[0][:, 1]
        assert low == pytest.approx(0.48) and high == pytest.approx(0.52)


def test_what_is_worse_than_the_mean_stays_in_the_figure(axis):
    plots.fve_by_level({"boosted": report_of([-0.34, 0.2])}, axis)
    assert axis.get_ylim()[0] <= -0.34


def shares_of(gain, half=0.01):
    gain = np.array(gain)
    rows = [tuple(map(tuple, figures.tolist())) for figures in (gain, gain - half, gain + half)]
    return Contributions(tuple(f"x{i}" for i in range(gain.shape[1])), *rows)


def test_the_largest_gains_are_drawn_with_their_intervals(axis):
    gain = np.random.default_rng(0).uniform(0, 1, (2, 40))
    plots.gains(shares_of(gain), axis, top=10)
    largest = np.argsort(-gain.sum(0))[:10]
    assert [text.get_text() for text in axis.get_yticklabels()] == [f"x{i}" for i in largest] and "10 of 40" in axis.get_xlabel()
    bars, errors = axis.containers[1], axis.containers[0].lines[2][0].get_segments()
    assert [bar.get_width() for bar in bars] == pytest.approx(gain[0, largest].tolist())
    assert errors[0][:, 0] == pytest.approx([gain[0, largest[0]] - 0.01, gain[0, largest[0]] + 0.01])


def test_a_loss_goes_to_the_left_of_zero_and_no_interval_is_made_up(axis):
    plots.gains(shares_of([[0.5, 0.1], [0.1, -0.05]], NAN), axis)
    assert min(bar.get_x() + bar.get_width() for bar in axis.patches) == pytest.approx(-0.05)
    assert all(container.errorbar is None for container in axis.containers)


def test_the_best_member_is_the_bold_one(axis):
    history = pd.DataFrame({"member": [0, 1, 0, 1], "epoch": [1, 1, 2, 2], "train_error_1": [1, 0.9, 0.5, 0.4],
                            "validation_error_1": [1, 0.8, 0.6, 0.3]})
    plots.training_curves(history, axis)
    bold = max(axis.get_lines(), key=lambda line: line.get_linewidth())
    assert bold.get_ydata().tolist() == [0.8, 0.3] and bold.get_label() == "level 1"


def test_training_without_validation_rows_shows_the_training_error(axis):
    plots.training_curves(pd.DataFrame({"member": 0, "epoch": [1, 2], "train_error_1": [1.0, 0.5], "validation_error_1": [NAN, NAN]}), axis)
    assert axis.get_lines()[0].get_ydata().tolist() == [1.0, 0.5]


def test_free_energy_of_a_gaussian_is_its_parabola_in_the_unit_asked_for(axis):
    x = np.random.default_rng(0).normal(size=400_000)
    maps.free_energy_profile(Variable(x, "CV1"), axis, Sampling.of(len(x)), (2.5, "kJ/mol"))
    places, energy = axis.get_lines()[0].get_data()
    near = abs(places) < 2
    assert np.allclose(energy[near], 2.5 * places[near] ** 2 / 2, atol=0.25)
    assert "kJ/mol" in axis.get_ylabel()


def test_weights_take_a_bias_back(axis):
    """Frames drawn from a wide Gaussian, weighted to a narrow one, show the narrow one's free energy."""
    x = np.random.default_rng(1).normal(scale=2, size=400_000)
    maps.free_energy_profile(Variable(x, "CV1"), axis, Sampling.of(len(x), weights=np.exp(-(x**2) / 2 + x**2 / 8)))
    places, energy = axis.get_lines()[0].get_data()
    near = abs(places) < 2
    assert np.allclose(energy[near], places[near] ** 2 / 2, atol=0.15)


def test_the_band_of_a_free_energy_holds_the_truth_and_is_wide_for_correlated_frames(axis):
    """Ten times the same frames are no more information; the truth, a parabola, is inside nine times in ten."""
    rng = np.random.default_rng(2)
    inside, widths = [], []
    for _ in range(20):
        x = rng.normal(size=4000)
        x[:2] = -3.2, 3.2  # the axis, and so the bins, stay
        for values in (x, np.repeat(x, 10)):
            energy, low, high = maps._energies([maps._place(Variable(values, "CV1"), 20)], 20, Sampling.of(len(values)), 1.0)
            widths.append((high - low)[8:12].sum())
        edges = np.linspace(*Variable(values, "CV1").edges, 21)
        mass = np.diff(norm.cdf(edges))
        fullest = np.argmin(energy)
        truth = -np.log(mass / mass[fullest])
        near = (mass > 0.01) & (np.arange(20) != fullest)
        inside += ((low <= truth) & (truth <= high))[near].tolist()
    assert np.mean(inside) > 0.8
    once, often = np.array(widths).reshape(-1, 2).T
    assert once.mean() == pytest.approx(often.mean(), rel=0.2)
    maps.free_energy_profile(Variable(x, "CV1"), axis, Sampling.of(len(x)))
    assert len(axis.collections) == 1
    axis.clear()
    maps.free_energy_profile(Variable(x, "CV1"), axis, Sampling.of(len(x)), intervals=False)
    assert not axis.collections


def test_a_free_energy_is_pale_where_few_frames_were(axis):
    x, y = np.random.default_rng(4).normal(size=(2, 40_000))
    maps.free_energy(Variable(x, "CV1"), Variable(y, "CV2"), axis, Sampling.of(len(x)))
    alpha = axis.images[0].get_alpha()
    middle = len(alpha) // 2
    assert alpha[middle, middle] == 1 and alpha[1, 1] == 0.3
    assert axis.images[0].get_array()[middle, middle] < 0.3


def test_the_plane_is_coloured_by_the_mean_of_the_cv_and_white_where_nothing_was(axis):
    rng = np.random.default_rng(2)
    a, b = rng.uniform(-3, 0, 50_000), rng.uniform(-np.pi, np.pi, 50_000)
    maps.label_map(Variable(a, "phi", "rad", 2 * np.pi), Variable(b, "psi", "rad", 2 * np.pi), Variable(a, "CV1"), axis)
    image = axis.images[0].get_array()  # (psi, phi)
    assert image.mask[:, -1].all(), "no frame has phi of 170 degrees"
    assert not image.mask[:, 10].any() and np.ptp(image[:, 10]) < 0.1
    assert image[5, 25] > image[5, 5] and axis.get_xlabel() == "phi (degrees)"
    assert axis.get_xlim() == (-180, 180)


def test_an_angle_is_averaged_round_the_circle(axis):
    angle = np.where(np.arange(10_000) % 2, np.pi - 0.1, -np.pi + 0.1)  # the mean is pi, not 0
    rng = np.random.default_rng(3)
    x, y = (Variable(values, name) for values, name in zip(rng.uniform(0, 1, (2, 10_000)), "ab", strict=True))
    maps.label_map(x, y, Variable(angle, "CV1", "rad", 2 * np.pi), axis)
    assert np.abs(axis.images[0].get_array()).min() > 170
    assert axis.images[0].get_cmap().name == "twilight of mid tones"


def test_a_chain_of_heavy_atoms_is_joined_by_bonds_and_a_coarse_one_by_steps():
    assert maps.skeleton(np.array([[0, 0, 0], [0.15, 0, 0], [0.30, 0, 0]])) == [(0, 1), (1, 2)]
    assert maps.skeleton(np.array([[0, 0, 0], [0.38, 0, 0], [0.38, 0.38, 0], [3, 3, 3]])) == [(0, 1), (1, 2)]


def test_same_data_same_file():
    def drawn():
        figure, axis = plots.figure()
        plots.fve_by_level({"collective": report_of([0.5, 0.7])}, axis)
        return plots.svg(figure)

    first = drawn()
    assert first == drawn()
    assert not re.search(r"20\d\d-\d\d", first) and math.isclose(float(re.search(r'width="([\d.]+)pt"', first)[1]), 4.8 * 72)


def test_variants_have_colours_of_their_own():
    colours = plots.variant_colours(["collective", "boosted", "mine", "yours"])
    assert len(set(colours.values())) == 4 and colours["boosted"] == plots.COLOURS["boosted"]


NAMES = ["a$_$b", "$x^", r"\$y$", "<b>&amp;", "100 %"]  # as people name columns; the first crashed matplotlib's formulas


@pytest.mark.parametrize("name", NAMES)
def test_names_from_data_are_drawn_as_they_stand(name):
    rng = np.random.default_rng(0)
    x, y, cv = (Variable(rng.normal(size=400), name) for _ in range(3))
    made, axis = plots.figure()
    maps.label_map(x, y, cv, axis)
    plots.svg(made)
    made, axis = plots.figure()
    plots.gains(Contributions((name, "b"), ((0.1, 0.2),), ((0.0, 0.1),), ((0.2, 0.3),)), axis)
    plots.svg(made)
    shown = axis.get_yticklabels()[1].get_text()
    assert shown.replace(r"\$", "$") == name and axis.get_yticklabels()[1]._preprocess_math(shown) == (name, False)


def test_the_settings_of_matplotlib_are_left_as_they_are():
    script = """
import matplotlib
before = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
from hae.figures import maps, plots
made, axis = plots.figure()
with plots.style():
    plots.figure()
plots.svg(made)
assert (dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)) == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)
