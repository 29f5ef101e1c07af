"""What a run has cost on all of its ranks, which each of them knows after every step."""

from dataclasses import replace

from pipeline.runtime.costs import Cost
from pipeline.runtime.ranks import Ranks
from pipeline.training.state import TrainingState


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
        usages, works = zip(*self._ranks.gather((usage, work)), strict=True)
        seconds = max(of_rank.seconds for of_rank in usages)
        state.usage = state.usage + replace(sum(usages, Cost()), seconds=seconds)
        for place, (counter, *of_ranks) in enumerate(zip(state.work, *works, strict=True)):
            self._totals[place] = sum(of_ranks, self._totals[place])
            vars(counter).update(vars(self._totals[place]))  # it is the one that counts
