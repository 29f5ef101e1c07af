"""Short runs of training in float64, on one rank or several, and whether two came to the same."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from annotations import unchecked
from players import Setup, run
from torch import Tensor

from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state
from pipeline.training.step_log import Row

STEPS = 2
POSITIONS = 24  # in a micro-batch: one rank has several, too
CLOSE = 1e-10  # nats, or units of a weight: float64 sums in another order


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


def outcome(player: TrainingRun, state: TrainingState, written: list[list[list[int]]]) -> Outcome:
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
    with unchecked():
        return trained(ALONE, setup(method))


def assert_same(outcome: Outcome, other: Outcome) -> None:
    """Raises AssertionError where two runs differ in more than the last digits."""
    assert outcome.written == other.written
    assert outcome.loss == pytest.approx(other.loss, rel=0, abs=CLOSE)
    assert (outcome.weights - other.weights).abs().max() < CLOSE
    for row, expected in zip(outcome.rows, other.rows, strict=True):
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
