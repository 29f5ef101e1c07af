"""Budgets of training with some keys replaced."""

from collections.abc import Mapping
from typing import Any

from pipeline.settings.training import Training


def merge(training: Training, *overrides: Mapping[str, Any]) -> Training:
    """A budget with some of its keys replaced; steps and epochs replace each other."""
    values = training.model_dump()
    for override in overrides:
        if override.get("steps") is not None:
            values["epochs"] = None
        if override.get("epochs") is not None:
            values["steps"] = None
        values |= override
    return Training.model_validate(values)
