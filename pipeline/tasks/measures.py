"""What a user's own tasks measure: of each metric its better direction, and whether lm-eval has it.

lm-eval's own metrics have the scale that their names have everywhere. A metric of a function, or of
a task's `process_results`, may have any.
"""

from lm_eval.api.task import ConfigurableTask

from pipeline.artifacts.own_measures import Measures, OwnMeasure
from pipeline.tasks.lm_eval_tasks import LoadedTasks

# metrics of lm-eval that are kept as the logarithms which they are made from
LOGARITHMS = {"word_perplexity": "nll_per_word_nats", "perplexity": "nll_per_target_nats"}


def of_task(name: str, loaded: LoadedTasks) -> Measures:
    """The metrics of a task, a group or a tag, under the names that its items have."""
    of_members = {member: _metrics(task) for member, task in loaded.tasks.items()}
    if loaded.group(name) is None and len(of_members) > 1:
        return of_members
    joined: dict[str, OwnMeasure] = {}
    for metrics in of_members.values():
        for metric, measure in metrics.items():
            joined[metric] = _joined(joined.get(metric, measure), measure)
    return {name: joined}


def _metrics(task: ConfigurableTask) -> dict[str, OwnMeasure]:
    listed = task.config.metric_list or []
    functions = {each["metric"].__name__ for each in listed if callable(each["metric"])}
    metrics: dict[str, OwnMeasure] = {}
    for name, higher_is_better in task.higher_is_better().items():
        own = task.config.process_results is not None or name in functions
        metrics[str(name)] = {"higher_is_better": higher_is_better, "is_of_lm_eval": not own}
    # values of `process_results` may be what their names say
    kept = {"word_perplexity"} if task.config.process_results is not None else set[str]()
    logarithms = {LOGARITHMS[name]: metrics[name] for name in metrics.keys() & LOGARITHMS}
    others = {name: each for name, each in metrics.items() if name not in LOGARITHMS.keys() - kept}
    return others | logarithms


def _joined(first: OwnMeasure, second: OwnMeasure) -> OwnMeasure:
    """What two tasks of a group have in common under one name."""
    is_same = first["higher_is_better"] == second["higher_is_better"]
    return {
        "higher_is_better": first["higher_is_better"] if is_same else None,
        "is_of_lm_eval": first["is_of_lm_eval"] and second["is_of_lm_eval"],
    }
