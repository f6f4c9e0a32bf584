"""The figures of the report: from evidence to SVG, one picture for each variant (or CV), so that a page can set them side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hae.data.frames import Frames
from hae.data.units import BOLTZMANN
from hae.figures import along, gradients, maps, plots
from hae.figures.maps import Variable
from hae.importance.intervals import Sampling
from hae.network.kinds import PERIODS
from pipelines.page.evidence import Evidence, VariantEvidence

__all__ = ["Picture", "pictures", "unit_of_energy"]

PLACES = (0.05, 0.5, 0.95)  # quantiles of CV1 at which reconstructions are shown
SHOWN_LEVELS = 4
SHOWN_CVS = 4  # against time and along which features are drawn
PAIRED_CVS, PAIRED_LABELS = 3, 2  # of the planes of two CVs
TRAJECTORIES = 12  # drawn against time
TOP = 15  # features or groups of them whose gains are drawn


@dataclass(frozen=True)
class Picture:
    """group: the figure that it is a part of; name: of its file; title: above it; svg: the element."""

    group: str
    name: str
    title: str
    svg: str


@plots.style()
def pictures(evidence: Evidence) -> list[Picture]:
    """All figures, in the order of the page."""
    rows = comparisons(evidence)
    made = [
        Picture("fve", "fve", "", _drawn(lambda axis: plots.fve_by_level(evidence.reports, axis))),
        Picture("fve", "differences", "", _drawn(lambda axis: plots.differences(rows, axis),
                                                 height=max(3.6, 1.3 + 0.12 * sum(len(found) + 1 for found in rows.values())))),
    ]
    for variant in evidence.variants:
        made += _maps(evidence, variant)
    for variant in evidence.variants:
        made += _pairs(evidence, variant)
    for variant in evidence.variants:
        made += _along(evidence, variant)
    for variant in evidence.variants:
        made += _in_time(evidence, variant)
    for variant in evidence.variants:
        made += _steep(variant)
    for variant in evidence.variants:
        made.append(Picture("energy", f"energy-{variant.name}", variant.name, _energy(evidence, variant)))
    for variant in evidence.variants:
        shares = variant.importance.by_group or variant.importance.by_feature
        lines = min(len(shares.names), TOP) * max(0.09 * len(variant.kinds) + 0.05, 0.22)
        made.append(Picture("gains", f"gains-{variant.name}", variant.name,
                            _drawn(lambda axis, shares=shares: plots.gains(shares, axis, TOP), height=1.2 + lines)))
    for variant in evidence.variants:
        made.append(Picture("rebuilt", f"rebuilt-{variant.name}", variant.name, _rebuilt(evidence, variant)))
    for variant in evidence.variants:
        made.append(Picture("training", f"training-{variant.name}", variant.name,
                            _drawn(lambda axis, variant=variant: plots.training_curves(variant.history, axis))))
    return made


def comparisons(evidence: Evidence) -> dict:
    """The paired comparisons: each variant with PCA and with the plain autoencoder, then the variants with each other."""
    rows = {}
    for name, report in evidence.reports.items():
        for other, words in (("pca", "PCA"), ("plain", "plain AE")):
            if report.compared(other):
                rows[f"{name}\n− {words}"] = report.compared(other)
    return rows | {title.replace(" - ", "\n− "): found for title, found in evidence.paired.items()}


def unit_of_energy(evidence: Evidence) -> tuple[float, str]:
    """kT and its name: kJ/mol with a temperature, kT for molecules without one, nothing for other tables."""
    if evidence.temperature is not None:
        return BOLTZMANN * evidence.temperature, "kJ/mol"
    return 1.0, "" if evidence.recipe.kind == "columns" else "kT"


def _drawn(draw: Callable, width: float = 4.8, height: float = 3.6) -> str:
    made, axis = plots.figure(width, height)
    draw(axis)
    return plots.svg(made)


def _variables(variant: VariantEvidence, values: np.ndarray) -> list[Variable]:
    return [
        Variable(values[:, k], f"CV{k + 1}", "rad" if PERIODS[kind] else "", PERIODS[kind])
        for k, kind in enumerate(variant.kinds)
    ]


def _labels(frames: Frames) -> list[Variable]:
    return [
        Variable(frames.labels[name].to_numpy(), str(name), unit, period)
        for name, unit, period in zip(frames.labels.columns, frames.label_units, frames.label_periods, strict=True)
    ]


def _maps(evidence: Evidence, variant: VariantEvidence) -> list[Picture]:
    """Two labels coloured by each CV; with one label and one CV, the one against the other."""
    labels, cvs, weights = _labels(evidence.frames), _variables(variant, variant.cvs), evidence.frames.weights
    if len(labels) >= 2:
        planes = [(labels[0], labels[1], cv, f"cv{k + 1}") for k, cv in enumerate(cvs)]
    elif len(labels) == 1 and len(cvs) == 1:
        planes = [(labels[0], cvs[0], cvs[0], "cv1")]
    else:
        return []
    return [
        Picture("labels", f"labels-{variant.name}-{name}", f"{variant.name}, {colour.name}",
                _drawn(lambda axis, x=x, y=y, colour=colour: maps.label_map(x, y, colour, axis, weights), 4.2, 3.3))
        for x, y, colour, name in planes
    ]


def _pairs(evidence: Evidence, variant: VariantEvidence) -> list[Picture]:
    """Planes of two CVs, each place coloured by the mean label there."""
    labels, cvs = _labels(evidence.frames)[:PAIRED_LABELS], _variables(variant, variant.cvs)[:PAIRED_CVS]
    return [
        Picture("pairs", f"pairs-{variant.name}-{i}-{'-'.join(x.name.lower() for x in (a, b))}", f"{variant.name}, {label.name}",
                _drawn(lambda axis, a=a, b=b, label=label: maps.label_map(a, b, label, axis, evidence.frames.weights), 4.2, 3.3))
        for i, label in enumerate(labels, start=1) for a, b in combinations(cvs, 2)
    ]


def _along(evidence: Evidence, variant: VariantEvidence) -> list[Picture]:
    """What the features that gain most, or the atoms, do along each CV."""
    frames, lengths = evidence.frames, evidence.recipe.kind == "coordinates"
    gains = variant.importance.by_feature
    known = dict(zip(gains.names, np.sum(gains.gain, axis=0), strict=True)) if gains.names else {}
    groups: dict[str, list[int]] = {}
    for j, name in enumerate(frames.features):
        groups.setdefault((evidence.recipe.groups or {}).get(name, name) if lengths else name, []).append(j)
    order = sorted(groups, key=lambda name: -sum(known.get(frames.features[j], 0.0) for j in groups[name]))[:TOP]
    shown = {name: groups[name] for name in groups if name in order} if lengths else {name: groups[name] for name in order}
    return [
        Picture("along", f"along-{variant.name}-cv{k + 1}", f"{variant.name}, {cv.name}",
                _drawn(lambda axis, cv=cv: along.features_along(cv, frames.values, shown, axis, lengths=lengths, weights=frames.weights),
                       4.2, 1.2 + 0.2 * max(len(shown), 6)))
        for k, cv in enumerate(_variables(variant, variant.cvs)[:SHOWN_CVS])
    ]


def _in_time(evidence: Evidence, variant: VariantEvidence) -> list[Picture]:
    """CVs against the frame number, where rows come one after the other."""
    frames = evidence.frames
    names = [name for name in dict.fromkeys(frames.trajectory.tolist()) if name][:TRAJECTORIES]
    if not names:
        return []
    rows = np.isin(frames.trajectory, names)
    cvs = _variables(variant, variant.cvs[rows])[:SHOWN_CVS]
    made, axes = plots.grid(4.8, 0.7 + 1.1 * len(cvs), len(cvs), 1)
    along.against_time(cvs, frames.trajectory[rows], frames.frame[rows], axes[:, 0])
    return [Picture("time", f"time-{variant.name}", variant.name, plots.svg(made))]


def _steep(variant: VariantEvidence) -> list[Picture]:
    """Each CV along its steepest passage, and its largest gradient over the plane of the first two labels."""
    steep, smoothness = variant.steep, variant.importance.smoothness
    if steep is None or smoothness is None:
        return []
    made = [Picture("steep", f"steep-{variant.name}", variant.name,
                    _drawn(lambda axis: gradients.passages(steep.steps, steep.passages, axis, smoothness.unit)))]
    labels, unit = _labels(steep.at), smoothness.unit
    if len(labels) > 1:
        x, y = labels[:2]
        made += [Picture("steep", f"steep-{variant.name}-cv{k + 1}", f"{variant.name}, CV{k + 1}",
                         _drawn(lambda axis, k=k, size=size: gradients.gradient_map(x, y, size, axis, f"CV{k + 1}", unit)))
                 for k, size in enumerate(steep.sizes.T[:SHOWN_CVS])]
    return made


def _energy(evidence: Evidence, variant: VariantEvidence) -> str:
    frames = evidence.frames
    cvs, sampling = _variables(variant, variant.cvs), Sampling.of(len(frames), frames.trajectory, frames.frame, frames.weights)
    how = sampling, unit_of_energy(evidence), variant.importance.status != "not enough data"
    if len(cvs) == 1:
        return _drawn(lambda axis: maps.free_energy_profile(cvs[0], axis, *how))
    return _drawn(lambda axis: maps.free_energy(cvs[0], cvs[1], axis, *how))


def _rebuilt(evidence: Evidence, variant: VariantEvidence) -> str:
    """Levels from top to bottom: three molecules along CV1, or the three features with the largest gains."""
    n = len(variant.kinds)
    levels = list(range(1, n + 1)) if n <= SHOWN_LEVELS else [*range(1, SHOWN_LEVELS), n]
    molecules = evidence.recipe.kind == "coordinates"
    columns = len(PLACES) if molecules else min(len(PLACES), len(evidence.test.features))
    made, axes = plots.grid(4.8, 1.4 * len(levels) + 0.4, len(levels), columns)
    titles = (_draw_molecules if molecules else _draw_features)(evidence, variant, levels, axes)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis, level in zip(axes[:, 0], levels, strict=True):
        axis.text(-0.05 if molecules else -0.32, 0.5, f"level {level}", transform=axis.transAxes, rotation=90, ha="right", va="center",
                  fontsize=9)
    return plots.svg(made)


def _draw_molecules(evidence: Evidence, variant: VariantEvidence, levels: list[int], axes: np.ndarray) -> list[str]:
    """A frame a column; the columns' titles."""
    bonds = maps.skeleton(np.array(evidence.recipe.reference))
    order = np.argsort(variant.test_cvs[:, 0], kind="stable")
    for column, place in zip(axes.T, PLACES, strict=True):
        row = int(order[int(place * (len(order) - 1))])
        for axis, level in zip(column, levels, strict=True):
            true, rebuilt = (values[row].reshape(-1, 3) for values in (evidence.test.values, variant.levels[level - 1]))
            maps.sticks(true, rebuilt, bonds, axis, level, len(variant.kinds))
    return ["CV1 low", "CV1 middle", "CV1 high"]


def _draw_features(evidence: Evidence, variant: VariantEvidence, levels: list[int], axes: np.ndarray) -> list[str]:
    """A feature a column; the columns' titles."""
    test, titles = evidence.test, []
    best = np.argsort(-np.sum(variant.importance.by_feature.gain, axis=0), kind="stable")[: axes.shape[1]]
    for column, j in zip(axes.T, best, strict=True):
        true = Variable(test.values[:, j], test.features[j], test.units[j])
        for axis, level in zip(column, levels, strict=True):
            maps.pair_of_reconstruction(true, variant.levels[level - 1, :, j], axis, test.weights)
            axis.tick_params(labelsize=8)
            axis.locator_params(nbins=3)
            if level != levels[-1]:
                axis.set_xticklabels([])
        titles.append(plots.plain("\n".join(textwrap.wrap(true.label, 18, max_lines=2, placeholder="…"))))
    return titles
