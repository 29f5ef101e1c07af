"""A training run: what it is made of, and where it stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import PerToken
from pipeline.models.flops import count
from pipeline.models.teacher import Teacher
from pipeline.runtime.costs import Compilation, Cost, ModelCounter
from pipeline.runtime.transfer import AsyncScalars
from pipeline.settings.distill import DistillSettings
from pipeline.training.schedule import step_count

Row = dict[str, float | None]


@dataclass(frozen=True)
class TrainingRun:
    """All that a training run is made of."""

    settings: DistillSettings
    student: PreTrainedModel
    teacher: Teacher | None
    loss: Any
    policy: Any
    update: Any  # of the teacher, where it learns too; else None
    pool: Sequence[Text]
    validation: Sequence[Text]
    plain: Sequence[Text]  # for the language-modelling term; empty without one
    budget: int  # positions in a micro-batch: of the machine, changes no result
    recompute: bool = False  # layers, for want of memory: of the machine, likewise
    fused: Callable[..., PerToken] | None = None  # the losses, compiled: of the machine, likewise
    compilation: Compilation | None = None  # what came of that

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return step_count(self.settings.training, len(self.pool))

    @property
    def known_ahead(self) -> bool:
        """Whether the texts of a step are known before the steps that come before it."""
        return hasattr(self.policy, "known_ahead")

    @property
    def waits(self) -> bool:
        """Whether the numbers of a step must be known before the next one begins."""
        return not self.known_ahead or self.update is not None or hasattr(self.loss, "advance")


@dataclass(frozen=True)
class PendingMetrics:
    """The row of a step whose loss and gradient a GPU may still have to compute."""

    row: Row
    numbers: AsyncScalars
    texts: Sequence[Text]
    teacher: Teacher | None


@dataclass
class TrainingState:
    """Where a run stands: all that must survive a kill, beside the weights."""

    optimizer: torch.optim.Optimizer
    step: int = 0
    usage: Cost = field(default_factory=Cost)
    student_work: ModelCounter = field(default_factory=ModelCounter)
    teacher_work: ModelCounter = field(default_factory=ModelCounter)  # of a live teacher
    loss: dict[str, float] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    pending: PendingMetrics | None = None  # settled before anything is saved


def initial_state(run: TrainingRun) -> TrainingState:
    """The state before the first step."""
    training = run.settings.training
    optimizer = torch.optim.AdamW(
        _groups(run.student, training.weight_decay_on),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
        fused=True,
    )
    return TrainingState(
        optimizer,
        student_work=count(run.student),
        teacher_work=run.teacher.count() if run.teacher else ModelCounter(),
        loss=run.loss.initial_state() if hasattr(run.loss, "advance") else {},
    )


def _groups(student: PreTrainedModel, decayed: str) -> list[dict[str, Any]]:
    """The student's weights, those apart that do not decay."""
    weights = list(student.parameters())
    if decayed == "all":
        return [{"params": weights}]
    matrices, others = (
        [one for one in weights if (one.ndim > 1) == wide] for wide in (True, False)
    )
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
