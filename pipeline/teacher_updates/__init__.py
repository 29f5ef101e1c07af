"""How a teacher learns along with its student: one way a file, each with a frozen `Update`.

`Update().attach(teacher, ...)` gives the frozen teacher a part that learns, and returns a
`TeacherUpdate`, whose `step` the training loop calls after each step of the student. The teacher's
artifact on disk stays unchanged: what was learned lives in the process and, until training ends, in
the saved training state.

Where the constant `teaches_itself` of an update is true, the method has no teacher but what
`Update().teacher(student, ...)` makes of the student.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text
from pipeline.data.encoding import Encoder
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.settings.distill import DistillSettings


@dataclass(frozen=True)
class TrainedStep:
    """What a student was just trained on, as the update of its teacher sees it."""

    step: int  # from 0
    texts: Sequence[Text]  # of all ranks
    batches: Sequence[Batch]  # this rank's share of them
    ranks: Ranks = ALONE  # whose teachers have equal weights

    @property
    def token_count(self) -> int:
        """The number of response tokens of all ranks."""
        return sum(text.target_count for text in self.texts)


@runtime_checkable
class TeacherUpdate(Protocol):
    """A teacher under training."""

    def step(self, student: PreTrainedModel, trained: TrainedStep) -> None:
        """A step of the teacher on the texts that its student was just trained on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later process needs to resume."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        ...


@runtime_checkable
class UpdateMethod(Protocol):
    """The hyperparameters of a teacher update, before it has a teacher."""

    def attach(
        self,
        teacher: PreTrainedModel,
        train_set: Sequence[Text],
        settings: DistillSettings,
        max_tokens: int,
    ) -> TeacherUpdate:
        """Adds to a frozen teacher what is to learn."""
        ...


@runtime_checkable
class SelfTeaching(UpdateMethod, Protocol):
    """An update that makes a teacher of the student."""

    teaches_itself: bool

    def teacher(
        self,
        student: PreTrainedModel,
        train_set: Sequence[Text],
        encoder: Encoder,
        settings: DistillSettings,
    ) -> LiveTeacher:
        """The teacher of a student that has not been trained yet."""
        ...


def build_update(name: str, hyperparameters: Mapping[str, object]) -> UpdateMethod:
    """The teacher update in `pipeline/teacher_updates/{name}.py`."""
    return importlib.import_module(f"pipeline.teacher_updates.{name}").Update(**hyperparameters)


def attach_update(
    settings: DistillSettings,
    student: PreTrainedModel,
    teacher: Teacher | None,
    train_set: Sequence[Text],
    encoder: Encoder,
    max_tokens: int,
) -> tuple[Teacher | None, TeacherUpdate | None]:
    """The teacher of a run and how it learns: the one at hand, or a copy of the student."""
    if settings.method.update is None:
        return teacher, None
    update = build_update(settings.method.update, settings.method.update_settings)
    if isinstance(update, SelfTeaching):
        teacher = update.teacher(student, train_set, encoder, settings)
    assert isinstance(teacher, LiveTeacher)
    return teacher, update.attach(teacher.model, train_set, settings, max_tokens)
