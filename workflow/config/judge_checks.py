"""Checks of judges: what they compare with, and which responses they read."""

from collections.abc import Iterator

from pipeline.settings.experiment import Experiment
from pipeline.settings.judge import GOLD
from pipeline.tasks.definitions import tasks_with_responses
from workflow.config.name_checks import ROW_KINDS


def faults(experiment: Experiment) -> Iterator[str]:
    """Everything that is wrong with the judges, a line each."""
    written = tasks_with_responses(experiment.evaluation.tasks)
    has_starts = experiment.initial_sft is not None
    kinds = [kind for kind in ROW_KINDS if kind != "start" or has_starts]
    rows = [GOLD, *kinds, *experiment.methods]
    for name, judge in experiment.evaluation.judges.items():
        key = f"evaluation.judges.{name}"
        if not written:
            yield (
                f"{key}: no task of evaluation.tasks has responses to judge; add `responses`, or "
                "an instruction task such as dolly"
            )
        for task in judge.tasks or ():
            if written and task not in written:
                allowed = ", ".join(written)
                yield f"{key}.tasks: {task!r} has no responses to judge; allowed: {allowed}"
        if judge.against not in rows:
            yield (
                f"{key}.against = {judge.against!r}: it is no row of the tables; allowed: "
                f"{', '.join(rows)}"
            )
        if judge.kind == "rubric" and "against" in judge.model_fields_set:
            yield f"{key}.against: a rubric rates each response alone; leave `against` out"
