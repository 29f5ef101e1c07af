"""Whose text a step trains on: one policy a file, each with a frozen dataclass `Policy`.

`Policy().texts(batch, context)` gives the texts of an optimizer step from those that were drawn for
it. A rollout carries log-probabilities and the number of tokens that the teacher generated, which a
step's metrics are computed from. What a policy carries from step to step lives in `context.state`,
which is saved with the training state: plain lists, dicts, numbers and strings. All randomness is
from `context.rng` and `context.seed`.

Constants of the class say the rest, and are read off the source without importing it
(`pipeline.methods.components.class_constant`):

    is_off_policy      whether its texts don't depend on the student, so that they are prefetched
    decoding_passes    models that decode for each text of a step, on average; 0: it generates none

and, where they hold,

    makes_pairs        True: each prompt comes with a response of the teacher and one of the student
    writes_groups      True: it writes several responses to each prompt
    selects_texts      True: it keeps part of the train set by how likely teacher and student find
                       each text, with a method `kept`
    teacher_writes     True: the teacher writes some of the generated tokens
    later_keys         hyperparameters that came later: left out of a job's settings at their
                       defaults, so that its id stays
    samples_every_text_where    the hyperparameter, and its value, at which every text is sampled in
                       training with known probabilities, as a policy gradient needs; (): always
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from pipeline.data.batch import Text
from pipeline.generation.rollouts import StepContext

TextNats = Float[np.ndarray, " texts"]  # the mean NLL of each text's tokens


@runtime_checkable
class DataPolicy(Protocol):
    """The source of a step's texts."""

    is_off_policy: bool
    decoding_passes: float

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """The texts to train on, from those that were drawn for the step."""
        ...


@runtime_checkable
class ValidatedPolicy(DataPolicy, Protocol):
    """A policy that reacts to the held-out NLL."""

    def on_validation(self, state: dict[str, Any], nll_nats: float) -> None:
        """Updates what the policy carries, each time the held-out NLL is measured."""
        ...


@runtime_checkable
class SelectingPolicy(DataPolicy, Protocol):
    """A policy that keeps part of the train set for the whole of a training."""

    def kept(self, student_nats: TextNats, teacher_nats: TextNats) -> list[int]:
        """Places of the texts that are kept, from their mean NLL before the first step."""
        ...


def build_policy(name: str, hyperparameters: Mapping[str, object]) -> DataPolicy:
    """The data policy in `pipeline/data_policies/{name}.py`."""
    return importlib.import_module(f"pipeline.data_policies.{name}").Policy(**hyperparameters)
