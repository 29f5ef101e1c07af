"""What a run has cost on all of its ranks, which each of them knows after every step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from pipeline.runtime.costs import Cost, ModelCounter
from pipeline.runtime.ranks import Ranks
from pipeline.training.state import TrainingState


@dataclass(frozen=True)
class StepCosts:
    """The costs of a step on one rank."""

    usage: Cost
    work: Sequence[ModelCounter]  # of each model


class Accounts:
    """Adds the costs of all ranks to a training state, step by step."""

    def __init__(self, ranks: Ranks, state: TrainingState):
        self._ranks, self._state = ranks, state
        self._totals = [replace(work) for work in state.work]  # of all ranks, up to the last step

    def add(self, usage: Cost) -> None:
        """Adds this rank's use of its device in a step, and the work of models since the last one.

        Ranks work side by side, so a step lasts as long as its slowest; all else adds up.
        """
        state = self._state
        if self._ranks.size == 1:
            state.usage = state.usage + usage
            return
        pairs = zip(state.work, self._totals, strict=True)
        steps = self._ranks.gather(StepCosts(usage, [_added(now, was) for now, was in pairs]))
        seconds = max(step.usage.seconds for step in steps)
        total = sum((step.usage for step in steps), Cost())
        state.usage = state.usage + replace(total, seconds=seconds)
        for place, work in enumerate(state.work):
            for step in steps:
                _add(self._totals[place], step.work[place])
            vars(work).update(vars(self._totals[place]))


def _added(now: ModelCounter, before: ModelCounter) -> ModelCounter:
    """The counts since an earlier time; those that are unknown stay so."""
    difference = replace(now)
    for name in _known(now):
        setattr(difference, name, getattr(now, name) - getattr(before, name))
    return difference


def _add(total: ModelCounter, more: ModelCounter) -> None:
    for name in _known(total):
        setattr(total, name, getattr(total, name) + getattr(more, name))


def _known(counter: ModelCounter) -> list[str]:
    names = [field.name for field in fields(ModelCounter)]
    return [name for name in names if getattr(counter, name) is not None]
