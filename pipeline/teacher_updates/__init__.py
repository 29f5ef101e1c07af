"""How a teacher learns along with its student: one way a file, each with a frozen `Update`.

`Update().begin(teacher, pool, settings, budget)` gives the teacher, which is frozen, a part that
learns, and returns a `TeacherTraining`. The training loop calls `learn` after each step of the
student's. The teacher's artifact on disk stays as it was: what was learnt lives in the process
and, until training ends, in the saved state of the run.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedModel

from pipeline.data.batch import Batch


@runtime_checkable
class TeacherTraining(Protocol):
    """A teacher under training."""

    def learn(self, student: PreTrainedModel, batches: Sequence[Batch], step: int) -> None:
        """One step of the teacher's, on what its student was just trained on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a later process needs to go on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        ...
