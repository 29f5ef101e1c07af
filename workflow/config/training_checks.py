"""Checks of trainings: keys that are refused, and LoRA and dropout that a model can't have."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from pipeline.models.foreign_files import layer_names
from pipeline.models.lora_targets import fault_of
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import Shape
from pipeline.settings.training import Lora, Training
from workflow.config import pydantic_errors
from workflow.config.config_file import key_of
from workflow.config.saved_models import base_of, folder_of, has_no_dropout
from workflow.config.trials import merge

OF_SHAPE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Overrides = Mapping[str, Mapping[str, object]]  # of training, by their keys' paths; the last wins


@dataclass(frozen=True)
class _Use:
    """A training of some model; None where its keys are refused, which is told of elsewhere."""

    model: str
    overrides: Overrides
    training: Training | None

    @property
    def lora(self) -> Lora | None:
        """Its LoRA, if it has it."""
        return self.training.lora if self.training else None

    def key(self, name: str) -> str:
        """The path of a key of the training, where it is set."""
        blocks = [path for path, values in self.overrides.items() if name in values]
        return f"{blocks[-1] if blocks else 'training'}.{name}"


def faults(experiment: Experiment) -> Iterator[str]:
    """What is wrong with the budgets of trainings, a line each."""
    for key, values in _training_overrides(experiment).items():
        try:
            training = merge(experiment.training, values)
        except ValidationError as error:
            yield from pydantic_errors.lines(error, Training, values, key)
            continue
        is_set = key == "training" or "optimizer_states" in values
        if is_set and training.optimizer_states == "8bit" and not find_spec("bitsandbytes"):
            yield (
                f"{key}.optimizer_states: '8bit' needs bitsandbytes, which is not installed here: "
                "pip install 'distilbench[bitsandbytes]', or float32"
            )


def _training_overrides(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """How trainings differ from the experiment's, by the path of the key; `training` by nothing."""
    overrides = {"training": {}, "initial_sft": experiment.initial_sft}
    for role in ("teachers", "students", "methods"):
        for name, block in getattr(experiment, role).items():
            overrides[f"{role}.{name}.training"] = block.training if block else None
    for name, choice in experiment.rows.items():
        overrides[f"methods.{name}.initial_sft"] = choice.initial_sft
    return {key: values for key, values in overrides.items() if values or key == "training"}


def model_faults(experiment: Experiment) -> Iterator[str]:
    """A line for each key with a LoRA or a dropout that does nothing, or worse, to its model."""
    by_key = {key_of(fault): fault for fault in _all_model_faults(experiment)}
    yield from by_key.values()


def _all_model_faults(experiment: Experiment) -> Iterator[str]:
    for name, teacher in experiment.local_teachers.items():
        if teacher.training is not None:
            overrides = {f"teachers.{name}.training": teacher.training}
            yield from _use_faults(experiment, _use(experiment, teacher.model, overrides), False)
    for name, student in experiment.students.items():
        of_student: Overrides = {f"students.{name}.training": student.training}
        for row, choice in experiment.rows.items():
            start = _start_overrides(experiment, row, choice)
            before = _use(experiment, student.model, {**of_student, **start}) if start else None
            if before is not None:
                yield from _use_faults(experiment, before, False)
            own: Overrides = {f"methods.{row}.training": choice.training}
            use = _use(experiment, student.model, {**of_student, **own})
            yield from _use_faults(experiment, use, before is not None and before.lora is None)


def _start_overrides(experiment: Experiment, row: str, choice: MethodChoice) -> Overrides:
    """How the SFT that a row starts from differs from `training`; empty where it has none."""
    is_own = "initial_sft" in choice.model_fields_set
    initial_sft = choice.initial_sft if is_own else experiment.initial_sft
    key = f"methods.{row}.initial_sft" if is_own else "initial_sft"
    return {} if initial_sft is None else {key: initial_sft}


def _use(experiment: Experiment, model: str, overrides: Overrides) -> _Use:
    with contextlib.suppress(ValidationError):
        return _Use(model, overrides, merge(experiment.training, *overrides.values()))
    return _Use(model, overrides, None)


def _use_faults(experiment: Experiment, use: _Use, has_learned: bool) -> Iterator[str]:
    base = base_of(experiment, use.model)
    if use.training and use.training.dropout == "own" and has_no_dropout(base):
        yield (
            f"{use.key('dropout')} = 'own': model {use.model} has none of its own, so that it "
            "would do nothing; allowed: a probability"
        )
    if use.lora is None:
        return
    layers = OF_SHAPE if isinstance(base, Shape) else ()
    if folder := folder_of(base):
        layers = layer_names(folder)
    if layers and (fault := fault_of(use.lora.targets, layers)):
        yield f"{use.key('lora')}.targets = {use.lora.targets}: model {use.model} {fault}"
    if isinstance(base, Shape) and not has_learned:
        yield (
            f"{use.key('lora')}: the weights of model {use.model} are random (source: shape), and "
            "LoRA would freeze them; allowed: null, or after an `initial_sft` of all weights "
            "(`lora: null` in it)"
        )
