"""The evaluation of a checkpoint, and its tasks, as artifacts."""

import re
from importlib import metadata
from pathlib import Path

from pipeline.settings.data import AnyTemplate, ChatTemplate, Columns, Template
from pipeline.settings.evaluation import (
    TEST_SPLIT_TASKS,
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
from pipeline.tasks.definitions import (
    InstructionTask,
    LmEvalTask,
    Task,
    listed_tasks,
)
from workflow.grid.artifact import Artifact
from workflow.grid.digests import of_file, of_tree, with_text

EXPOSURE = "exposure"  # the one task that asks the teachers themselves
WRITTEN = ("responses", EXPOSURE)  # of the experiment's own test split


def job(
    settings: Evaluation, template: AnyTemplate | None = None, per_byte: bool = False
) -> EvaluationJob:
    """What an evaluation job may know: of suites, their tasks; of chats, how lm-eval asks."""
    found = []
    for name in settings.tasks:
        if name in TEST_SPLIT_TASKS:
            generation = _generation(settings, settings.sampling) if name in WRITTEN else None
            found.append(EvaluationTask(name=name, generation=generation))
            continue
        for one in listed_tasks([name]):
            found.append(
                EvaluationTask(name=one.name, generation=_of_task(settings, one.definition))
            )
    is_plain = all(task.generation or task.name in TEST_SPLIT_TASKS for task in found)
    asked = None if is_plain or template is None else with_text(template)
    chat = asked if isinstance(asked, ChatTemplate) else None
    return EvaluationJob(
        tasks=found, items=settings.items, seed=settings.seed, chat=chat, per_byte=per_byte
    )


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


def tasks(
    settings: Evaluation, data: Artifact, template: AnyTemplate | None = None
) -> list[Artifact]:
    """The tasks that have items of their own. What is local enters their ids by its digest.

    Where the template of the training is a chat's, instruction tasks ask through it, too.
    """
    asked = with_text(template) if template else None
    found = listed_tasks(settings.tasks)
    return [
        Artifact.of(
            "tasks",
            re.sub(r"[^A-Za-z0-9_.-]", "_", one.name),
            _job(settings, one, asked).model_dump(mode="json"),
            ("data", data),
        )
        for one in found
    ]


def _job(settings: Evaluation, task: Task, template: AnyTemplate | None) -> TaskJob:
    given, definition = settings.data.get(task.base), task.definition
    if isinstance(given, LocalFiles):
        given = given.model_copy(update={"digests": {one: _digest(one) for one in given.paths}})
    if isinstance(definition, InstructionTask):
        job = _instruction(task.name, definition, given, template)
        return TaskJob(task=job.model_copy(update={"few_shot": settings.few_shot}))
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
    name: str,
    definition: InstructionTask,
    given: LocalFiles | HubDataset | None,
    template: AnyTemplate | None,
) -> InstructionJob:
    columns, source = definition.columns, definition.data
    if given is not None and given.columns is not None:
        columns = Columns.model_validate(given.columns)
    if isinstance(given, HubDataset):
        fields = {"name": given.hub, "config": given.config, "revision": given.revision}
        source = ItemSource(**fields, split=given.split or (source.split if source else None))
    own = definition.template if not isinstance(template, ChatTemplate) else None
    return InstructionJob(
        kind="instruction",
        task=name,
        source=given if isinstance(given, LocalFiles) else source,
        columns=columns,
        template=own or template or Template(),
        first=definition.first,
        scored_by=definition.scored_by,
    )


def _digest(file: str) -> str:
    path = Path(file)
    return of_tree(path) if path.is_dir() else of_file(path)
