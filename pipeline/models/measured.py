"""Properties of a model that are measured by running it, once for the model and its copies."""

from collections.abc import Callable
from typing import TypeVar

from transformers import PreTrainedModel

Result = TypeVar("Result")


def measured_once(
    model: PreTrainedModel, name: str, measure: Callable[[PreTrainedModel], Result]
) -> Result:
    """What `measure` gives of a model at the first call, kept in an attribute that copies share."""
    attributes = vars(model)
    if name not in attributes:
        attributes[name] = measure(model)
    return attributes[name]
