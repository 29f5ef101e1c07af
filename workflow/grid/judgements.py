"""Evaluations with the measures of judges: each judge's job reads what the one before has made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.settings.evaluation import Evaluation
from pipeline.settings.judge import GOLD, Judge, JudgeJob, Opponent
from pipeline.tasks.definitions import tasks_with_responses
from workflow.grid.artifact import Artifact
from workflow.grid.cell import Cell

TEACHER = "teacher"  # the kind, and the method, of a teacher's cell


@dataclass(frozen=True)
class Rivals:
    """The cells of a grid, and the evaluation of each checkpoint before any judge."""

    cells: Sequence[Cell]
    written: Mapping[Artifact, Artifact]

    @cached_property
    def _by_place(self) -> dict[tuple[str, str, str, int], Artifact]:
        return {
            (cell.teacher, cell.student, cell.method, cell.seed): cell.model for cell in self.cells
        }

    @cached_property
    def _cells_of(self) -> dict[Artifact, list[Cell]]:
        cells: dict[Artifact, list[Cell]] = {}
        for cell in self.cells:
            cells.setdefault(cell.model, []).append(cell)
        return cells

    def opponents(self, model: Artifact, row: str) -> dict[str, Artifact]:
        """The evaluations to compare a checkpoint with, by the id of the teacher under which.

        These are of the named row for the same teacher, student and training seed.
        """
        opponents: dict[str, Artifact] = {}
        for cell in self._cells_of[model]:
            teacher = self._by_place.get((cell.teacher, cell.teacher, TEACHER, 0))
            place = cell.teacher, cell.student, row, cell.seed
            rival = teacher if row == TEACHER else self._by_place.get(place)
            if rival is not None and rival != model:
                opponents[teacher.id if teacher else ""] = self.written[rival]
        return opponents


def judged(
    settings: Evaluation,
    rivals: Rivals,
    inputs: Callable[[Judge], Sequence[tuple[str, Artifact]]],
) -> dict[Artifact, Artifact]:
    """The evaluation of each checkpoint after all judges; `inputs` are those of a judge's job."""
    latest = dict(rivals.written)
    for name, judge in settings.judges.items():
        for model in latest:
            against: dict[str, Artifact] | None = None
            if judge.kind == "pairwise" and judge.against != GOLD:
                against = rivals.opponents(model, judge.against)
                if not against:
                    continue
            latest[model] = Artifact.of(
                "evals",
                model.name,
                _job(settings, name, judge, against).model_dump(mode="json"),
                ("evaluation", latest[model]),
                *(("against", rival) for rival in dict.fromkeys((against or {}).values())),
                *inputs(judge),
            )
    return latest


def _job(
    settings: Evaluation, name: str, judge: Judge, against: Mapping[str, Artifact] | None
) -> JudgeJob:
    opponents = None
    if against is not None:
        pairs = sorted(against.items())
        opponents = [Opponent(evaluation=rival.id, teacher=teacher) for teacher, rival in pairs]
    return JudgeJob(
        judge=name,
        kind=judge.kind,
        criteria=judge.criteria,
        tasks=judge.tasks or tasks_with_responses(settings.tasks),
        opponents=opponents,
        **_served(judge),
    )


def _served(judge: Judge) -> dict[str, Any]:
    """The settings of a judge behind an endpoint; its address is none of them."""
    if judge.endpoint is None:
        return {}
    served = {"served_model": judge.model, "api": judge.endpoint.api}
    return {**served, "answer_tokens": judge.answer_tokens}


def model_of_judge(judge: Judge, model: Artifact) -> Artifact:
    """The artifact of a judge's model; a reward model is prepared as it is."""
    if judge.kind != "reward":
        return model
    return Artifact.of("models", model.name, model.settings | {"reward": True})
