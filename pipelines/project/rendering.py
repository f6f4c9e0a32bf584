"""The files of a new project as texts: rendered from parameters that are checked, and read back before anything is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from ruamel.yaml import YAML

from hae.errors import BadInput
from pipelines import params

__all__ = ["texts"]

HERE = Path(__file__).parent
QUOTED = r'"(?:\\.|[^"\\])*"'
COMMENTED = re.compile(rf"^( *(?:{QUOTED}|[^\s\"#])(?:{QUOTED}|[^\"#\n])*?) +(# .*)$", re.MULTILINE)  # a # between quotes begins no comment
COLUMN = 29  # where comments begin


def texts(prepare: dict, sample: dict | None = None, **suggested) -> dict[str, str]:
    """dvc.yaml and params.yaml, in this order. prepare, sample: keys of these sections; suggested: what else the two templates ask for.

    Raises BadInput for what params.yaml can't hold, before any file is there.
    """
    section = params.checked(params.Prepare, {"pairs": None, "torsions": None, "units": {}, **prepare}, "params.yaml: prepare")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["yaml"] = _yaml
    made = {}
    for name in ("dvc.yaml", "params.yaml"):
        template = environment.from_string((HERE / f"{name}.j2").read_text(encoding="utf-8"))
        text = template.render(**section.model_dump(), sample=sample, **suggested)
        made[name] = COMMENTED.sub(lambda line: f"{line[1]:<{COLUMN}} {line[2]}", text)
    if params.parsed(made["params.yaml"]).prepare != section:
        raise BadInput("params.yaml: a name in the data can't be written and read back; allowed: names of letters and digits")
    return made


def _yaml(value) -> str:
    """A value as YAML: a text without quotes where it reads as the same text, the rest as JSON, which is YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[\w/][\w ./*-]*", value) and " #" not in value
    if plain and YAML(typ="safe", pure=True).load(value) == value:
        return value
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in json.dumps(value, ensure_ascii=False))
