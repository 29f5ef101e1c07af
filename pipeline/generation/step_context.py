"""What a data policy may know of the step that it provides texts for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from pipeline.data.batch import Text


@dataclass(frozen=True)
class Turn:
    """A step of training, seen from a data policy."""

    step: int  # from 0
    steps: int
    epoch: int  # passes over the pool that were begun before this step
    pool: Sequence[Text]  # all texts that steps are drawn from
    student: PreTrainedModel
    teacher: PreTrainedModel | None
    max_new_tokens: int
    seed: int  # another one at each step
    rng: np.random.Generator  # seeded with it
    state: dict[str, Any]  # what the policy carries from step to step
