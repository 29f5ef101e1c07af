"""What the steps of a run train on: texts, laid out in micro-batches, with the teacher's word."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.distributions.log_probs import TeacherDistributions
from pipeline.generation.rollouts import StepContext
from pipeline.models.teacher import LiveTeacher
from pipeline.training.prefetch import ahead
from pipeline.training.schedule import draw_batch
from pipeline.training.state import TrainingRun, TrainingState


@dataclass(frozen=True)
class MicroBatch:
    """Texts that are read together, and what the teacher says of them."""

    batch: Batch
    forecast: TeacherDistributions | None


@dataclass(frozen=True)
class StepBatch:
    """All that one step trains on."""

    texts: Sequence[Text]
    micro_batches: Sequence[MicroBatch]
    plain: Sequence[Batch]  # of the language-modelling term

    @property
    def batches(self) -> list[Batch]:
        """The micro-batches without the teacher's word."""
        return [one.batch for one in self.micro_batches]


def step_batches(run: TrainingRun, state: TrainingState) -> Iterator[StepBatch]:
    """What each step trains on, from where `state` stands: made ahead where that can be known."""
    made = (supply(run, state, step) for step in range(state.step, run.steps))
    return ahead(made) if run.known_ahead else made


def supply(run: TrainingRun, state: TrainingState, step: int) -> StepBatch:
    """What a step trains on. A live teacher is asked by whoever uses its forecast."""
    training, device = run.settings.training, run.student.device
    drawn = draw_batch(run.pool, step, training.batch_size, run.settings.seed)
    texts = run.policy.texts(drawn, turn(run, state, step))
    found = [
        MicroBatch(batch, run.teacher.forecast(batch) if run.teacher else None)
        for batch in micro_batches(texts, run.budget, device)
    ]
    if not run.plain:
        return StepBatch(texts, found, [])
    plain = draw_batch(run.plain, step, training.batch_size, run.settings.seed)
    return StepBatch(texts, found, list(micro_batches(plain, run.budget, device)))


def turn(run: TrainingRun, state: TrainingState, step: int) -> StepContext:
    """What the data policy may know of a step."""
    seed = int(np.random.SeedSequence([run.settings.seed, step]).generate_state(1)[0])
    return StepContext(
        step=step,
        steps=run.steps,
        epoch=step * run.settings.training.batch_size // len(run.pool),
        pool=run.pool,
        student=run.student,
        teacher=run.teacher.model if isinstance(run.teacher, LiveTeacher) else None,
        max_new_tokens=run.settings.max_new_tokens,
        seed=seed,
        rng=np.random.default_rng(seed),
        state=state.policy,
    )
