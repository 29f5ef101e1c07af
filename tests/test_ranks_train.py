"""Several ranks train what one does: each method of the catalogue, in float64.

Sums are taken in another order, and a text is read beside other ones, so the last digits differ.
In float64 that changes no token that is sampled. Processes are forked once for a number of ranks,
and go through all methods.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from gang import on_ranks
from players import CPU, Setup, run, schooled, teacher_texts, texts
from torch import Tensor

from pipeline.data.batch import Text, collate
from pipeline.data.sharing import shared_batches, shares
from pipeline.generation import generate as generation
from pipeline.methods.catalogue import METHODS
from pipeline.models import trainable
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.training import batches, checkpoint, loop
from pipeline.training.batches import MicroBatch, StepBatch
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state
from pipeline.training.step_log import Row

STEPS = 3
POSITIONS = 24  # in a micro-batch: one rank has several, too
CLOSE = 1e-10  # nats, or units of a weight: float64 sums in another order
QUICK = ("sft", "adakd", "minillm", "dskd_v2", "ikd")
# what outlives a step: a loss's state, a buffer, an epoch's answers, adapters, a copy, projectors
STATEFUL = ("adakd", "distillm", "distillm2", "okd", "sdft", "hidden_mse")

pytestmark = pytest.mark.xdist_group("ranks")


@dataclass(frozen=True)
class Outcome:
    """What a run has measured, learned and written."""

    rows: list[Row]
    weights: Tensor
    written: list[list[list[int]]]  # the responses of each step
    policy: str
    loss: dict[str, float]


def in_float64(setup: Setup, ranks: Ranks) -> TrainingRun:
    player = run(replace(setup, place=lambda model: model.double()))
    if player.features is not None:
        player.features.projectors.double()
    if optimizer := getattr(player.teacher_update, "optimizer", None):
        optimizer.model.double()
    return replace(player, ranks=ranks, max_tokens=POSITIONS)


def setup(method: str) -> Setup:
    return Setup(method, steps=STEPS, training={"validations": 2})


def to_end(player: TrainingRun, state: TrainingState) -> Outcome:
    written = []
    for _ in train(player, state):
        assert state.pending is not None
        written.append([list(text.response_ids) for text in state.pending.texts])
    return outcome(player, state, written)


def outcome(
    player: TrainingRun, state: TrainingState, written: list[list[list[int]]]
) -> Outcome:
    learned = [*player.student.parameters()]
    if player.features is not None:
        learned += player.features.weights
    if player.teacher_update is not None:
        learned += player.teacher.model.parameters()
    flat = torch.cat([weight.detach().double().flatten() for weight in learned])
    return Outcome(state.rows, flat, written, repr(state.policy), state.loss)


def trained(ranks: Ranks, setup: Setup) -> Outcome:
    player = in_float64(setup, ranks)
    return to_end(player, initial_state(player))


@cache
def alone(method: str) -> Outcome:
    return trained(ALONE, setup(method))


def of_ranks(size: int, methods: tuple[str, ...]) -> list[dict[str, Outcome]]:
    """The outcomes on each rank, by method."""
    schooled(), teacher_texts()  # once, before there are several processes
    return on_ranks(
        size, lambda ranks: {method: trained(ranks, setup(method)) for method in methods}
    )


@cache
def all_methods(size: int) -> list[dict[str, Outcome]]:
    return of_ranks(size, tuple(METHODS))


def assert_same(one: Outcome, other: Outcome) -> None:
    """Raises AssertionError where two runs differ in more than the last digits."""
    assert one.written == other.written
    assert one.loss == pytest.approx(other.loss, rel=0, abs=CLOSE)
    assert (one.weights - other.weights).abs().max() < CLOSE
    for row, expected in zip(one.rows, other.rows, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(expected[name], rel=1e-9, abs=CLOSE), name


def assert_equal_on_all(outcomes: list[Outcome]) -> None:
    """Raises AssertionError where ranks of a run differ in a bit."""
    first, *others = outcomes
    for other in others:
        assert other.weights.equal(first.weights)
        assert other.policy == first.policy
        assert other.loss == first.loss
        assert other.rows == first.rows


def test_two_ranks_train_what_one_does() -> None:
    outcomes = of_ranks(2, QUICK)
    for method in QUICK:
        assert_same(outcomes[0][method], alone(method))
        assert_equal_on_all([of_rank[method] for of_rank in outcomes])


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_same_on_several_ranks(method: str, size: int) -> None:
    outcomes = all_methods(size)
    assert_same(outcomes[0][method], alone(method))
    assert_equal_on_all([of_rank[method] for of_rank in outcomes])
