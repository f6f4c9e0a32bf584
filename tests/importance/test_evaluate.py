"""The report on networks whose importance is known: verdicts, what must not change them, words, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from measuring import measure

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.importance import evaluate as importance
from hae.importance import refits
from hae.importance.assess import Measured, assess, compare
from hae.importance.decoders import RefitSettings
from hae.importance.intervals import Sampling
from hae.importance.refits import EncodedRows, Refits
from hae.importance.report import COLUMNS, ImportanceReport
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import FrameErrors, score_frames
from hae.training.baselines import principal_components

QUICK = RefitSettings(rows=3000, steps=200)


class Function(torch.nn.Module):
    """A function as a module: encoders and decoders that are known exactly."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def network_of(encode, decoders, kinds, variant="collective") -> HierarchicalNetwork:
    """A network of exact functions: encode (N, D) -> (N, C); decoders[k]: what level k reads -> (N, D)."""
    left = iter(decoders)
    return HierarchicalNetwork(Function(encode), lambda n_inputs: Function(next(left)), variant, kinds).double()


def torus(n: int, seed: int = 0) -> np.ndarray:
    a, b = np.random.default_rng(seed).uniform(-np.pi, np.pi, (2, n))
    return np.stack([2 * np.cos(a), 2 * np.sin(a), np.cos(b), np.sin(b)], axis=1)


def torus_network(order=(0, 1)) -> HierarchicalNetwork:
    """Circular CVs that are the torus's angles in this order, with the best decoders of each level."""

    def decoder(known):
        def decode(c):
            out = torch.zeros(*c.shape[:-1], 4, dtype=c.dtype)
            for place, angle in enumerate(known):
                out[..., 2 * angle : 2 * angle + 2] = (2 - angle) * c[..., 2 * place : 2 * place + 2]
            return out

        return decode

    columns = [column for angle in order for column in (2 * angle, 2 * angle + 1)]
    return network_of(lambda x: x[..., columns], [decoder(order[: k + 1]) for k in range(len(order))], ["circular"] * len(order))


def winding(turns: int, n: int, seed: int = 0) -> np.ndarray:
    t = np.random.default_rng(seed).uniform(-1, 1, n)
    return np.stack([t, np.sin(turns * t), np.cos(turns * t)], axis=1)


def winding_network(turns: int) -> HierarchicalNetwork:
    return network_of(lambda x: x[..., :1], [lambda c: torch.cat([c, torch.sin(turns * c), torch.cos(turns * c)], dim=-1)], ["linear"])


def three_factors(n: int, seed: int = 0) -> np.ndarray:
    """(n, 5) of three factors: one bent, two whose product is seen too, and noise."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3)) * [2, 1.2, 0.5]
    seen = np.stack([z[:, 0], np.sin(z[:, 0]), z[:, 1], z[:, 2], z[:, 1] * z[:, 2]], axis=1)
    return seen + 0.05 * rng.normal(size=seen.shape)


def three_factors_network(slope=0.0, bend=0.0) -> HierarchicalNetwork:
    """Its exact collective network, CV_2 renamed as CV_2 + slope CV_1 + bend CV_1^2 and the decoders composed accordingly."""

    def encode(x):
        first = x[..., :1]
        return torch.cat([first, x[..., 2:3] + slope * first + bend * first**2, x[..., 3:4]], dim=-1)

    def decoder(level):
        def decode(c):
            first = c[..., 0]
            out = torch.zeros(*c.shape[:-1], 5, dtype=c.dtype)
            out[..., 0], out[..., 1] = first, first.sin()
            if level > 1:
                out[..., 2] = c[..., 1] - slope * first - bend * first**2
            if level > 2:
                out[..., 3], out[..., 4] = c[..., 2], out[..., 2] * c[..., 2]
            return out

        return decode

    return network_of(encode, [decoder(k) for k in (1, 2, 3)], ["linear"] * 3)


@pytest.fixture(scope="module")
def torus_report() -> ImportanceReport:
    return measure(torus_network(), torus(3000), torus(3000, 1), settings=QUICK)


def test_torus(torus_report):
    first, second = torus_report.cvs
    assert (first.fve, second.fve) == pytest.approx((0.8, 1.0), abs=1e-9)
    assert first.info_gain == pytest.approx(0.8, abs=0.01) and second.info_gain == pytest.approx(0.2, abs=0.01)
    assert [cv.verdict for cv in torus_report.cvs] == ["alive", "alive"] and first.order == "ordered" and second.order == ""
    assert torus_report.n == 2 and torus_report.status == "ok" and first.converged
    assert first.raw_margin == pytest.approx(0.6, abs=0.02)


def test_a_third_cv_that_copies_the_second_is_called_so():
    report = measure(torus_network((0, 1, 1)), torus(3000), torus(2500, 1), settings=QUICK)
    assert [cv.verdict for cv in report.cvs] == ["alive", "alive", "copy of CV2"]
    assert report.n == 2
    assert report.sentence().startswith("CV1 and CV2 are alive and ordered; CV3 is a copy of CV2; CV1 alone explains 0.8")


@pytest.mark.parametrize(("weigh", "verdict"), [(True, "copy of CV1"), (False, "dead")])
def test_a_copy_is_told_from_the_rows_that_count(weigh, verdict):
    """CV2 is CV1 in half of the training rows, and noise in the others, which count next to nothing."""
    rng = np.random.default_rng(0)
    x, test, noise = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1))
    counts = np.arange(2000) % 2 == 0
    cvs = EncodedRows(np.hstack([x, np.where(counts[:, None], x, noise)]), np.hstack([test, test]), ("linear", "linear"))
    v, e = np.abs(rng.normal(size=(2, 2000))) * [[1.0], [0.2]]
    errors = FrameErrors(np.stack([e, e]), v)
    refits, weights = Refits(errors.e, errors.e[:1], errors.e[:1]), np.where(counts, 1.0, 1e-6) if weigh else None
    measured = Measured(cvs, errors, refits, errors.fve, weights)
    assert [cv.verdict for cv in assess(measured, Sampling.of(2000)).cvs] == ["alive", verdict]


def test_exchanged_cvs_are_out_of_order():
    report = measure(torus_network((1, 0)), torus(3000), torus(2500, 1), settings=QUICK)
    assert report.cvs[0].order == "out of order"
    assert "CV1 and CV2 are out of order" in report.sentence()


def test_a_cv_of_noise_is_dead_though_nothing_copies_it():
    X, X_test = (
        np.concatenate([torus(n, seed), np.random.default_rng(seed).normal(size=(n, 1)) * 1e-3], 1) for n, seed in ((3000, 0), (2500, 1))
    )
    decode = lambda c: torch.cat([2 * c[..., :2], torch.zeros_like(c[..., [0] * 3])], -1)  # noqa: E731
    network = network_of(lambda x: x[..., [0, 1, 4]], [decode, decode], ["circular", "linear"])
    report = measure(network, X, X_test, settings=QUICK)
    assert [cv.verdict for cv in report.cvs] == ["alive", "dead"] and report.n == 1


def test_equal_eigenvalues_have_no_order():
    X = np.random.default_rng(0).normal(size=(6000, 3))
    report = measure(principal_components(X[:3000], 3), X[:3000], X[3000:], settings=QUICK)
    assert all(cv.order in ("tied", "undecided") for cv in report.cvs[:2])
    assert all(cv.verdict == "alive" for cv in report.cvs)


@pytest.mark.parametrize(("slope", "bend"), [(3, 0), (0, 1)])
def test_mixing_an_earlier_cv_into_a_later_one_changes_no_verdict(slope, bend):
    X, X_test = three_factors(3000), three_factors(2000, 1)
    plain = measure(three_factors_network(), X, X_test, settings=QUICK)
    mixed = measure(three_factors_network(slope, bend), X, X_test, settings=QUICK)
    words = ["verdict", "order", "status"]
    assert plain.to_frame()[words].equals(mixed.to_frame()[words])
    figures = [name for name in COLUMNS if name not in words]
    np.testing.assert_allclose(mixed.to_frame()[figures], plain.to_frame()[figures], atol=1e-6, rtol=1e-6)
    assert abs(mixed.cvs[0].raw_margin - plain.cvs[0].raw_margin) > 0.01  # which is why it is not the only margin


def test_frames_repeated_ten_times_change_no_width(torus_report):
    rows = np.repeat(np.arange(3000), 10)
    often = measure(torus_network(), torus(3000), torus(3000, 1)[rows], settings=QUICK)
    for name in ("fve", "gain", "info_gain"):
        once, again = (report.to_frame()[f"{name}_high"] - report.to_frame()[f"{name}_low"] for report in (torus_report, often))
        np.testing.assert_allclose(again, once, rtol=1e-3, atol=1e-9)


def test_equal_weights_change_nothing_and_unequal_ones_weigh(monkeypatch):
    judged = []
    monkeypatch.setattr(importance, "assess", lambda measured, *more: judged.append(measured) or assess(measured, *more))
    X, X_test = three_factors(2000), three_factors(2000, 1)
    network = three_factors_network()
    plain = measure(network, X, X_test, settings=QUICK)
    same = measure(network, X, X_test, weights=np.full(2000, 3.0), train_weights=np.full(2000, 0.1), settings=QUICK)
    np.testing.assert_allclose(same.to_frame().iloc[:, :10].astype(float), plain.to_frame().iloc[:, :10].astype(float), rtol=1e-6)
    assert judged[0].train_weights is None and judged[1].train_weights.tolist() == [0.1] * 2000
    w = np.where(np.abs(X_test[:, 0]) > 1, 2.0, 1.0)
    weighed = measure(network, X, X_test, weights=w, settings=QUICK)
    assert weighed.cvs[0].fve == pytest.approx(score_frames(network, X_test, weights=w).fve[0], abs=1e-12)
    assert weighed.cvs[0].fve > plain.cvs[0].fve + 0.01


def test_baselines_are_compared_in_pairs():
    X, X_test = three_factors(3000), three_factors(2000, 1)
    pca = principal_components(X, 3, scale="none")
    with torch.no_grad():
        levels = pca(torch.from_numpy(X_test))[1].numpy()
    network = three_factors_network()
    network.decoder.outputs.decoders[0].function = lambda c: torch.zeros_like(c[..., [0] * 5])
    report = measure(network, X, X_test, baselines={"pca": levels, "itself": score_frames(network, X_test).e}, settings=QUICK)
    assert [row.difference for row in report.compared("itself")] == [0, 0, 0]
    first, *_, last = report.compared("pca")
    assert first.difference_high < -0.5, "a first level that says nothing is below PCA"
    assert last.difference_low > 0 and last.difference == pytest.approx(report.cvs[2].fve - last.fve)
    assert not report.cvs[0].converged, "its refitted decoder knows far more"


def test_compare_gives_no_bounds_without_enough_frames():
    e = np.random.default_rng(0).uniform(size=(2, 90))
    found = compare(e, e + 0.1, np.ones(90), Sampling.of(90))
    assert found.value == pytest.approx([0.1, 0.1]) and np.isnan(found.low).all()


def test_too_few_frames_are_said_to_be_too_few():
    network = torus_network()
    for report in (
        measure(network, torus(1000), torus(60, 1), settings=QUICK),
        measure(network, torus(1000), torus(1000, 1), blocks=np.repeat(np.arange(10), 100), settings=QUICK),
    ):
        assert report.status == "not enough data" and report.n is None
        assert report.to_frame()[["fve_low", "gain_high", "info_gain_low"]].isna().all(axis=None)
        assert set(report.to_frame()["verdict"]) == {"undecided"}
        assert report.sentence().startswith("Not enough independent data") and "CV1 alone explains 0.8" in report.sentence()


def test_members_vote(torus_report):
    good, bad = torus_network(), torus_network((1, 1))
    report = measure(bad, torus(3000), torus(3000, 1), members=[good, good], settings=QUICK)
    assert report.n == 2 and report.cvs[1].verdict == "copy of CV1"
    assert [member.n for member in report.members] == [2, 2]
    np.testing.assert_allclose(report.members[0].to_frame()["info_gain"], torus_report.to_frame()["info_gain"], atol=1e-6)


def test_report_is_written_and_read(torus_report):
    assert list(torus_report.to_frame().columns) == list(COLUMNS)
    text = torus_report.to_json()
    again = ImportanceReport.from_json(text)
    assert again.to_json() == text and again.sentence() == torus_report.sentence()
    few = measure(torus_network(), torus(500), torus(60, 1), settings=QUICK)
    assert json.loads(few.to_json())["cvs"][0]["fve_low"] is None and np.isnan(ImportanceReport.from_json(few.to_json()).cvs[0].fve_low)


def test_another_target_and_a_further_metric():
    X, X_test = torus(2000), torus(2000, 1)
    rng = np.random.default_rng(5)
    noisy, noisy_test = X + rng.normal(size=X.shape), X_test + rng.normal(size=X.shape)
    report = measure(torus_network(), X, X_test, target_train=noisy, target=noisy_test, settings=QUICK)
    assert report.cvs[1].info == pytest.approx(5 / 9, abs=0.03)
    root = np.array([0.0, 0, 1, 1])  # only the smaller circle counts
    assert [cv.verdict for cv in measure(torus_network(), X, X_test, root=root, settings=QUICK).cvs] == ["dead", "alive"]
    matrix = measure(torus_network(), X, X_test, root=np.diag(root), settings=QUICK)
    assert matrix.cvs[1].info_gain == pytest.approx(1, abs=0.01) and matrix.cvs[0].order == "out of order"


def test_empty_sides_are_refused():
    with pytest.raises(BadInput, match="test: no rows"):
        measure(torus_network(), torus(100), torus(0))


def test_refits_that_stay_behind_the_trained_decoders_are_made_again_with_more(monkeypatch):
    """What a CV knows is at least what its own decoder made of it: a curve that winds asks for more than a first refit."""
    calls, real = [], refits.refit
    monkeypatch.setattr(refits, "refit", lambda *args, **kwargs: calls.append(kwargs["settings"].steps) or real(*args, **kwargs))
    cv = measure(winding_network(6), winding(6, 3000), winding(6, 2000, 1), settings=QUICK).cvs[0]
    assert calls[:2] == [200, 400] and cv.info > 0.98
    calls.clear()
    measure(torus_network(), torus(3000), torus(2000, 1), settings=QUICK)
    assert calls == [200]
    monkeypatch.setattr(refits, "BEHIND", np.inf)
    once = measure(winding_network(6), winding(6, 3000), winding(6, 2000, 1), settings=QUICK)
    assert once.cvs[0].info < 0.7 and once.cvs[0].behind
    assert "refitted decoders stay behind the trained ones at level 1 (0.59 against 1.00)" in once.sentence()


def test_refits_that_more_made_no_better_are_not_made_a_third_time(monkeypatch):
    """Of forty rows a refit learns the noise too, and a longer one more of it."""
    calls, real = [], refits.refit
    monkeypatch.setattr(refits, "refit", lambda *args, **kwargs: calls.append(kwargs["settings"].steps) or real(*args, **kwargs))
    few = torus(40)
    measure(torus_network(), few + np.random.default_rng(0).normal(size=few.shape), torus(2000, 1), settings=QUICK)
    assert calls == [200, 400]


def test_where_refits_stay_behind_nothing_is_decided_on_them():
    """One step of refitting reaches nothing: no CV is dead and no pair out of order for that."""
    X, X_test = torus(3000), torus(3000, 1)
    report = measure(torus_network(), X, X_test, settings=replace(QUICK, steps=1, hidden=(2,)))
    behind = [cv for cv in report.cvs if cv.behind]
    assert behind and {cv.verdict for cv in behind} == {"undecided"}
    assert all(cv.order in ("undecided", "") for cv in report.cvs)
    assert "nothing is decided there" in report.sentence()


def test_validation_rows_say_that_they_chose_the_model():
    X = torus(900)
    model = HierarchicalAutoencoder(1, hidden=(4,), n_seeds=2, max_epochs=2, device="cpu", shares=(0.5, 0.5, 0)).fit(X)
    report = model.importance_
    assert report.side == "validation" and ImportanceReport.from_json(report.to_json()).side == "validation"
    assert report.status == "not enough data" or "which also chose the best of 2 members" in report.sentence()
    assert replace(report, status="ok").sentence().count("these figures are a little too good") == 1


def test_the_number_of_cvs_says_of_what_it_is_true(torus_report):
    assert torus_report.n_words().startswith("The first 2 CVs are surely worth having for this network. That is not the number of motions")
    assert "a further CV might still be" in torus_report.n_words() and replace(torus_report, n=None).n_words() == ""
    assert replace(torus_report, n=1).n_words().startswith("CV1 alone is") and "the next one is" in replace(torus_report, n=1).n_words()
