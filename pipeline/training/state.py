"""A training run: its parts, and the state that must survive a kill."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.batch import Batch, Text
from pipeline.data_policies import DataPolicy
from pipeline.distributions.log_probs import Logits, PerToken, TeacherSignal, TokenContext
from pipeline.losses import AdaptiveLoss, Loss
from pipeline.losses import initial_state as initial_loss_state
from pipeline.models.flops import count
from pipeline.models.logit_chunks import logit_chunks, max_logits
from pipeline.models.sharding import shard
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.models.trainable import trainable_weights
from pipeline.runtime.costs import Compilation, Cost, ModelCounter
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.runtime.transfer import AsyncScalars
from pipeline.settings.distill import DistillSettings
from pipeline.teacher_updates import TeacherUpdate
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.training.checkpoint_selection import BestWeights
from pipeline.training.features import FeatureTerm
from pipeline.training.schedule import step_count, validation_steps
from pipeline.training.step_log import Row

TokenLosses = Callable[[Loss, float, TeacherSignal, Logits, TokenContext], PerToken]


@dataclass(frozen=True)
class TrainingRun:
    """All parts of a training run. Those of the machine change results by rounding at most."""

    settings: DistillSettings
    student: PreTrainedModel
    teacher: Teacher | None
    loss: Loss
    policy: DataPolicy
    teacher_update: TeacherUpdate | None  # where the teacher learns too
    reference: LiveTeacher | None = field(default=None, kw_only=True)  # where the loss needs one
    train_set: Sequence[Text]
    validation_set: Sequence[Text]
    plain_text: Sequence[Text]  # for the language-modelling term; empty without one
    max_tokens: int  # positions in a micro-batch: of the machine
    gradient_checkpointing: bool = False  # to save memory: of the machine
    compiled_loss: TokenLosses | None = None  # of the machine
    compilation: Compilation | None = None  # its outcome
    tokenizer: PreTrainedTokenizerBase | None = None  # where validation scores text
    features: FeatureTerm | None = None  # on hidden states, beside the loss
    ranks: Ranks = ALONE  # that train together, with equal weights: of the machine

    @property
    def models(self) -> list[PreTrainedModel]:
        """The student, and what runs beside it: a live teacher, a reference model."""
        teacher = self.teacher.teacher if isinstance(self.teacher, AlignedTeacher) else self.teacher
        beside = [model for model in (teacher, self.reference) if isinstance(model, LiveTeacher)]
        return [self.student, *(each.model for each in beside)]

    def shard(self, mesh: DeviceMesh) -> None:
        """Leaves a share of each model's weights on every device; projectors are on all of them."""
        for model in self.models:
            shard(model, mesh)
        if self.features is not None:
            self.features.projectors.to(self.student.device)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return step_count(self.settings.training, len(self.train_set))

    @cached_property
    def validated_steps(self) -> set[int]:
        """After which steps the student is measured."""
        return validation_steps(self.settings.training, self.steps)

    @cached_property
    def max_logits(self) -> int:
        """The most logits that exist at the same time: of the machine."""
        trained = sum(weight.numel() for weight in trainable_weights(self.student))
        return max_logits(self.student.device, trained)

    def chunks(self, batch: Batch) -> list[slice]:
        """The chunks of a batch whose logits exist at the same time."""
        return logit_chunks(batch, self.student.config.vocab_size, self.max_logits)

    def teacher_as_it_came(self, step: int) -> Teacher | None:
        """The teacher, unless it has learnt: it may then be broken because its student is."""
        return self.teacher if self.teacher_update is None or step == 0 else None

    @property
    def rate_keys(self) -> str:
        """The keys of the learning rates, to be lowered where numbers are no longer finite."""
        keys = ["training.learning_rate"]
        if "adapter_rate" in self.settings.method.update_settings:
            keys.append("adapter_rate")
        if self.features is not None and self.features.weights:
            keys.append("projector_rate")
        return " or ".join(keys)

    @property
    def needs_synchronous_metrics(self) -> bool:
        """Whether a step's loss must be known, and finite, before the next step begins."""
        adapts = isinstance(self.loss, AdaptiveLoss)
        return adapts or not self.policy.is_off_policy or self.teacher_update is not None


@dataclass(frozen=True)
class PendingMetrics:
    """The metrics of a step whose loss and gradient a GPU may still have to compute."""

    row: Row
    scalars: AsyncScalars  # loss and gradient norm
    texts: Sequence[Text]
    run: TrainingRun


@dataclass
class TrainingState:
    """All that must survive a kill, beside the weights."""

    optimizer: torch.optim.Optimizer
    step: int = 0
    usage: Cost = field(default_factory=Cost)
    student_work: ModelCounter = field(default_factory=ModelCounter)
    teacher_work: ModelCounter = field(default_factory=ModelCounter)  # of a live teacher
    reference_work: ModelCounter = field(default_factory=ModelCounter)
    loss: dict[str, float] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    best: BestWeights | None = None  # None while the last weights are kept
    pending: PendingMetrics | None = None  # flushed before anything is saved

    @property
    def work(self) -> list[ModelCounter]:
        """What each model has done: the student, a live teacher, a reference model."""
        return [self.student_work, self.teacher_work, self.reference_work]

    @property
    def model_cost(self) -> Cost:
        """What the models have cost; a reference counts as a teacher, which it is read beside."""
        student, *others = self.work
        return sum((other.as_teacher() for other in others), student.as_student())


def initial_state(run: TrainingRun) -> TrainingState:
    """The state before the first step."""
    return TrainingState(
        _adamw(run),
        student_work=count(run.student),
        teacher_work=run.teacher.count() if run.teacher else ModelCounter(),
        reference_work=run.reference.count() if run.reference else ModelCounter(),
        loss=initial_loss_state(run.loss),
    )


def _adamw(run: TrainingRun) -> torch.optim.Optimizer:
    training = run.settings.training
    groups = _parameter_groups(run.student, training.weight_decay_on)
    if run.features is not None and run.features.weights:
        groups.append(run.features.parameter_group(training.learning_rate))
    rate, betas, decay = training.learning_rate, training.betas, training.weight_decay
    if training.optimizer_states == "8bit":
        # an extra of its own: peft imports it wherever it is installed
        bitsandbytes = importlib.import_module("bitsandbytes.optim")
        return bitsandbytes.AdamW8bit(groups, lr=rate, betas=betas, weight_decay=decay)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)


def _parameter_groups(student: PreTrainedModel, weight_decay_on: str) -> list[dict[str, Any]]:
    """The student's weights; those without weight decay are a group of their own."""
    weights = trainable_weights(student)
    if weight_decay_on == "all":
        return [{"params": weights}]
    matrices, others = (
        [weight for weight in weights if (weight.ndim > 1) == is_matrix]
        for is_matrix in (True, False)
    )
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
