"""The types that params.yaml is made of, and its sections on being watched: limits, clean, notify. A section is checked as it is read."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ALARMS", "EVENTS", "Clean", "Count", "Drift", "Event", "Flag", "Limits", "Margin", "Name", "Names", "Natural", "Notify",
           "Positive", "Section", "Text"]

# The description of a type or of a field is what an error message says is allowed.
Count = Annotated[int, Field(strict=True, ge=1, description="an integer of 1 or more")]
Natural = Annotated[int, Field(strict=True, ge=0, description="an integer of 0 or more")]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False, description="a number above 0")]
Margin = Annotated[float, Field(strict=True, ge=0, lt=1, description="a number of 0 or more, below 1")]
Flag = Annotated[bool, Field(strict=True, description="true or false")]
Text = Annotated[str, Field(description="a text")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a name of letters, digits and . _ -")]
Names = Annotated[tuple[str, ...], Field(min_length=1, description="a list of names")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Event = Literal["promoted", "held", "failed", "drift", "silence", "disk", "rolled back"]
Alarm = Literal["missing", "distribution", "beyond", "error"]
ALARMS: tuple[Alarm, ...] = get_args(Alarm)
EVENTS: tuple[Event, ...] = get_args(Event)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Section):
    """How long things may take. Not among what a stage reads: a change makes nothing stale."""

    stage_hours: Positive | None = Field(default=24.0, description="a number above 0 (hours), or null for no limit")


class Clean(Section):
    """What hae serve does after each retraining."""

    keep: Count | None = Field(default=None, description="an integer of 1 or more (trainings of a variant), or null: nothing is removed")


class Drift(Section):
    """Whether new rows are like those that the champion was trained on."""

    alarms: Margin = Field(default=0.05, description="a number of 0 or more, below 1: share of false alarms; 0: never one")
    beyond: Margin = Field(default=0.05, description="a number of 0 or more, below 1: share of rows beyond the training range")
    holds: tuple[Alarm, ...] = Field(default=(), description=f"a list of {', '.join(ALARMS)}: only a person promotes after such an alarm")
    retrains: tuple[Alarm, ...] = Field(
        default=ALARMS, description=f"a list of {', '.join(ALARMS)}: of scored data, start a retraining under hae serve --drift")


class Notify(Section):
    """Whom to tell, and of what. Addresses hold secrets, so they are not here but in environment variables."""

    targets: tuple[Variable, ...] = Field(
        default=(), description="a list of names of environment variables, each with an address of apprise (never an address itself)")
    command: tuple[str, ...] | None = Field(default=None, min_length=1, description="a list of words, a command; or null")
    events: tuple[Event, ...] = Field(default=EVENTS, description=f"a list of {', '.join(EVENTS)}")
    silence_hours: Positive | None = Field(default=None, description="a number above 0 (hours), or null: no message about silence")
    disk_free_gb: Positive = 2.0
    seconds: Positive = Field(default=20.0, description="a number above 0: seconds that all targets together may take")
