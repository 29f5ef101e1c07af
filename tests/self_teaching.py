"""Students that teach themselves, by a copy that is shown more."""

from dataclasses import replace
from typing import Any

from players import Setup, run, schooled, words

from pipeline.data.encoding import Encoder
from pipeline.methods.method import ResolvedMethod
from pipeline.settings.experiment import MethodChoice
from pipeline.teacher_updates import attach_update
from pipeline.training.state import TrainingRun
from workflow.config.method_checks import resolved_method

SHOWN = "{example_prompt}{example_response} word7 {prompt}"


def row(**keys: Any) -> ResolvedMethod:
    return resolved_method("row", MethodChoice.model_validate(keys))


def of_schooled(**keys: Any) -> TrainingRun:
    """A run of a student that can count, and so make something of what it is shown."""
    made = run(Setup(row(**{"method": "opsd", "template": SHOWN} | keys), learning_rate=1e-3))
    student = schooled().requires_grad_(True)
    encoder = Encoder(words())
    teacher, update = attach_update(made.settings, student, None, made.train_set, encoder, 60)
    return replace(made, student=student, teacher=teacher, teacher_update=update)
