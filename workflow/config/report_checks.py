"""Checks of what the report is to show first: measures that this experiment will have."""

import difflib
from collections.abc import Iterator

from pipeline.reporting.analysis.metrics import METRICS, PASS_AT_K
from pipeline.settings.evaluation import Evaluation
from pipeline.settings.experiment import Experiment
from pipeline.statistics.pass_at_k import ks_of
from pipeline.tasks.definitions import TEST_SPLIT_TASKS, InstructionTask, listed_tasks

RANKED = tuple(metric.name for metric in METRICS if metric.higher_is_better is not None)
OF_GENERATED_TEXT = ("rouge_l", "rouge_l_unicode")
OF_EXPOSURE = ("excess_error_percent", "kl_on_own_text_nats", "kl_on_teacher_text_nats")
OF_HELDOUT = RANKED[: RANKED.index("ece") + 1]


def faults(experiment: Experiment) -> Iterator[str]:
    """A line for each primary measure that no evaluation of the experiment will have."""
    primary = experiment.report.primary or []
    known = known_measures(experiment.evaluation) if primary else []
    for index, key in enumerate(primary):
        place = f"report.primary.{index}"
        if key in primary[:index]:
            yield f"{place}: {key!r} is listed twice"
        elif key.partition(":")[0] not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]}?; " if near else ""
            yield f"{place}: unknown measure {key!r}; {meant}allowed: {', '.join(known)}"


def known_measures(evaluation: Evaluation) -> list[str]:
    """The measures with a better direction that tasks have, as task/metric.

    What lm-eval measures is known only after it has run: any metric with a direction passes.
    """
    own = {"heldout": OF_HELDOUT, "responses": OF_GENERATED_TEXT, "exposure": OF_EXPOSURE}
    tasks = evaluation.tasks
    metrics = {name: own[name] for name in tasks if name in TEST_SPLIT_TASKS}
    of_answers = ("correct", *(f"pass_at_{k}" for k in ks_of(len(evaluation.decoding_seeds))))
    for task in listed_tasks([name for name in tasks if name not in TEST_SPLIT_TASKS]):
        if not isinstance(task.definition, InstructionTask):
            others = (*OF_HELDOUT, *OF_EXPOSURE, "correct", PASS_AT_K)
            metrics[task.name] = tuple(name for name in RANKED if name not in others)
        elif task.definition.scored_by == "answers":
            metrics[task.name] = of_answers
        else:
            metrics[task.name] = OF_GENERATED_TEXT
    return [f"{task}/{metric}" for task, names in metrics.items() for metric in names]
