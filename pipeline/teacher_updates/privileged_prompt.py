"""The student teaches itself: a copy of it, whose prompts show what the student has to find out.

S. Zhao, Z. Xie, M. Liu, et al., 2026. Self-Distilled Reasoner: On-Policy Self-Distillation for
Large Language Models. arXiv:2601.18734, and I. Shenfeld, M. Damani, J. Hübotter, P. Agrawal, 2026.
Self-Distillation Enables Continual Learning. arXiv:2601.19897; details from their code
(siyan-zhao/OPSD; SDFT in huggingface/trl). The copy stays as it was before the first step (OPSD),
follows the student as an exponential moving average (SDFT), or is the student as it stands: one
rate says which. SDPO (arXiv:2601.20802, read in huggingface/trl) shows it another response of the
student's to the same prompt, where one was right; a copy without one reads what the student does.
Gradient flows through the student alone.

Departures: the prompt is put together of ids, with the student's own prompt last, so that the copy
answers where the student does. Both sources have the reference behind the question, in words of
their own.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.data.encoding import Encoder
from pipeline.data.privileged_prompts import PrivilegedPrompts
from pipeline.methods.ranges import PromptTemplate, Share, Shown
from pipeline.models.language_model import end_ids
from pipeline.models.teacher import LiveTeacher
from pipeline.models.trainable import learned_state, load_learned_state, trainable_weights
from pipeline.settings.distill import DistillSettings
from pipeline.teacher_updates import TrainedStep


@dataclass(frozen=True)
class Update:
    """A copy of the student, θ ← (1 - r) θ + r θ_student a step, reads a privileged prompt."""

    teaches_itself = True

    # the response to the prompt; demonstration: another example; solution: a right rollout
    shows: Shown = "reference"
    template: PromptTemplate = "{example_prompt}{example_response}\n\n{prompt}"
    student_rate: Share = 0.0  # r: 0 the student before training, 1 the student of now

    def teacher(
        self,
        student: PreTrainedModel,
        train_set: Sequence[Text],
        encoder: Encoder,
        settings: DistillSettings,
    ) -> LiveTeacher:
        """A copy of the student behind privileged prompts, in evaluation mode."""
        prompts = PrivilegedPrompts(
            self.template, self.shows, train_set, encoder, end_ids(student), settings.seed
        )
        return LiveTeacher(
            copy.deepcopy(student).eval(), settings.training.precision, prompts=prompts
        )

    def attach(
        self,
        teacher: PreTrainedModel,
        train_set: Sequence[Text],
        settings: DistillSettings,
        max_tokens: int,
    ) -> "MovingAverage":
        """The copy's way to follow its student."""
        return MovingAverage(teacher, self.student_rate)


@dataclass(frozen=True)
class MovingAverage:
    """A copy of a student that follows it."""

    teacher: PreTrainedModel
    student_rate: float

    @torch.no_grad()
    def step(self, student: PreTrainedModel, trained: TrainedStep) -> None:
        """Moves each weight that learns towards the student's."""
        if not self.student_rate:
            return
        pairs = zip(trainable_weights(self.teacher), trainable_weights(student), strict=True)
        for weight, target in pairs:
            weight.lerp_(target, self.student_rate)

    def state_dict(self) -> dict[str, Any]:
        """The weights that moved; none where they are those of the start."""
        return dict(learned_state(self.teacher)) if self.student_rate else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        if state:
            load_learned_state(self.teacher, state)
