"""A fault in how ranks share a step is noticed by the law that holds every method."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from gang import on_ranks
from players import schooled, teacher_texts
from runs_on_ranks import Outcome, alone, assert_same, setup, trained
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.generation import generate, rollouts
from pipeline.models import trainable
from pipeline.runtime.ranks import Ranks
from pipeline.training import loop
from pipeline.training.batches import StepBatch
from pipeline.training.state import TrainingRun

pytestmark = pytest.mark.xdist_group("ranks")


@contextmanager
def replaced(place: object, name: str, value: object) -> Iterator[None]:
    original = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, original)


def average(weights: Sequence[torch.nn.Parameter], ranks: Ranks) -> None:
    trainable.sum_gradients(weights, ranks)
    for weight in weights:
        if weight.grad is not None:
            weight.grad /= ranks.size


def own_token_count(batch: StepBatch) -> int:
    return sum(each.token_count for each in batch.batches)


def own_norm(run: TrainingRun) -> Tensor:
    """Clips before it adds up."""
    weights = trainable.trainable_weights(run.student)
    norm = torch.nn.utils.clip_grad_norm_(weights, run.settings.training.max_gradient_norm)
    trainable.sum_gradients(weights, run.ranks)
    return norm


def own_draws(*arguments: Any, ranks: Ranks) -> list[Text]:
    """Random numbers that a text doesn't have by itself."""
    prompts, models, choose, most, seed, author = arguments
    return generate(prompts, models, choose, most, seed + ranks.rank, author, ranks=ranks)


def own_tokens(_run: TrainingRun, _batch: StepBatch, values: Tensor) -> Tensor:
    """The step's statistics of these tokens alone."""
    return values


FAULTS = {  # with a method that shows each, and how it is put in
    "average in place of the sum": ("sft", replaced(loop, "sum_gradients", average)),
    "token count of a rank": (
        "sft",
        replaced(StepBatch, "token_count", property(own_token_count)),
    ),
    "median of a rank": ("atkd", replaced(loop, "of_all_ranks", own_tokens)),
    "norm of a rank": ("sft", replaced(loop, "sum_and_clip_gradients", own_norm)),
    "draws of a rank": ("imitkd", replaced(rollouts, "generate", own_draws)),
}


def faulty(ranks: Ranks) -> dict[str, Outcome]:
    outcomes = {}
    for fault, (method, put_in) in FAULTS.items():
        with put_in:
            outcomes[fault] = trained(ranks, setup(method))
    return outcomes


@cache
def with_faults() -> dict[str, Outcome]:
    schooled(), teacher_texts()
    outcomes, *_ = on_ranks(2, faulty)
    return outcomes


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str) -> None:
    method, _ = FAULTS[fault]
    with pytest.raises(AssertionError):
        assert_same(with_faults()[fault], alone(method))
