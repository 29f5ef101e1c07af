"""Settings of the search for each method's settings, and what it has chosen."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.artifacts import artifact
from pipeline.methods.ranges import Name, NonNegativeCount, Positive
from pipeline.settings.base import Settings

ValidationMeasure = Literal["nll", "rouge_l"]
FILE = "choice.json"
Value = float | int | bool | str
Values = Annotated[list[Value], Field(min_length=1)]


class Tuning(Settings):
    """A grid search for each method and student, of as many trials for every method.

    Beside the keys below it has those of `training`, each with the values to try.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    learning_rate: Annotated[list[Positive], Field(min_length=1)] | None = None  # peaks to try
    methods: dict[Name, dict[str, Values]] = {}  # values for one row, of its hyperparameters too
    seeds: Annotated[list[NonNegativeCount], Field(min_length=1, examples=[[101]])]  # of the trials
    choose_by: ValidationMeasure = "nll"  # mean over the seeds, at the step that a trial keeps

    @field_validator("choose_by", mode="before")
    @classmethod
    def _on_validation(cls, measure: object) -> object:
        if measure not in ("nll", "rouge_l"):
            raise ValueError(
                "settings are chosen on validation data alone, never by a test score; allowed: "
                "nll, rouge_l"
            )
        return measure

    @model_validator(mode="after")
    def _values_of_other_keys(self) -> "Tuning":
        for key, values in (self.model_extra or {}).items():
            is_list = isinstance(values, list) and all(isinstance(each, Value) for each in values)
            if not is_list or not values:
                raise ValueError(f"{key} = {values!r}: give a list of values to try")
        return self

    @property
    def common(self) -> dict[str, list[Value]]:
        """The values to try for every method, by key."""
        rates: list[Value] = [*(self.learning_rate or [])]
        return ({"learning_rate": rates} if rates else {}) | (self.model_extra or {})


class ChoiceSettings(Settings):
    """What a job that chooses among trials is told."""

    choose_by: ValidationMeasure
    keys: dict[str, list[str]]  # each tuned key's places in the settings of a training job


class TriedSetting(Settings):
    """A setting that was tried, and how its trials scored on validation data."""

    values: dict[str, Value]  # by tuned key
    scores: dict[int, float | None]  # by training seed; None: not a finite number
    mean: float | None


class Choice(Settings):
    """The trials of one method and student, and the setting that was chosen."""

    choose_by: ValidationMeasure
    tried: list[TriedSetting]
    chosen: int  # the position among those tried
    settings: dict[str, Value]  # the chosen values by their places in a training job's settings


def read_choice(folder: Path) -> Choice:
    """The choice in an artifact. Raises ValueError, naming the file, if it is damaged."""
    return Choice.model_validate(artifact.read_json(folder / FILE))


def with_values(settings: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The settings of a job with some values set, by their dotted places."""
    changed = copy.deepcopy(dict(settings))
    for place, value in values.items():
        block, key = _block(changed, place)
        block[key] = value
    return changed


def without_values(settings: Mapping[str, Any], places: Iterable[str]) -> dict[str, Any]:
    """The settings of a job without some values, by their dotted places."""
    changed = copy.deepcopy(dict(settings))
    for place in places:
        block, key = _block(changed, place)
        block.pop(key, None)  # left out at its default
    return changed


def _block(settings: Any, place: str) -> tuple[Any, str]:
    *blocks, key = place.split(".")
    for name in blocks:
        settings = settings[name]
    return settings, key
