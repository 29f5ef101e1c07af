"""Checks of judges: what they compare with, and which responses they read."""

from collections.abc import Iterator

from pipeline.settings.experiment import Experiment
from pipeline.settings.judge import GOLD, Judge
from pipeline.settings.models import HubModel, PathModel
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
        if judge.kind != "pairwise" and "against" in judge.model_fields_set:
            yield f"{key}.against: {judge.kind} takes each response alone; leave `against` out"
        if judge.kind == "reward":
            yield from _reward_faults(experiment, key, judge)


def _reward_faults(experiment: Experiment, key: str, judge: Judge) -> Iterator[str]:
    """What a reward model can't be."""
    source = experiment.models.get(judge.model)
    if judge.endpoint is not None:
        yield f"{key}.endpoint: a reward model is one of `models`; leave `endpoint` out"
    elif source is not None and not isinstance(source, PathModel | HubModel):
        yield (
            f"{key}.model = {judge.model!r}: a reward model is saved in a folder or on the hub; "
            f"allowed: a model of source path or hub, not {source.source}"
        )
    if "criteria" in judge.model_fields_set:
        yield f"{key}.criteria: a reward model reads no criteria; leave them out"
