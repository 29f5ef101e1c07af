"""What a run has cost on all of its ranks, which each of them knows after every step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        work = [now - before for now, before in zip(state.work, self._totals, strict=True)]
        steps = self._ranks.gather(StepCosts(usage, work))
        seconds = max(step.usage.seconds for step in steps)
        total = sum((step.usage for step in steps), Cost())
        state.usage = state.usage + replace(total, seconds=seconds)
        for place, counter in enumerate(state.work):
            of_ranks = (step.work[place] for step in steps)
            self._totals[place] = sum(of_ranks, self._totals[place])
            vars(counter).update(vars(self._totals[place]))  # it is the one that counts
