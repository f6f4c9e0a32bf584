"""results/report.html: one page that stands alone, with the verdicts in words first and the figures in it."""

from __future__ import annotations

import hashlib
import re
from itertools import groupby
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from hae.data.units import BOLTZMANN
from hae.importance.verdicts import figure
from hae.version import __version__
from pipelines import paths
from pipelines.page.choice import pca_words, which
from pipelines.page.evidence import Evidence, VariantEvidence
from pipelines.page.pictures import Picture, unit_of_energy
from pipelines.params import Params

__all__ = ["html", "inlined"]

TEMPLATE = Path(__file__).with_name("page.html")
TRUST = {
    "ok": "enough for the intervals",
    "rough": "few, so the intervals are rough",
    "not enough data": "too few for intervals and verdicts; 100 are needed",
}
SECTIONS = {"words": "in words", "explained": "how much is explained", "cvs": "what the CVs are", "density": "where the data are",
            "gains": "what each gains", "rebuilt": "reconstructions", "training": "training", "glossary": "glossary",
            "reproduce": "how to reproduce"}
KINDS = {
    "coordinates": "x, y, z of atoms, in nm, every frame laid onto a reference",
    "distances": "distances between atoms, in nm",
    "torsions": "sine and cosine of torsion angles",
    "columns": "columns of a table",
}


def html(evidence: Evidence, made: list[Picture], params: Params) -> str:
    """The page. It depends on its arguments alone: same results, same bytes."""
    template = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    figures = {
        group: [
            {"title": picture.title, "name": picture.name, "svg": Markup(inlined(picture.svg, picture.name, _alternative(picture)))}
            for picture in pictures
        ]
        for group, pictures in groupby(made, key=lambda picture: picture.group)
    }
    relations = _relations(evidence)
    shown = SECTIONS if figures.get("labels") or relations else {name: words for name, words in SECTIONS.items() if name != "cvs"}
    return template.render(
        contents=shown.items(),
        name=params.record.model_name,
        variants=[_variant(variant) for variant in evidence.variants],
        which=which(evidence),
        about=_about(evidence),
        figures=figures,
        captions=_captions(evidence),
        relations=relations,
        settings=_settings(params),
        version=__version__,
        data_digest=hashlib.sha256(paths.FRAMES.read_bytes()).hexdigest()[:16],
        eps=f"{params.evaluate.eps:g}",
    )


def _variant(variant: VariantEvidence) -> dict:
    report, stability = variant.importance, variant.stability
    parts = [report.sentence(), pca_words(report), stability.words() if stability else ""]
    pca = report.compared("pca")
    rows = [
        {
            "cv": cv.name,
            "verdict": "too little data" if cv.status == "not enough data" else cv.verdict,
            "order": "" if cv.status == "not enough data" else f"{cv.order} with the next" if cv.order in ("tied", "out of order") else
                     f"before {report.cvs[k + 1].name}" if cv.order == "ordered" else f"place {cv.order}" if cv.order else "",
            "figures": [_parts(cv.fve, cv.fve_low, cv.fve_high),
                        *(_parts(row.fve, row.fve_low, row.fve_high) for row in pca[k : k + 1]),
                        _parts(cv.gain, cv.gain_low, cv.gain_high), _parts(cv.info_gain, cv.info_gain_low, cv.info_gain_high)],
        }
        for k, cv in enumerate(report.cvs)
    ]
    return {
        "name": variant.name,
        "sentence": "; ".join(filter(None, parts)) + ".",
        "rows": rows,
        "pca": bool(pca),
        "trust": TRUST[report.status],
        "n_eff": f"{report.n_eff:.0f}",
        "n": report.n,
        "stability": stability and {"replicas": stability.replicas, "levels": [f"{value:.2f}" for value in stability.levels]},
        "n_by_eps": [(eps, n) for eps, n in report.n_by_eps.items() if n is not None and float(eps) != report.eps],
    }


def _parts(value: float, low: float, high: float) -> tuple[str, str]:
    """The figure and its interval, to be set one above the other."""
    words = figure(value, low, high)
    first, _, rest = words.partition(" ")
    return first, rest


def _about(evidence: Evidence) -> dict:
    features = len(evidence.test.features)
    total = sum(evidence.counts.values())
    where = f" in {evidence.trajectories} trajector{'ies' if evidence.trajectories > 1 else 'y'}" if evidence.trajectories else ""
    kind = evidence.recipe.kind
    thing = "rows" if kind == "columns" and not where else "frames"
    return {
        "thing": thing[:-1],
        "data": f"{total:,} {thing}{where}, {features:,} feature{'s' * (features > 1)} ({KINDS[kind]})",
        "split": ", ".join(f"{side} {number:,}" for side, number in evidence.counts.items() if number),
        "temperature": evidence.temperature and f"{evidence.temperature:g} K",
        "weights": evidence.frames.weights is not None,
        "intervals": any(report.status != "not enough data" for report in evidence.reports.values()),
    }


def _captions(evidence: Evidence) -> dict[str, str | bool]:
    unit = unit_of_energy(evidence)
    energy = {
        "kJ/mol": f"at {evidence.temperature or 0:g} K, where kT is {BOLTZMANN * (evidence.temperature or 0):.2f} kJ/mol",
        "kT": "in units of kT, as no temperature was given",
        "": "as minus the logarithm of the density" + ("" if evidence.recipe.kind == "columns" else ", as no temperature was given"),
    }[unit[1]]
    labels = list(evidence.frames.labels.columns)
    molecules = evidence.recipe.kind == "coordinates"
    return {
        "energy": energy,
        "heading": "Free energy" if unit[1] else "Where the data are",
        "labels": f"{labels[0]} and {labels[1]}" if len(labels) > 1 else f"{labels[0]}" if labels else "",
        "many_labels": len(labels) > 1,
        "gains": {"coordinates": "atom", "torsions": "torsion"}.get(evidence.recipe.kind, "feature"),
        "rebuilt": "molecules" if molecules else "features",
        "step": "kT" if unit[1] else "1",
        "one_cv": all(len(variant.kinds) == 1 for variant in evidence.variants),
    }


def _relations(evidence: Evidence) -> list[dict]:
    """Tables of R^2 of a label from each CV alone: a row a CV, a column a label, four at most."""
    tables = []
    for variant in evidence.variants:
        told = variant.relations.set_index(["cv", "label"])
        labels = list(dict.fromkeys(variant.relations["label"]))
        for start in range(0, len(labels), 4):
            columns = labels[start : start + 4]
            rows = [
                (f"CV{k + 1}", [_parts(*told.loc[(k + 1, label), ["r2", "low", "high"]]) for label in columns])
                for k in range(len(variant.kinds))
            ]
            tables.append({"name": variant.name, "labels": columns, "rows": rows})
    return tables


def _settings(params: Params) -> list[tuple[str, list[str]]]:
    """Parameters under train, a row each and a column a variant."""
    sections = {name: section.model_dump(exclude_unset=True) for name, section in params.train.items()}
    keys = list(dict.fromkeys(key for section in sections.values() for key in section))
    return [(key, [_plain(section.get(key)) for section in sections.values()]) for key in keys]


def _plain(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _alternative(picture: Picture) -> str:
    """What a screen reader says of it; the caption says the rest."""
    kinds = {"fve": "fraction of variance explained", "labels": "labels coloured by a CV", "energy": "free energy on CV1 and CV2",
             "gains": "gain by feature", "rebuilt": "reconstructions by level", "training": "training curves"}
    return f"{kinds[picture.group]}{': ' + picture.title if picture.title else ''}"


def inlined(svg: str, name: str, words: str) -> str:
    """An SVG element whose ids are its own in the page, which scales with its column and has a name."""
    svg = re.sub(r'(\bid="|xlink:href="#|\bhref="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    width = float(re.findall(r'width="([\d.]+)pt"', svg)[0]) * 4 / 3
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(words)}" style="max-width:{np.ceil(width):.0f}px"', 1)

