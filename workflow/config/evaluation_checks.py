"""Checks of an evaluation: its tasks, their data and columns, and its judges."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from pipeline.settings.data import Columns
from pipeline.settings.evaluation import TEST_SPLIT_TASKS, Evaluation, HubDataset, LocalFiles
from pipeline.settings.experiment import Experiment
from pipeline.settings.judge import GOLD, Judge
from pipeline.settings.models import HubModel, PathModel
from pipeline.tasks import definitions, lm_eval_index, task_folder
from pipeline.tasks.definitions import (
    InstructionTask,
    Task,
    listed_tasks,
    read,
    tasks_with_responses,
)
from pipeline.tasks.task_folder import OwnTasks
from workflow.config import own_task_checks, pydantic_errors
from workflow.config.config_file import exists
from workflow.config.data_checks import most_training_examples
from workflow.config.name_checks import ROW_KINDS
from workflow.config.wording import did_you_mean, repeated


def faults(experiment: Experiment) -> Iterator[str]:
    """Everything that is wrong with the evaluation, a line each."""
    yield from task_faults(experiment.evaluation)
    yield from _length_faults(experiment)
    yield from _few_examples_faults(experiment)
    yield from _judge_faults(experiment)


def _length_faults(experiment: Experiment) -> Iterator[str]:
    """A limit in tokens that would leave out other items of a teacher than of its students."""
    most, tasks = experiment.evaluation.prompt_tokens, listed_tasks(experiment.evaluation.tasks)
    if most is None or not any(isinstance(task.definition, InstructionTask) for task in tasks):
        return
    for name, teacher in experiment.local_teachers.items():
        if teacher.tokenizer is not None:
            yield (
                f"evaluation.prompt_tokens = {most}: teacher {name} counts tokens of a vocabulary "
                "of its own, and would be asked other items than its students; leave it out"
            )


def _few_examples_faults(experiment: Experiment) -> Iterator[str]:
    """More examples before a question than the training split can have."""
    asked, limit = experiment.evaluation.few_shot, experiment.data.train_limit
    most = most_training_examples(experiment.data)
    if most is not None and asked > most:
        key = "data.train_limit leaves" if most == limit else "data.examples has"
        yield f"evaluation.few_shot = {asked}: {key} {most} training examples at most; lower it"


def task_faults(settings: Evaluation) -> list[str]:
    """Everything that is wrong with the tasks and their data, a line each."""
    tasks = listed_tasks(settings.tasks)  # those of suites too, that have items of their own
    of_names = [*own_task_checks.folder_faults(settings), *_name_faults(settings, tasks)]
    unused = own_task_checks.unused_faults(settings)
    of_examples = [] if of_names else [*unused, *_few_shot_faults(settings, tasks)]
    of_seeds, of_data = _seed_faults(settings, tasks), _data_faults(settings, tasks)
    return [*of_names, *of_examples, *of_seeds, *of_data]


def _name_faults(settings: Evaluation, tasks: list[Task]) -> Iterator[str]:
    own = task_folder.of_settings(settings)
    for index, name in enumerate(settings.tasks):
        place = f"evaluation.tasks.{index}"
        if name in settings.tasks[:index]:
            yield f"{place}: {name!r} is listed twice"
        elif own is not None and own.of_name(name):
            yield from own_task_checks.task_faults(place, name, own, settings)
        elif name not in (*TEST_SPLIT_TASKS, *definitions.names()):
            yield from _lm_eval_faults(place, name, own)
    if settings.tasks == ["exposure"]:
        yield "evaluation.tasks: exposure alone measures nothing of a teacher; add heldout"
    twice = set(repeated(task.name for task in tasks)) - set(repeated(settings.tasks))
    for name in sorted(twice):
        where = "in a suite, too: leave it out" if name in settings.tasks else "in two suites"
        yield f"evaluation.tasks: {name!r} is {where}"


def _seed_faults(settings: Evaluation, tasks: list[Task]) -> Iterator[str]:
    """Decoding seeds that are listed twice, or that nothing is drawn with."""
    seeds = settings.decoding_seeds
    for seed in repeated(seeds):
        yield f"evaluation.decoding_seeds: {seed} is listed twice"
    own = [
        task.definition.sampling for task in tasks if isinstance(task.definition, InstructionTask)
    ]
    is_sampled = any(sampling.temperature for sampling in [settings.sampling, *filter(None, own)])
    if seeds != [0] and not is_sampled:
        yield (
            f"evaluation.decoding_seeds = {seeds}: at temperature 0 all of them give the same "
            "responses; leave them out, or set evaluation.sampling.temperature"
        )


def _few_shot_faults(settings: Evaluation, tasks: list[Task]) -> Iterator[str]:
    """Examples that would stand before no question."""
    kinds = {type(task.definition) for task in tasks}
    if settings.few_shot and InstructionTask not in kinds:
        own = filter(lambda name: isinstance(read(name), InstructionTask), definitions.names())
        yield (
            f"evaluation.few_shot = {settings.few_shot}: no listed task is asked with examples; "
            f"leave it out, or list one of {', '.join(own)} (tasks of lm-eval have their own)"
        )


def _lm_eval_faults(place: str, name: str, own: OwnTasks | None) -> Iterator[str]:
    if not lm_eval_index.files(name):
        ours = [*(own.names if own else []), *TEST_SPLIT_TASKS, *definitions.names()]
        meant = did_you_mean(name, {*ours, *lm_eval_index.index()}, count=3)
        yield (
            f"{place}: unknown task {name!r}; {meant}available: {', '.join(ours)}, and the tasks "
            f"of lm-eval {metadata.version('lm_eval')}"
        )
    elif reason := lm_eval_index.why_not_run(name):
        yield f"{place}: {name!r} is not supported: {reason}"


def _data_faults(settings: Evaluation, tasks: list[Task]) -> Iterator[str]:
    listed = {task.base: task for task in tasks}
    for name, source in settings.data.items():
        place = f"evaluation.data.{name}"
        if name not in listed:
            there = ", ".join(listed) or "none that has data of its own"
            yield f"{place}: evaluation.tasks does not list {name!r}; it has {there}"
            continue
        if isinstance(source, LocalFiles):
            yield from _file_faults(place, source)
        if isinstance(listed[name].definition, InstructionTask):
            yield from _column_faults(place, source.columns or {})
        else:
            yield from _unused_faults(place, source)


def _file_faults(place: str, source: LocalFiles) -> Iterator[str]:
    for file in source.paths:
        if not exists(file):
            yield (
                f"{place} = {file!r}: there is no such file (a relative path starts at "
                f"{Path.cwd()}; a data set of the hub is named by `hub: owner/name`)"
            )


def _unused_faults(place: str, source: LocalFiles | HubDataset) -> Iterator[str]:
    """Keys that would do nothing: lm-eval knows the splits and columns of a whole data set."""
    is_whole = isinstance(source, HubDataset) or any(Path(path).is_dir() for path in source.paths)
    for key in ("columns", "split"):
        if is_whole and getattr(source, key, None) is not None:
            yield f"{place}.{key}: a whole data set is read as lm-eval has it; leave {key!r} out"


def _column_faults(place: str, columns: dict[str, object]) -> Iterator[str]:
    try:
        Columns.model_validate(columns)
    except ValidationError as error:
        yield from pydantic_errors.lines(error, Columns, columns, f"{place}.columns")


def _judge_faults(experiment: Experiment) -> Iterator[str]:
    """What judges can't compare with, and responses that they can't read."""
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
