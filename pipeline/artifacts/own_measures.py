"""What a manifest says of a task of the user's own: the metrics that it measures."""

from collections.abc import Mapping
from typing import TypedDict

MEASURES = "measures"  # the key in the manifest


class OwnMeasure(TypedDict):
    """A metric of a task."""

    higher_is_better: bool | None  # None where the task doesn't say
    is_of_lm_eval: bool  # so that its name says its scale


Measures = Mapping[str, Mapping[str, OwnMeasure]]  # by task and metric, as items name them
