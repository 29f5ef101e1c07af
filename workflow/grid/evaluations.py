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
    TaskFolder,
    TaskJob,
)
from pipeline.settings.generation import Sampling
from pipeline.tasks import definitions, task_folder
from pipeline.tasks.definitions import InstructionTask, LmEvalTask, Task, listed_tasks
from workflow.grid.artifact import Artifact
from workflow.grid.digests import of_file, of_tree, with_text

EXPOSURE = "exposure"  # the one task that asks the teachers themselves
WRITTEN = ("responses", EXPOSURE)  # of the experiment's own test split


def job(
    settings: Evaluation, template: AnyTemplate | None = None, per_byte: bool = False
) -> EvaluationJob:
    """What an evaluation job may know: of suites, their tasks; of chats, how lm-eval asks."""
    asked: list[EvaluationTask] = []
    for name in settings.tasks:
        if name in TEST_SPLIT_TASKS:
            generation = _generation(settings, settings.sampling) if name in WRITTEN else None
            asked.append(EvaluationTask(name=name, generation=generation))
            continue
        for task in listed_tasks([name]):
            generation = _of_task(settings, task.definition)
            asked.append(EvaluationTask(name=task.name, generation=generation))
    has_lm_eval = any(not task.generation and task.name not in TEST_SPLIT_TASKS for task in asked)
    whole = with_text(template) if template and has_lm_eval else None
    return EvaluationJob(
        tasks=asked,
        items=settings.items,
        seed=settings.seed,
        chat=whole if isinstance(whole, ChatTemplate) else None,
        per_byte=per_byte,
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
    whole = with_text(template) if template else None
    return [
        Artifact.of(
            "tasks",
            re.sub(r"[^A-Za-z0-9_.-]", "_", task.name),
            _job(settings, task, whole).model_dump(mode="json"),
            ("data", data),
        )
        for task in listed_tasks(settings.tasks)
    ]


def _job(settings: Evaluation, task: Task, template: AnyTemplate | None) -> TaskJob:
    source, definition = settings.data.get(task.base), task.definition
    if isinstance(source, LocalFiles):
        digests = {path: _of_any(Path(path)) for path in source.paths}
        source = source.model_copy(update={"digests": digests})
    if isinstance(definition, InstructionTask):
        job = _instruction(task.name, definition, source, template)
        return TaskJob(task=job.model_copy(update={"few_shot": settings.few_shot}))
    return TaskJob(
        task=LmEvalJob(
            kind="lm_eval",
            task=task.name,
            lm_eval_task=definition.task or task.base,
            version=metadata.version("lm_eval"),
            shots=definition.shots,
            source=source,
            columns=definition.columns if source is None else source.columns or definition.columns,
            text=definition.text,
            exclude=definition.exclude,
            nltk=definition.nltk,
            folder=_folder(settings, task.base),
        )
    )


def _folder(settings: Evaluation, name: str) -> TaskFolder | None:
    """What a task of the user's own may read, by digest; None for a task of lm-eval."""
    own = task_folder.of_settings(settings)
    if own is None or name in definitions.names() or not own.of_name(name):
        return None
    files = {str(path.relative_to(own.root)): of_file(path) for path in own.files(name)}
    data = {str(path): _of_any(path) for path in own.data_elsewhere(name)}
    return TaskFolder(path=str(own.root), files=files, data=data)


def _of_any(path: Path) -> str:
    return of_tree(path) if path.is_dir() else of_file(path)


def _instruction(
    name: str,
    definition: InstructionTask,
    source: LocalFiles | HubDataset | None,
    template: AnyTemplate | None,
) -> InstructionJob:
    columns, items = definition.columns, definition.data
    if source is not None and source.columns is not None:
        columns = Columns.model_validate(source.columns)
    if isinstance(source, HubDataset):
        split = source.split or (items.split if items else None)
        items = ItemSource(
            name=source.hub, config=source.config, revision=source.revision, split=split
        )
    own = definition.template if not isinstance(template, ChatTemplate) else None
    return InstructionJob(
        kind="instruction",
        task=name,
        source=source if isinstance(source, LocalFiles) else items,
        columns=columns,
        template=own or template or Template(),
        first=definition.first,
        scored_by=definition.scored_by,
    )
