"""Texts that two small models write together, with what decided each token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from players import llama, log_probs, texts
from scipy.stats import chisquare
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.generation import SampledTokens, generate

STUDENT, TEACHER = 1, 2  # seeds of models that disagree


@dataclass(frozen=True)
class Token:
    """A token of a written text, with what both models say at its place in a full pass."""

    place: int
    token: int
    log_prob: float
    by_teacher: bool
    uniform: Tensor
    student: Tensor  # log-probabilities, float64
    teacher: Tensor


def endless(seed: int) -> PreTrainedModel:
    """A model with an EOS that no token is: texts stay side by side to the end."""
    model = llama(seed)
    model.generation_config.eos_token_id = -1
    return model


def witnessed(choose: Callable[..., SampledTokens], time: int = 12) -> list[Token]:
    """All tokens that a decider wrote for fifteen prompts, with what it had to go by."""
    student, teacher = endless(STUDENT), endless(TEACHER)
    seen: list[tuple[SampledTokens, Tensor]] = []

    def noting(logits: Sequence[Tensor], position: Tensor, uniform: Tensor) -> SampledTokens:
        seen.append((choose(logits, position, uniform), uniform))
        return seen[-1][0]

    asked = sorted(texts(15), key=lambda text: -len(text.prompt_ids))  # rows in writing's order
    written = generate(asked, [student, teacher], noting, time, 5, "student")
    tokens = []
    for row, text in enumerate(written):
        authors = [choice.by_teacher[row].item() for choice, _ in seen]
        assert text.teacher_tokens == sum(authors)
        models = zip(log_probs(student, text), log_probs(teacher, text), strict=True)
        for place, (student_row, teacher_row) in enumerate(models):
            record = (text.response_ids[place], text.log_probs[place], authors[place])
            tokens.append(Token(place, *record, seen[place][1][row], student_row, teacher_row))
    return tokens


def frequencies(choose: Callable[..., SampledTokens]) -> tuple[np.ndarray, Tensor, Tensor]:
    """How often each of 12 tokens is chosen in 20,000 draws, and the p and q they are from."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = 1.5 * torch.randn(2, 1, 12, generator=generator)
    uniform = torch.from_numpy(np.random.default_rng(0).random((20_000, 3)))
    both = [student.expand(20_000, -1), teacher.expand(20_000, -1)]
    counts = np.bincount(
        choose(both, torch.zeros(20_000, dtype=torch.long), uniform).tokens.numpy(), minlength=12
    )
    return counts, teacher[0].double().softmax(-1), student[0].double().softmax(-1)


def fits(counts: np.ndarray, expected: Tensor) -> bool:
    return chisquare(counts, counts.sum() * expected.numpy(), sum_check=False).pvalue > 0.001
