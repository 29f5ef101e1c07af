"""The gradients of a model in shares over ranks, and what a rank holds of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from gang import on_ranks
from sharded_models import (
    CONFIGS,
    CPU,
    TIED,
    adamw,
    average,
    by_name,
    gradients,
    largest_difference,
    model,
    step,
)
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedConfig, PreTrainedModel

from pipeline.models.sharding import mesh_of, shard, whole
from pipeline.models.trainable import trainable_weights
from pipeline.runtime.ranks import Ranks


def untie(student: PreTrainedModel) -> None:
    head = student.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())


@dataclass(frozen=True)
class Case:
    """A model, and what is wrong with it."""

    config: PreTrainedConfig
    lora: bool = False
    before: Callable[[PreTrainedModel], None] | None = None  # it is sharded
    after: Callable[[PreTrainedModel], None] | None = None


RIGHT = {name: Case(config) for name, config in CONFIGS.items()}
RIGHT["adapters beside frozen weights"] = Case(TIED, lora=True)
WRONG = {
    "a mean over ranks": Case(TIED, after=average),
    "a tied embedding with part of its gradient": Case(TIED, before=untie),
}


def gradients_in_shares(case: Case, ranks: Ranks) -> dict[str, Tensor]:
    student = model(case.config, case.lora)
    if case.before:
        case.before(student)
    shard(student, mesh_of(ranks, CPU))
    if case.after:
        case.after(student)
    gradients(student, ranks.share)
    return {name: whole(grad) for name, grad in by_name(student).items()}


@cache
def all_in_shares() -> dict[str, dict[str, Tensor]]:
    """The gradients of every case on two ranks, which are forked once."""
    cases = RIGHT | WRONG
    first, second = on_ranks(
        2, lambda ranks: {name: gradients_in_shares(case, ranks) for name, case in cases.items()}
    )
    assert all(
        grad.equal(second[case][name]) for case in cases for name, grad in first[case].items()
    )
    return first


def alone(case: Case) -> dict[str, Tensor]:
    """The gradients of the shares of both ranks in one process."""
    student = model(case.config, case.lora)
    for rank in range(2):
        gradients(student, Ranks(rank, 2).share)
    return by_name(student)


@pytest.mark.parametrize("name", RIGHT)
def test_gradients_of_two_ranks_are_those_of_one(name: str) -> None:
    expected, actual = alone(RIGHT[name]), all_in_shares()[name]
    assert expected.keys() == actual.keys()
    assert all("lora_" in weight for weight in expected) == RIGHT[name].lora
    assert largest_difference(expected, actual) < 1e-13


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_caught(name: str) -> None:
    assert largest_difference(alone(WRONG[name]), all_in_shares()[name]) > 1e-4


def held(value: object) -> int:
    """The bytes of a rank's own part of a tensor."""
    own = value.to_local() if isinstance(value, DTensor) else value
    return own.numel() * own.element_size() if isinstance(own, Tensor) else 0


def test_each_of_four_ranks_holds_a_quarter() -> None:
    def work(ranks: Ranks) -> tuple[int, ...]:
        student = model(TIED)
        total = sum(held(weight) for weight in student.parameters())
        shard(student, mesh_of(ranks, CPU))
        optimizer = adamw(student)
        step(student, optimizer, Ranks())
        gradients(student, list)
        weights = trainable_weights(student)
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return (
            total,
            sum(map(held, weights)),
            sum(held(weight.grad) for weight in weights),
            sum(held(moment) for moment in moments if moment.ndim),
        )

    on_each = on_ranks(4, work)
    total = on_each[0][0]
    for _, weights, grads, moments in on_each:  # no weight here has rows that four can't share
        assert (4 * weights, 4 * grads, 4 * moments) == (total, total, 2 * total)
