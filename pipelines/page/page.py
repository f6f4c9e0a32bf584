"""results/report.html: one page that stands alone, with the verdicts in words first and the figures in it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hae.data.units import BOLTZMANN
from hae.importance.report import ImportanceReport
from hae.importance.stability import SHAKY, Stability
from hae.importance.verdicts import figure, join
from hae.version import __version__
from pipelines import paths
from pipelines.page.choice import which
from pipelines.page.evidence import Evidence, VariantEvidence
from pipelines.page.inline import dark_colours, inline
from pipelines.page.movie import SCRIPTS, as_json, movies
from pipelines.page.pictures import PAIRED_LABELS, TOP, TRAJECTORIES, Picture, unit_of_energy
from pipelines.params import Params

__all__ = ["html"]

TEMPLATE, STYLE = (Path(__file__).with_name(name) for name in ("page.html", "page.css"))
TRUST = {
    "ok": "enough for intervals",
    "rough": "few, so intervals are rough",
    "not enough data": "too few for intervals and verdicts; 100 are needed",
}
SECTIONS = {"reading": "How to read this page", "words": "In words", "explained": "How much is explained",
            "movies": "The molecule along each CV", "cvs": "What the CVs are", "along": "Along each CV", "time": "CVs against time",
            "steep": "Where the CVs are steep", "density": "Where the data are", "gains": "What each gains", "rebuilt": "Reconstructions",
            "training": "Training", "glossary": "Glossary", "reproduce": "How to reproduce"}
KINDS = {
    "coordinates": "x, y, z of atoms, in nm, every frame aligned to a reference",
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
            {"title": picture.title, "name": picture.name, "svg": inline(picture.svg, picture.name, _alternative(picture))}
            for picture in pictures
        ]
        for group, pictures in groupby(made, key=lambda picture: picture.group)
    }
    about, captions, relations, told = _about(evidence), _captions(evidence), _relations(evidence), movies(evidence)
    scripts = [path.read_text(encoding="utf-8") for path in SCRIPTS] if told else []
    there = {"movies": bool(told), "cvs": bool(relations or {"labels", "pairs"} & set(figures)), "time": "time" in figures,
             "steep": "steep" in figures}
    return template.render(
        contents=[(name, captions["heading"] if name == "density" else words) for name, words in SECTIONS.items() if there.get(name, True)],
        name=params.record.model_name,
        variants=[_variant(variant, evidence.called) for variant in evidence.variants],
        which=evidence.called(which(evidence)),
        about=about,
        figures=figures,
        captions=captions,
        relations=relations,
        settings=_settings(params, evidence.variants),
        version=__version__,
        data_digest=hashlib.sha256(paths.MANIFEST.read_bytes()).hexdigest()[:16],
        eps=f"{params.evaluate.eps:g}",
        css=Markup(STYLE.read_text(encoding="utf-8")),
        dark=dark_colours(figure["svg"] for group in figures.values() for figure in group),
        policy=Markup(_policy(scripts)),
        movies=told and {"titles": [movie["title"] for movie in told["movies"]], "data": Markup(as_json(told)),
                         "scripts": [Markup(script) for script in scripts]},
    )


def _policy(scripts: list[str]) -> str:
    """What a browser may do with the page: run these scripts and no other, and ask for nothing outside."""
    digests = " ".join(f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {digests or chr(39) + 'none' + chr(39)}"


def _variant(variant: VariantEvidence, called: Callable[[str], str]) -> dict:
    report, stability = variant.importance, variant.stability
    parts = [report.sentence(), report.beside_pca(), _elsewhere(stability) if stability else ""]
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
        "sentences": [f"{part[0].upper()}{called(part[1:])}." for part in parts if part],
        "rows": rows,
        "pca": bool(pca),
        "trust": TRUST[report.status],
        "n_eff": f"{report.n_eff:.0f}",
        "n": report.n,
        "weights": variant.weights[:12],
        "members": _members(report),
        "stability": stability and {
            "replicas": stability.replicas,
            "sample": stability.sample(),
            "levels": [f"{value:.2f}" for value in stability.levels],
            "shaky": join([f"CV{k}" for k, value in enumerate(stability.levels, start=1) if value < SHAKY]),
        },
        "n_by_eps": [(eps, n) for eps, n in report.n_by_eps.items() if n is not None and float(eps) != report.eps],
    }


def _elsewhere(stability: Stability) -> str:
    """In plain words which CVs other draws of the data may give otherwise."""
    shaky = [k for k, value in enumerate(stability.levels, start=1) if value < SHAKY]
    if not shaky:
        return ""
    figures = join([f"{stability.levels[k - 1]:.2f}" for k in shaky])
    said = f"other draws of the data may give another {join([f'CV{k}' for k in shaky])}: their reconstructions agree to {figures} of 1 only"
    tied = [f"CV{a} and CV{b} together are found again, but how they share it is chance (tied levels)" for a, b in stability.tied]
    return "; ".join([said, *tied])


def _members(report: ImportanceReport) -> dict | None:
    """The other members of the training: how many there are in all, and the FVEs of each level in words."""
    if not report.members:
        return None
    levels = [[member.cvs[k].fve for member in report.members if k < len(member.cvs)] for k in range(len(report.cvs))]
    fves = [f"{min(found):.3f}" + (f" to {max(found):.3f}" if max(found) - min(found) >= 5e-4 else "") for found in levels if found]
    return {"count": len(report.members) + 1, "fves": join(fves)}


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
    return {
        "thing": evidence.thing,
        "blocks": bool(where),
        "data": f"{total:,} {evidence.thing}s{where}, {features:,} feature{'s' * (features > 1)} ({KINDS[kind]})",
        "split": ", ".join(f"{side} {number:,}" for side, number in evidence.counts.items() if number),
        "temperature": evidence.temperature and f"{evidence.temperature:g} K",
        "weights": evidence.frames.weights is not None,
        "intervals": any(report.status != "not enough data" for report in evidence.reports.values()),
    }


def _captions(evidence: Evidence) -> dict[str, str | bool | int]:
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
        "coloured": " or ".join(map(str, labels[:PAIRED_LABELS])),
        "along": "atoms" if molecules else "features",
        "left_out": TOP if len(set((evidence.recipe.groups or {}).values()) if molecules else evidence.test.features) > TOP else 0,
        "trajectories": f"; {min(evidence.trajectories, TRAJECTORIES)} of {evidence.trajectories} trajectories, one after the other"
                        if evidence.trajectories > 1 else "",
        "gains": {"coordinates": "atom", "torsions": "torsion"}.get(evidence.recipe.kind, "feature"),
        "rebuilt": "molecules" if molecules else "features",
        "step": "kT" if unit[1] else "1",
        "one_cv": all(len(variant.kinds) == 1 for variant in evidence.variants),
    }


def _relations(evidence: Evidence) -> list[dict]:
    """Tables of R^2 of a label from each CV alone: one row for each CV, one column for each label, four at most."""
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


def _settings(params: Params, variants: Sequence[VariantEvidence]) -> list[tuple[str, list[str]]]:
    """Parameters under train, one row for each and one column for each variant; of auto what it took."""
    sections = {name: section.model_dump(exclude_unset=True) for name, section in params.train.items()}
    for variant in variants:
        if sections[variant.name]["hidden"] == "auto":
            sections[variant.name]["hidden"] = f"auto: {variant.widths}"
    keys = list(dict.fromkeys(key for section in sections.values() for key in section))
    return [(key, [_plain(section.get(key)) for section in sections.values()]) for key in keys]


def _plain(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _alternative(picture: Picture) -> str:
    """What a screen reader says of it; the caption says the rest."""
    kinds = {"fve": "fraction of variance explained", "labels": "labels coloured by a CV", "pairs": "two CVs coloured by a label",
             "along": "features along a CV", "time": "CVs against time", "steep": "where CVs are steep",
             "energy": "free energy on CV1 and CV2", "gains": "gain by feature", "rebuilt": "reconstructions by level",
             "training": "training curves"}
    return f"{kinds[picture.group]}{': ' + picture.title if picture.title else ''}"
