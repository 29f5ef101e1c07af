"""The batches that losses are checked on: a few texts with prompts, responses and padding."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

IGNORED = -100  # the label of every token that is not of a response
TEXTS = ((3, 4), (2, 1), (4, 3))  # tokens of each prompt and its response
TIME, VOCABULARY = 9, 11


class Loss(Protocol):
    """What a project adapts: a function of four tensors, aligned with the tokens of the texts.

    It returns the mean over the response tokens of the batch as a scalar, or the loss of each
    predicted token, [batch, time - 1]. Further keywords switch further laws on: `temperature`,
    `weight` (of the teacher, or whatever weighs the two sides) and `step_tokens` (the response
    tokens of the optimizer step, by which the sum over a micro-batch is divided).
    """

    def __call__(
        self,
        student_logits: Tensor,  # [batch, time, vocabulary]; place t predicts token t + 1
        teacher_logits: Tensor,
        labels: Tensor,  # [batch, time]; -100 where the mask is false
        mask: Tensor,  # [batch, time]; true for the tokens of responses
        /,
        **keywords: float,
    ) -> Tensor:
        """The loss in nats."""
        ...


@dataclass(frozen=True)
class Case:
    """A batch and both models' logits on it."""

    student: Tensor
    teacher: Tensor
    ids: Tensor
    mask: Tensor

    @property
    def labels(self) -> Tensor:
        """The ids of response tokens, -100 elsewhere."""
        return self.ids.masked_fill(~self.mask, IGNORED)

    @property
    def predicting(self) -> Tensor:
        """Whether a place predicts a response token: one before each of them."""
        return torch.cat([self.mask[:, 1:], torch.zeros_like(self.mask[:, :1])], dim=1)

    @property
    def tokens(self) -> int:
        """The number of response tokens."""
        return int(self.mask.sum())

    def text(self, row: int) -> "Case":
        """One of its texts alone, with its padding."""
        rows = slice(row, row + 1)
        return Case(self.student[rows], self.teacher[rows], self.ids[rows], self.mask[rows])

    def disturbed(self, where: Tensor) -> "Case":
        """The same with other logits of both models at some places."""
        other = case(self.student.shape[-1], seed=8)
        student, teacher = (
            torch.where(where[..., None], after, before)
            for before, after in ((self.student, other.student), (self.teacher, other.teacher))
        )
        return replace(self, student=student, teacher=teacher)

    def padded(self, places: int) -> "Case":
        """The same with more padding at the end, where both models predict something."""
        longer = {
            name: torch.cat([before, before[:, :places].flip(1)], dim=1)
            for name, before in vars(self).items()
        }
        longer["mask"][:, -places:] = False
        return Case(**longer)


def case(vocabulary: int = VOCABULARY, spread: float = 2.0, seed: int = 7) -> Case:
    """Texts of several lengths, and two models that differ on them, in float64."""
    draw = torch.Generator().manual_seed(seed)
    shape = (len(TEXTS), TIME, vocabulary)
    student, teacher = (
        spread * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    mask = torch.zeros(shape[:2], dtype=torch.bool)
    for row, (prompt, response) in enumerate(TEXTS):
        mask[row, prompt : prompt + response] = True
    return Case(student, teacher, torch.randint(vocabulary, shape[:2], generator=draw), mask)


def one_token(student: Tensor, teacher: Tensor) -> Case:
    """A response of one token after a prompt of one, from the logits of both models."""
    ids, mask = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[False, True]])
    return Case(student.expand(1, 2, -1), teacher.expand(1, 2, -1), ids, mask)


def peaked(case: Case) -> list[Case]:
    """The same texts with logits of ±50 in float32: certain models that agree, or do not."""
    draw = torch.Generator().manual_seed(9)
    signs = [50.0 * torch.randn(case.student.shape, generator=draw).sign() for _ in range(2)]
    peaks = [torch.full_like(signs[0], -50.0) for _ in range(2)]
    for token, logits in zip((0, 3), peaks, strict=True):
        logits[..., token] = 50.0
    pairs = (signs, peaks, peaks[::-1], (peaks[0], peaks[0]))
    return [replace(case, teacher=teacher, student=student) for teacher, student in pairs]
