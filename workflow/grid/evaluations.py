"""The evaluation of a checkpoint: its tasks as artifacts, and what is wrong with their names."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from pipeline.settings.data import Columns
from pipeline.settings.evaluation import (
    Evaluation,
    EvaluationJob,
    EvaluationTask,
    GenerationSettings,
    HubDataset,
    InstructionJob,
    ItemSource,
    LmEvalJob,
    LocalFiles,
    TaskJob,
)
from pipeline.settings.generation import Sampling
from pipeline.tasks import definitions, lm_eval_index, local_documents
from pipeline.tasks.definitions import TEST_SPLIT_TASKS, InstructionTask, LmEvalTask
from workflow.grid.artifact import Artifact
from workflow.grid.digests import of_file, of_tree

GREEDY = Sampling(temperature=0)
EXPOSURE = "exposure"  # the one task that asks the teachers themselves
WRITTEN = ("responses", EXPOSURE)  # of the experiment's own test split


@dataclass(frozen=True)
class Task:
    """A task of an evaluation as it was named, and what it is."""

    name: str
    base: str  # the task whose data it has: `evaluation.data` names it so
    definition: InstructionTask | LmEvalTask


def of_model(
    settings: Evaluation,
    model: Artifact,
    tasks: Iterable[Artifact],
    teachers: Iterable[Artifact],
    *others: tuple[str, Artifact],
) -> Artifact:
    """The evaluation of a checkpoint; teachers are read only where a task asks them."""
    asked = [*(("teacher", one) for one in teachers)] if EXPOSURE in settings.tasks else []
    return Artifact.of(
        "evals",
        model.name,
        job(settings).model_dump(mode="json"),
        ("model", model),
        *(("task", one) for one in tasks),
        *asked,
        *others,
    )


def job(settings: Evaluation) -> EvaluationJob:
    """What an evaluation job may know: of suites, their tasks."""
    found = []
    for name in settings.tasks:
        if name in TEST_SPLIT_TASKS:
            generation = _generation(settings, settings.sampling) if name in WRITTEN else None
            found.append(EvaluationTask(name=name, generation=generation))
            continue
        for one in _tasks([name]):
            found.append(
                EvaluationTask(name=one.name, generation=_of_task(settings, one.definition))
            )
    return EvaluationJob(tasks=found, items=settings.items, seed=settings.seed)


def _of_task(
    settings: Evaluation, definition: InstructionTask | LmEvalTask
) -> GenerationSettings | None:
    if isinstance(definition, LmEvalTask):
        return None
    generation = _generation(settings, definition.sampling or settings.sampling)
    return generation.model_copy(update={"prompt_tokens": settings.prompt_tokens})


def _generation(settings: Evaluation, sampling: Sampling) -> GenerationSettings:
    """Where nothing is drawn, all decoding seeds are one."""
    seeds = settings.decoding_seeds if sampling.temperature else [0]
    tokens = settings.max_new_tokens
    return GenerationSettings(sampling=sampling, decoding_seeds=seeds, max_new_tokens=tokens)


def tasks(settings: Evaluation, data: Artifact) -> list[Artifact]:
    """The tasks that have items of their own. What is local enters their ids by its digest."""
    found = _tasks([name for name in settings.tasks if name not in TEST_SPLIT_TASKS])
    return [
        Artifact.of(
            "tasks",
            re.sub(r"[^A-Za-z0-9_.-]", "_", one.name),
            _job(settings, one).model_dump(mode="json"),
            ("data", data),
        )
        for one in found
    ]


def _tasks(names: Sequence[str]) -> list[Task]:
    return [Task(name, *found) for one in names for name, found in definitions.expand(one).items()]


def _job(settings: Evaluation, task: Task) -> TaskJob:
    given, definition = settings.data.get(task.base), task.definition
    if isinstance(given, LocalFiles):
        given = given.model_copy(update={"digests": {one: _digest(one) for one in given.paths}})
    if isinstance(definition, InstructionTask):
        return TaskJob(task=_instruction(task.name, definition, given))
    return TaskJob(
        task=LmEvalJob(
            kind="lm_eval",
            task=task.name,
            lm_eval_task=definition.task or task.base,
            version=metadata.version("lm_eval"),
            shots=definition.shots,
            source=given,
            columns=definition.columns if given is None else given.columns or definition.columns,
            text=definition.text,
            exclude=definition.exclude,
            nltk=definition.nltk,
        )
    )


def _instruction(
    name: str, definition: InstructionTask, given: LocalFiles | HubDataset | None
) -> InstructionJob:
    columns, source = definition.columns, definition.data
    if given is not None and given.columns is not None:
        columns = Columns.model_validate(given.columns)
    if isinstance(given, HubDataset):
        fields = {"name": given.hub, "config": given.config, "revision": given.revision}
        source = ItemSource(**fields, split=given.split or definition.data.split)
    return InstructionJob(
        kind="instruction",
        task=name,
        source=given if isinstance(given, LocalFiles) else source,
        columns=columns,
        template=definition.template,
        first=definition.first,
    )


def _digest(file: str) -> str:
    path = Path(file)
    return of_tree(path) if path.is_dir() else of_file(path)


def faults(settings: Evaluation) -> list[str]:
    """Everything that is wrong with the tasks and their data, a line each."""
    return [*_task_faults(settings), *_data_faults(settings)]


def _task_faults(settings: Evaluation) -> Iterator[str]:
    for at, name in enumerate(settings.tasks):
        place = f"evaluation.tasks.{at}"
        if name in settings.tasks[:at]:
            yield f"{place}: {name!r} is listed twice"
        elif name not in (*TEST_SPLIT_TASKS, *definitions.names()):
            yield from _lm_eval_faults(place, name)
    listed = [
        one.name
        for one in _tasks([name for name in settings.tasks if name not in TEST_SPLIT_TASKS])
    ]
    twice = {name for name in listed if listed.count(name) > 1} - set(settings.tasks)
    yield from (f"evaluation.tasks: {name!r} is in two suites" for name in sorted(twice))
    for seed in {one for one in settings.decoding_seeds if settings.decoding_seeds.count(one) > 1}:
        yield f"evaluation.decoding_seeds: {seed} is listed twice"


def _lm_eval_faults(place: str, name: str) -> Iterator[str]:
    if not lm_eval_index.files(name):
        own = [*TEST_SPLIT_TASKS, *definitions.names()]
        near = difflib.get_close_matches(name, [*own, *lm_eval_index.index()], n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        yield (
            f"{place}: {name!r} is no task; {meant}there are {', '.join(own)}, and what lm-eval "
            f"{metadata.version('lm_eval')} has"
        )
    elif lm_eval_index.is_in_python(name):
        yield (
            f"{place}: lm-eval makes the documents of {name!r} by code of its own; they can't be "
            "kept with a digest, so that it is not supported"
        )


def _data_faults(settings: Evaluation) -> Iterator[str]:
    listed = {
        one.base: one
        for one in _tasks([one for one in settings.tasks if one not in TEST_SPLIT_TASKS])
    }
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
        if not path.exists():
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
