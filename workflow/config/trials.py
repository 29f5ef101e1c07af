"""The trials of a search: which settings are tried for each row of the tables.

Every row has as many. A row with values of its own in `tuning.methods` tries these instead of the
common ones for the same keys; a row whose `training` has a rate of its own, such as a published
one, tries it in place of the nearest common rate.
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


def trials(experiment: Experiment, row: str) -> list[Trial]:
    """All settings that are tried for a row; none where nothing is tuned."""
    lists = values_to_try(experiment, row)
    return [tuple(zip(lists, values, strict=True)) for values in product(*lists.values())]


def values_to_try(experiment: Experiment, row: str) -> dict[str, list[Value]]:
    """The values to try for each tuned key of a row."""
    tuning, choice = experiment.tuning, experiment.methods[row]
    if tuning is None:
        return {}
    own = tuning.methods.get(row, {})
    lists = tuning.common | own
    rate = choice.training.get(RATE) if choice else None
    if isinstance(rate, float | int) and rate > 0 and RATE in lists and RATE not in own:
        lists[RATE] = with_own_rate(lists[RATE], rate)
    return lists


def with_own_rate(rates: list[Value], own: float) -> list[Value]:
    """The rates with a row's own in place of the nearest by ratio, so that their number stays."""
    nearest = min(rates, key=lambda rate: abs(math.log(float(rate) / own)))
    return [own if rate == nearest else rate for rate in rates]


def with_trial(choice: MethodChoice | None, trial: Mapping[str, Value]) -> MethodChoice:
    """A row with the values of one trial."""
    choice = choice or MethodChoice()
    training = {key: value for key, value in trial.items() if key in Training.model_fields}
    others = {key: value for key, value in trial.items() if key not in training}
    values = choice.model_dump(exclude_unset=True) | others
    return MethodChoice.model_validate(values | {"training": choice.training | training})


def places(key: str, method: ResolvedMethod) -> list[str]:
    """The places of a tuned key in the settings of a method's training jobs."""
    if key in Training.model_fields:
        return [f"training.{key}"]
    parts = {
        "loss_settings": method.loss_settings,
        "policy_settings": method.policy_settings,
        "update_settings": method.update_settings,
        "feature_settings": method.feature_settings,
    }
    of_parts = [f"method.{part}.{key}" for part, values in parts.items() if key in values]
    return of_parts or [f"method.{key}"]
