"""The schedule of a training: learning rates, batches and validation steps."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from pipeline.settings.training import Training

Item = TypeVar("Item")


def step_count(training: Training, texts: int) -> int:
    """Optimizer steps of a budget over `texts` texts."""
    if training.steps is not None:
        return training.steps
    assert training.epochs is not None
    return max(1, round(training.epochs * texts / training.batch_size))


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The rate at a step from 0: a linear rise from zero, then the schedule's fall."""
    warmup = math.ceil(training.warmup_ratio * steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / (warmup + 1)

    done = (step - warmup) / max(1, steps - warmup)
    left = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
    final = training.final_learning_rate_ratio
    return training.learning_rate * (final + (1 - final) * left[training.schedule])


def draw_batch(train_set: Sequence[Item], step: int, size: int, seed: int) -> list[Item]:
    """A step's batch: each epoch goes through the train set once, in a new order."""
    indices = range(step * size, (step + 1) * size)
    epochs = (divmod(index, len(train_set)) for index in indices)
    return [train_set[_order(len(train_set), seed, epoch)[offset]] for epoch, offset in epochs]


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def validation_steps(training: Training, steps: int) -> set[int]:
    """After how many steps held-out NLL is measured: evenly spread, the last step among them."""
    count = min(training.validations, steps)
    return {round(steps * part / count) for part in range(1, count + 1)}
