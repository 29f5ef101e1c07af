"""Checks of an evaluation's tasks: their names, their data, their columns."""

import difflib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from pipeline.settings.data import Columns
from pipeline.settings.evaluation import TEST_SPLIT_TASKS, Evaluation, HubDataset, LocalFiles
from pipeline.tasks import definitions, lm_eval_index, local_documents
from pipeline.tasks.definitions import InstructionTask, Task, listed_tasks, read
from workflow.config.config_file import exists


def faults(settings: Evaluation) -> list[str]:
    """Everything that is wrong with the tasks and their data, a line each."""
    of_names = [*_task_faults(settings)]
    of_examples = [] if of_names else _few_shot_faults(settings)
    return [*of_names, *of_examples, *_seed_faults(settings), *_data_faults(settings)]


def _tasks_with_data(settings: Evaluation) -> list[Task]:
    """The listed tasks, those of suites too, that have items of their own."""
    return listed_tasks(settings.tasks)


def _task_faults(settings: Evaluation) -> Iterator[str]:
    for at, name in enumerate(settings.tasks):
        place = f"evaluation.tasks.{at}"
        if name in settings.tasks[:at]:
            yield f"{place}: {name!r} is listed twice"
        elif name not in (*TEST_SPLIT_TASKS, *definitions.names()):
            yield from _lm_eval_faults(place, name)
    listed = [task.name for task in _tasks_with_data(settings)]
    twice = {name for name in listed if listed.count(name) > 1} - set(settings.tasks)
    yield from (f"evaluation.tasks: {name!r} is in two suites" for name in sorted(twice))


def _seed_faults(settings: Evaluation) -> Iterator[str]:
    """Decoding seeds that are listed twice, or that nothing is drawn with."""
    seeds = settings.decoding_seeds
    for seed in dict.fromkeys(seed for seed in seeds if seeds.count(seed) > 1):
        yield f"evaluation.decoding_seeds: {seed} is listed twice"
    tasks = _tasks_with_data(settings)
    own = [
        task.definition.sampling for task in tasks if isinstance(task.definition, InstructionTask)
    ]
    is_sampled = any(sampling.temperature for sampling in [settings.sampling, *filter(None, own)])
    if seeds != [0] and not is_sampled:
        yield (
            f"evaluation.decoding_seeds = {seeds}: at temperature 0 all of them give the same "
            "responses; leave them out, or set evaluation.sampling.temperature"
        )


def _few_shot_faults(settings: Evaluation) -> Iterator[str]:
    """Examples that would stand before no question."""
    kinds = {type(task.definition) for task in _tasks_with_data(settings)}
    if settings.few_shot and InstructionTask not in kinds:
        own = filter(lambda name: isinstance(read(name), InstructionTask), definitions.names())
        yield (
            f"evaluation.few_shot = {settings.few_shot}: no listed task is asked with examples; "
            f"leave it out, or list one of {', '.join(own)} (tasks of lm-eval have their own)"
        )


def _lm_eval_faults(place: str, name: str) -> Iterator[str]:
    if not lm_eval_index.files(name):
        own = [*TEST_SPLIT_TASKS, *definitions.names()]
        near = difflib.get_close_matches(name, {*own, *lm_eval_index.index()}, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        yield (
            f"{place}: unknown task {name!r}; {meant}available: {', '.join(own)}, and the tasks of "
            f"lm-eval {metadata.version('lm_eval')}"
        )
    elif lm_eval_index.is_in_python(name):
        yield (
            f"{place}: lm-eval makes the documents of {name!r} by code of its own; they can't be "
            "kept with a digest, so that it is not supported"
        )


def _data_faults(settings: Evaluation) -> Iterator[str]:
    listed = {task.base: task for task in _tasks_with_data(settings)}
    for name, given in settings.data.items():
        place = f"evaluation.data.{name}"
        if name not in listed:
            there = ", ".join(listed) or "none that has data of its own"
            yield f"{place}: evaluation.tasks does not list {name!r}; it has {there}"
            continue
        if isinstance(given, LocalFiles):
            yield from _file_faults(place, given)
        if isinstance(listed[name].definition, InstructionTask):
            yield from _column_faults(place, given.columns or {})
        else:
            yield from _unused_faults(place, given)


def _file_faults(place: str, given: LocalFiles) -> Iterator[str]:
    for file in given.paths:
        path = Path(file)
        if not exists(file):
            yield (
                f"{place} = {file!r}: there is no such file (a relative path starts at "
                f"{Path.cwd()}; a data set of the hub is named by `hub: owner/name`)"
            )
        elif path.is_file() and path.suffix not in local_documents.SUFFIXES:
            allowed = ", ".join(local_documents.SUFFIXES)
            yield f"{place} = {file!r}: can't read {path.suffix!r} files; allowed: {allowed}"


def _unused_faults(place: str, given: LocalFiles | HubDataset) -> Iterator[str]:
    """Keys that would do nothing: lm-eval knows the splits and columns of a whole data set."""
    whole = isinstance(given, HubDataset) or any(Path(one).is_dir() for one in given.paths)
    for key in ("columns", "split"):
        if whole and getattr(given, key, None) is not None:
            yield f"{place}.{key}: a whole data set is read as lm-eval has it; leave {key!r} out"


def _column_faults(place: str, columns: dict[str, object]) -> Iterator[str]:
    try:
        Columns.model_validate(columns)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            key = ".".join(map(str, one["loc"]))
            yield f"{place}.columns.{key}: {one['msg']}; allowed: {', '.join(Columns.model_fields)}"
