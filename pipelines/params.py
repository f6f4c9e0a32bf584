"""params.yaml, typed and checked: one section for each stage; a wrong key or value names its place and what is allowed."""

import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hae.errors import BadInput, did_you_mean
from pipelines.sections import Clean, Count, Drift, Flag, Limits, Margin, Name, Names, Natural, Notify, Positive, Section, Text

__all__ = [
    "Baseline", "Evaluate", "Learning", "Params", "Prepare", "Promote",
    "Record", "Report", "Sample", "Simulate", "Split", "StabilitySection", "Table", "Variant", "checked", "load", "parsed",
]

Kind = Literal["linear", "tanh", "circular"]
Model = TypeVar("Model", bound="Section")


class Simulate(Section):
    temperature: Positive
    walkers: Count
    nanoseconds: Positive
    save_every_ps: Positive
    seed: Natural


class Split(Section):
    block_frames: Count
    gap_frames: Natural
    shares: tuple[Margin, Margin, Margin] = Field(
        description="three numbers (train, validation, test), each 0 or more, with the sum 1"
    )
    salt: Text


class Table(Section):
    """How tables are written, as far as that is not to be told from each file; sheet: of a workbook, or the key of an HDF5 file."""

    separator: str | None = Field(default=None, min_length=1, description="what stands between two cells, or null: as the file has it")
    decimal: Literal[".", ","] | None = Field(default=None, description="., a comma, or null: as the file has it")
    thousands: str | None = Field(default=None, min_length=1, max_length=1, description="one sign, or null: as the file has it")
    encoding: str | None = Field(default=None, description="a name such as utf-8, or null: as the file has it")
    sheet: str | None = Field(default=None, description="the name of a sheet or key, or null: the first")


class Prepare(Section):
    trajectories: tuple[str, ...] = Field(min_length=1, description="a list of files or patterns")
    topology: str | None = Field(description="a file with the atoms, such as PDB, GRO or PSF, or null for tables")
    features: Literal["coordinates", "distances", "torsions", "columns"] = Field(
        description="coordinates, distances, torsions or columns"
    )
    atoms: str | Names = Field(
        description="heavy, a selection in mdtraj's language, every k-th of these (name CA every 4), or a list of atom names"
    )
    pairs: tuple[tuple[str, str], ...] | None = Field(description="a list of pairs of atom names, or null")
    torsions: dict[str, tuple[str, str, str, str]] | Names | None = Field(
        description="names of torsions (phi, psi, omega, chi1), or name: [four atom names], or null"
    )
    columns: Names | None = Field(description="a list of columns, or null")
    labels: dict[str, tuple[str, str, str, str]] | tuple[str, ...] = Field(
        description="a list of torsions or columns, which may be empty, or name: [four atom names]"
    )
    group: str | None = Field(description='a column, "<file>", or null')
    id: str | None = Field(description="a column, or null")
    weights: str | None = Field(description="a column, or null")
    bias: str | None = Field(default=None, description="a column, or null")
    temperature: Positive | None = Field(default=None, description="a number above 0 (kelvin), or null")
    rounds: Literal["equal", "reweighted", "tempered"] = Field(default="equal", description="equal, reweighted or tempered")
    units: dict[str, str] = Field(description="column: unit")
    periods: dict[str, Positive] = Field(description="column: period, a number above 0")
    table: Table | None = Field(default=None, description="a section with the keys separator, decimal, thousands, encoding, sheet, or null")
    missing: Literal["error", "drop", "mean"] = Field(default="error", description="error, drop (rows left out) or mean (filled)")
    shuffle: Annotated[bool, Field(strict=True, description="true or false")] = False
    split: Split


class Learning(Section):
    """What every training takes, under the names of the estimator's arguments."""

    n_cvs: Count
    hidden: tuple[Count, ...] | Literal["auto"] = Field(description="a list of integers of 1 or more, which may be empty, or auto")
    activation: Literal["tanh", "silu", "gelu", "relu", "identity"] = Field(
        description="tanh, silu, gelu, relu or identity"
    )
    cv: Kind | tuple[Kind, ...] = Field(description="linear, tanh, circular, or a list of these, one for each CV")
    scale: Literal["auto", "global", "feature", "none"] = Field(description="auto, global, feature or none")
    n_seeds: Count
    batch_size: Count
    max_epochs: Count | None = Field(description="an integer of 1 or more, or null (as many as make min_steps steps)")
    min_steps: Natural = 5000
    patience: Count | None = Field(description="an integer of 1 or more, or null for no early stop")
    learning_rate: Positive
    random_state: Natural

    def arguments(self) -> dict:
        """The keys that the section has, as arguments of `HierarchicalAutoencoder`."""
        return self.model_dump(exclude_unset=True)


class Variant(Learning):
    """A section under train; its name is the variant's."""

    n_cvs: Count | Literal["auto"] = Field(  # type: ignore[assignment]  # wider than elsewhere on purpose
        description="an integer of 1 or more, or auto (the surely alive ones of max_cvs)"
    )
    max_cvs: Count = 6
    smooth: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False, description="a number of 0 or more")] = 0.0
    linear_path: Flag = False
    level_weights: tuple[Positive, ...] | None = Field(default=None, description="a list of numbers above 0, one for each level, or null")

    @property
    def most_cvs(self) -> int:
        """As many CVs as the variant may have."""
        return self.max_cvs if self.n_cvs == "auto" else self.n_cvs


class Baseline(Learning):
    """Of the plain autoencoders."""


class Evaluate(Section):
    eps: Positive


class StabilitySection(Section):
    replicas: Annotated[int, Field(strict=True, description="0, or an integer of 2 or more")]

    @field_validator("replicas")
    @classmethod
    def _none_or_pairs(cls, replicas: int) -> int:
        if replicas < 0 or replicas == 1:
            raise ValueError("one replica has none to be compared with")
        return replicas


class Report(Section):
    dpi: Count


class Record(Section):
    model_name: Name


class Promote(Section):
    pca: Margin
    gain: Margin
    worse: Margin
    better: Margin
    variant: Margin | None = Field(description="a number of 0 or more, below 1, or null for no rule of its own")
    gradient: Positive | None = Field(description="a number above 0, per nm, or null: not asked")
    by_hand: Flag = False


class Sample(Section):
    """Of the loop: what is simulated and how it is biased, see `hae.sampling`."""

    system: Text = "alanine-dipeptide"
    topology: str | None = Field(default=None, description="a PDB file, where walkers start, or null for alanine-dipeptide")
    temperature: Positive = 300.0
    step_ps: Positive = 0.004
    friction: Positive = 1.0
    platform: Text = "auto"
    walkers: Count = 8
    nanoseconds: Positive = 0.2
    cvs: Annotated[int, Field(strict=True, ge=1, le=2, description="1 or 2")] = 2
    method: Literal["metadynamics", "opes", "umbrella", "none"] = Field(
        default="metadynamics", description="metadynamics, opes, umbrella or none"
    )
    height: Positive = 1.2
    factor: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False, description="a number above 1")] = 10.0
    barrier: Annotated[float, Field(strict=True, ge=5, allow_inf_nan=False, description="a number of 5 or more (kJ/mol)")] = 40.0
    pace_ps: Positive = 0.4
    save_ps: Positive = 0.8
    shared: Annotated[bool, Field(strict=True, description="true or false")] = True
    start: Literal["frontier", "topology"] = Field(default="frontier", description="frontier or topology")
    seed: Natural = 1


class Params(Section):
    simulate: Simulate | None = None  # a project on one's own data has none
    prepare: Prepare
    train: dict[Name, Variant] = Field(min_length=1, description="one section for each variant")
    baseline: Baseline
    evaluate: Evaluate
    stability: StabilitySection
    report: Report
    record: Record
    promote: Promote
    limits: Limits = Limits()
    clean: Clean = Clean()
    drift: Drift = Drift()
    notify: Notify = Notify()
    sample: Sample | None = None

    @property
    def temperature(self) -> float | None:
        """Of the data in kelvin, where it is known: that of the simulation, unless prepare says another."""
        return self.prepare.temperature or (self.simulate.temperature if self.simulate else None)

    def variant(self, name: str) -> Variant:
        """The section of a variant. Raises BadInput that lists those there are."""
        if name not in self.train:
            allowed = ", ".join(self.train)
            raise BadInput(f"params.yaml: train.{name}: no such variant; allowed: {allowed}{did_you_mean(name, self.train)}")
        return self.train[name]


def load(path: str | os.PathLike = "params.yaml") -> Params:
    """Read and check.

    Raises BadInput, such as 'params.yaml: train.boosted.n_cvs: 0 is not allowed; allowed: an integer of 1 or more'.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; allowed: a file of parameters") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}: line {line}: not UTF-8, as of an editor with another encoding; allowed: a text in UTF-8") from None
    return parsed(text, path)


def parsed(text: str, path: str | os.PathLike = "params.yaml") -> Params:
    """The parameters that a text in YAML has; path: of its file, for errors, which are those of `load`."""
    path = Path(path)
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInput(f"{path}: {line}not YAML: {' '.join(str(error.problem or error.context).split())}") from None
    except (YAMLError, ValueError, RecursionError) as error:  # a sign that no text has, what looks like a date and is none, [[[...
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    params = checked(Params, content, path.name)
    try:
        _check(params)
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None
    return params


def checked(model: type[Model], content: object, place: str) -> Model:
    """The content of a section, or of all of params.yaml, as its model. Raises BadInput that begins with the place."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"{place}: {_line(error, model)}") from None


def _check_weights(prepare: Prepare, temperature: float | None) -> None:
    """A temperature for weights of a bias, and one source of weights alone."""
    asked = {"a bias": prepare.bias is not None, f"rounds: {prepare.rounds}": prepare.rounds != "equal"}
    for what, there in asked.items():
        if there and temperature is None:
            raise BadInput(f"prepare.temperature: null is not allowed with {what}, whose weights are exp(bias / kT); "
                           "allowed: a number above 0 (kelvin)")
    if prepare.bias is not None and prepare.weights is not None:
        raise BadInput("prepare.bias: not allowed beside weights; allowed: one of the two")


def _check(params: Params) -> None:
    """What holds between keys."""
    _check_weights(params.prepare, params.temperature)
    shares = params.prepare.split.shares
    if abs(sum(shares) - 1) > 1e-9:
        raise BadInput(f"prepare.split.shares: {list(shares)} sum to {sum(shares):g}; allowed: a sum of 1")
    for name, section in {**{f"train.{v}": s for v, s in params.train.items()}, "baseline": params.baseline}.items():
        n = section.most_cvs if isinstance(section, Variant) else section.n_cvs
        if not isinstance(section.cv, str) and len(section.cv) != n:
            raise BadInput(f"{name}.cv: a list of {len(section.cv)} for {n} CVs; allowed: one kind for each CV")
        if isinstance(section, Variant) and section.level_weights is not None and len(section.level_weights) != n:
            raise BadInput(f"{name}.level_weights: {len(section.level_weights)} numbers for {n} CVs; allowed: one for each level")
    largest = max(variant.most_cvs for variant in params.train.values())
    if params.baseline.n_cvs < largest:
        raise BadInput(f"baseline.n_cvs: {params.baseline.n_cvs} is not allowed; "
                       f"allowed: at least the most CVs of a variant under train, {largest}")
    for name, variant in params.train.items():
        if variant.scale != params.baseline.scale:
            raise BadInput(f"train.{name}.scale: {variant.scale} is not allowed beside baseline.scale: "
                           f"{params.baseline.scale}; allowed: one scale for all (FVEs of different metrics don't compare)")


def _line(error: ValidationError, whole: type[Section]) -> str:
    """The first error as 'place: what stood there; what is allowed': a misspelled key goes first."""
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place, siblings, allowed = _find(first["loc"], whole)
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"{place}: no such key; allowed: {', '.join(siblings)}{did_you_mean(key, siblings)}"
    if first["type"] == "missing":
        return f"{place}: missing; allowed: {allowed}"
    return f"{place or 'the whole file'}: {_short(first['input'])} is not allowed; allowed: {allowed}"


def _find(location: tuple, whole: type[Section]) -> tuple[str, list[str], str]:
    """Place as people write it, keys allowed there, and the description of the last field on the way."""
    model: type[Section] | None = whole
    place, siblings = "", list(whole.model_fields)
    allowed = f"the sections {', '.join(siblings)}"
    for part in location:
        if model is not None and part in model.model_fields:
            field = model.model_fields[part]
            place = f"{place}.{part}" if place else str(part)
            siblings, model = list(model.model_fields), _section(field.annotation)
            keys = ", ".join(model.model_fields) if model else ""
            allowed = field.description or (f"a section with the keys {keys}" if model else allowed)
            if part == "train":  # keyed by variant: the next part is a name
                model = None
        elif place == "train":
            place, model, siblings = f"train.{part}", Variant, list(Variant.model_fields)
            allowed = f"a section with the keys {', '.join(siblings)}"
        elif model is not None:  # a key that is not allowed here
            place, siblings = f"{place}.{part}" if place else str(part), list(model.model_fields)
        elif isinstance(part, int):
            place = f"{place}[{part}]"
    return place, siblings, allowed


def _section(annotation) -> type[Section] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _short(value) -> str:
    text = "null" if value is None else repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."
