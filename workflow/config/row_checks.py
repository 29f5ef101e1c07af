"""Checks of local tables by their first rows: what a job would refuse in its first second.

Rows behind the first are looked at by the job that reads them all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pyarrow import ArrowException
from pydantic import ValidationError

from pipeline.data.first_rows import first_row
from pipeline.data.plain_texts import read_plain_texts
from pipeline.data.rows_to_examples import to_example
from pipeline.settings.data import ChatTemplate, Columns, Docstrings, Files, Hub, named_sources
from pipeline.settings.evaluation import LocalFiles
from pipeline.settings.experiment import Experiment
from pipeline.tasks import lm_eval_index, local_documents, task_folder
from pipeline.tasks.definitions import InstructionTask, LmEvalTask, Task, listed_tasks
from pipeline.tasks.item_rows import to_item
from pipeline.tasks.lm_eval_splits import check_named
from pipeline.tasks.task_folder import OwnTasks
from workflow.config.config_file import exists
from workflow.config.data_checks import TABLE_KEYS, paths_of


def faults(experiment: Experiment) -> Iterator[str]:
    """What is wrong with the first rows of local data, a line for each key."""
    are_chats = isinstance(experiment.data.template, ChatTemplate)
    own = task_folder.of_settings(experiment.evaluation)
    for place, source in named_sources(experiment.data.examples).items():
        if not isinstance(source, Docstrings):
            yield from _example_faults(source, place, are_chats=are_chats)
    for task in listed_tasks(experiment.evaluation.tasks):
        source, definition = experiment.evaluation.data.get(task.base), task.definition
        if not isinstance(source, LocalFiles) or not all(map(exists, source.paths)):
            continue
        if isinstance(definition, InstructionTask):
            fault = _item_fault(task, definition, source, are_chats=are_chats)
        else:
            fault = _document_fault(task, definition, source, own)
        if fault:
            yield f"evaluation.data.{task.base}: {fault}"


def _example_faults(source: Files | Hub, place: str, *, are_chats: bool) -> Iterator[str]:
    def check(path: Path) -> None:
        if row := first_row(path):
            to_example(row, source.columns, path.stem, source.empty_responses, are_chats=are_chats)

    for key in TABLE_KEYS:
        paths = paths_of(source, key)
        is_prose = key == "plain_text"
        fault = _prose_fault(paths) if is_prose else _fault(partial(check, path) for path in paths)
        if fault:
            of_mixture = fault.replace("data.examples", place)
            yield f"{place}.{key} = {getattr(source, key)!r}: {of_mixture}"


def _prose_fault(paths: Sequence[Path]) -> str | None:
    """Why files have no plain text, as far as the first text of each tells."""
    texts: list[str | None] = []

    def read(path: Path) -> None:
        texts.append(next(read_plain_texts(path), None))

    fault = _fault(partial(read, path) for path in paths)
    is_blank = len(texts) == len(paths) > 0 and not any(texts)
    return fault or ("no text is in it; name another, or leave the key out" if is_blank else None)


def _item_fault(
    task: Task, definition: InstructionTask, source: LocalFiles, *, are_chats: bool
) -> str | None:
    """Why the files of an instruction task have no items as far as their first rows tell."""
    columns = definition.columns
    if source.columns is not None:
        try:
            columns = Columns.model_validate(source.columns)
        except ValidationError:
            return None  # `evaluation_checks` reports it

    def check(path: Path) -> None:
        if row := first_row(path):
            to_item(row, task.base, columns, definition.scored_by, are_chats=are_chats)

    paths = source.paths if definition.first is None else source.paths[:1]
    return _fault(partial(check, Path(path)) for path in paths)


def _document_fault(
    task: Task, definition: LmEvalTask, source: LocalFiles, own: OwnTasks | None
) -> str | None:
    """Why the files of a task of lm-eval have no documents, as far as their first rows tell."""
    if Path(source.paths[0]).is_dir():
        return None
    name, columns = definition.task or task.base, source.columns or definition.columns
    values = _task_values(name, own)
    if not values:
        return (
            f"{task.base} is several tasks, which can't share files: name a folder laid out like "
            "their data set"
        )
    of_splits = partial(check_named, task.base, list(source.by_split), values, definition.shots)
    of_rows = [
        partial(local_documents.check_beginning, files, columns, definition.text)
        for files in source.by_split.values()
    ]
    return _fault([of_splits, *of_rows])


def _task_values(name: str, own: OwnTasks | None) -> Mapping[str, object]:
    """What the YAML files of a task say; empty for a group or a tag."""
    definitions = own.of_name(name) if own is not None else []
    if own is not None and definitions:
        return {} if own.is_several(name) else definitions[0].values
    of_lm_eval = lm_eval_index.definitions(name).values()
    return next((values for values in of_lm_eval if values.get("task") == name), {})


def _fault(checks: Iterable[Callable[[], object]]) -> str | None:
    """What the first of some checks of files says that refuses its file."""
    for check in checks:
        try:
            check()
        except ValueError as error:
            return str(error)
        except (OSError, RecursionError, ArrowException):
            continue  # the job that reads it says what is wrong, and where
    return None
