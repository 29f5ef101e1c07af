"""Settings of trainings: a budget with some keys replaced, and the trials of a search.

Every row of the tables has as many trials. A row with values of its own in `tuning.methods` tries
these instead of the common ones for the same keys; a row whose `training` has a rate of its own,
such as a published one, tries it in place of the nearest common rate.
"""

import math
from collections.abc import Mapping
from itertools import product

from pipeline.methods.method import ResolvedMethod
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.training import Training
from pipeline.settings.tuning import Value

Trial = tuple[tuple[str, Value], ...]  # a value for each tuned key
RATE = "learning_rate"


def merge(training: Training, *overrides: Mapping[str, object]) -> Training:
    """A budget with some of its keys replaced; steps and epochs replace each other."""
    values = training.model_dump()
    for override in overrides:
        if override.get("steps") is not None:
            values["epochs"] = None
        if override.get("epochs") is not None:
            values["steps"] = None
        values |= override
    return Training.model_validate(values)


def trials(experiment: Experiment, row: str) -> list[Trial]:
    """All settings that are tried for a row; none where nothing is tuned."""
    lists = values_to_try(experiment, row)
    return [tuple(zip(lists, values, strict=True)) for values in product(*lists.values())]


def values_to_try(experiment: Experiment, row: str) -> dict[str, list[Value]]:
    """The values to try for each tuned key of a row."""
    tuning, choice = experiment.tuning, experiment.rows[row]
    if tuning is None:
        return {}
    own = tuning.methods.get(row, {})
    lists = tuning.common | own
    rate = choice.training.get(RATE)
    if isinstance(rate, float | int) and rate > 0 and RATE in lists and RATE not in own:
        rates = lists[RATE]
        nearest = min(rates, key=lambda other: abs(math.log(float(other) / rate)))
        lists[RATE] = [rate if other == nearest else other for other in rates]
    return lists


def with_trial(choice: MethodChoice, trial: Mapping[str, Value]) -> MethodChoice:
    """A row with the values of one trial."""
    training = {key: value for key, value in trial.items() if key in Training.model_fields}
    others = {key: value for key, value in trial.items() if key not in training}
    values = choice.model_dump(exclude_unset=True) | others
    return MethodChoice.model_validate(values | {"training": choice.training | training})


def places(key: str, method: ResolvedMethod) -> list[str]:
    """The places of a tuned key in the settings of a method's training jobs."""
    if key in Training.model_fields:
        return [f"training.{key}"]
    parts = ("loss_settings", "policy_settings", "update_settings", "feature_settings")
    of_parts = [f"method.{part}.{key}" for part in parts if key in getattr(method, part)]
    return of_parts or [f"method.{key}"]
