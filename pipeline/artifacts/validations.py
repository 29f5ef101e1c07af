"""The validations in a training's `steps.parquet`: which step it kept, and the measures taken."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ValidationMeasure:
    """A measure of held-out data that is taken in the course of a training."""

    column: str  # of the steps
    title: str
    unit: str
    higher_is_better: bool


MEASURES = {
    "nll": ValidationMeasure("validation_nll_nats", "held-out NLL", "nats/token", False),
    "rouge_l": ValidationMeasure("validation_rouge_l", "ROUGE-L", "0-100", True),
}


def kept_position(steps: Mapping[str, np.ndarray], keep_by: str) -> int:
    """The position of the best validation, the first of equal ones, as training keeps it.

    Where none is a number, as after a step that overflowed, it is one without.
    """
    measure = MEASURES[keep_by]
    scores = steps[measure.column] * (1 if measure.higher_is_better else -1)
    return int(np.where(np.isnan(scores), -np.inf, scores).argmax())
