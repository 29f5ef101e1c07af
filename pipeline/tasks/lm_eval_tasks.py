"""Tasks of lm-eval on documents of ours: its prompts and its scoring, and nothing of its data."""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from pipeline.tasks import lm_eval_index
from pipeline.tasks.documents import Loader, Splits

FEWSHOT_SEED = 1234  # lm-eval's own default
EVALUATION = "evaluation"  # stands for the split that a task is evaluated on

TaskDict = dict[str, Any]  # what lm-eval evaluates: tasks, groups, and which is in which


def load(name: str, loader: Loader, shots: int | None, made_from: str) -> TaskDict:
    """A task, group or tag of lm-eval with all that is in it, on documents that `loader` gives.

    `made_from` is noted in the metadata of each task, and so in lm-eval's results.

    Raises:
        ValueError: for a task whose data can't be replaced, or a document that doesn't suit it.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every replaced data set
    folders = list(lm_eval_index.folders(name))
    manager = TaskManager(include_path=folders, include_defaults=False)
    try:
        for entry in _reached(manager.task_index, name):
            if entry.kind is Kind.TASK:
                _replace_data(entry, loader, shots, made_from)
        found: TaskDict = dict(manager.load([name]))
    except ImportError as error:
        raise ValueError(f"{name} needs a package that is not installed: {error}") from error
    except (TemplateError, KeyError, TypeError, AssertionError, IndexError) as error:
        raise ValueError(
            f"lm-eval can't make {name} of these documents: {error!r}; name the right columns in "
            "evaluation.data"
        ) from error
    for task in found["tasks"].values():
        _check(task)
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(FEWSHOT_SEED)
    return found


def _reached(index: Mapping[str, Entry], name: str) -> list[Entry]:
    """The entry of a name, and of all that is in it."""
    waiting, found = [name], {}
    while waiting:
        one = waiting.pop()
        if one in index and one not in found:
            found[one] = index[one]
            waiting += _members(index[one])
    return list(found.values())


def _members(entry: Entry) -> list[str]:
    if entry.kind is Kind.TAG:
        return sorted(entry.tags)
    listed = (entry.cfg or {}).get("task") if entry.kind is Kind.GROUP else None
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, str):
            found.append(one)
        else:
            found += [one[key] for key in ("task", "group") if isinstance(one.get(key), str)]
            found += [part for part in one.get("task", ()) if isinstance(part, str)]
    return found


def _replace_data(entry: Entry, loader: Loader, shots: int | None, made_from: str) -> None:
    """Changes an entry of lm-eval's index: read where a task is made, alone, in a group or tag."""
    config = dict(load_yaml(entry.yaml_path, resolve_func=False))
    replaced = {key: config.get(key) for key in ("dataset_path", "dataset_name")}

    def resolved() -> Splits:
        return loader(entry.name, config)

    full = load_yaml(entry.yaml_path, resolve_func=True)
    metadata = full.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {"version": metadata}
    entry.cfg = {
        **full,
        **({} if shots is None else {"num_fewshot": shots}),
        "custom_dataset": lambda **_: resolved(),
        "metadata": {**metadata, "documents": made_from, "replaces": replaced},
    }
    entry.yaml_path = None


def _check(task: Any) -> None:
    """Raises ValueError for a task whose documents are not those of its entry."""
    if not isinstance(task, ConfigurableTask):
        raise ValueError(f"{task.task_name} is defined in Python: its data can't be held here")
    replaced = (task.config.metadata or {}).get("replaces", {})
    for key, value in replaced.items():
        if task.get_config(key) != value:
            raise ValueError(
                f"{task.task_name}: its group changes {key} from {value!r} to "
                f"{task.get_config(key)!r}, which is not supported; name the task itself"
            )


def evaluation_split(config: Mapping[str, Any]) -> str:
    """The split that a task is evaluated on. Raises ValueError if it has none."""
    split = config.get("test_split") or config.get("validation_split")
    if not split:
        raise ValueError(f"{config.get('task')} has no split to be evaluated on")
    return split


def example_split(config: Mapping[str, Any]) -> str | None:
    """The split that lm-eval takes a task's examples from, read even where it takes none."""
    few = config.get("fewshot_config") or {}
    if few.get("samples") is not None and not few.get("split"):
        return None
    named = few.get("split") or config.get("fewshot_split")
    return named or config.get("training_split") or config.get("validation_split")


def described(task: ConfigurableTask) -> dict[str, Any]:
    """The configuration of a task, its functions as they are."""
    return task.config.to_dict(keep_callable=True)


def needed(task: ConfigurableTask) -> dict[str, Dataset]:
    """The splits that an evaluation reads: without examples in the prompt, none of those."""
    config = described(task)
    kept = {evaluation_split(config): True}
    if (split := example_split(config)) is not None:
        kept.setdefault(split, bool(task.config.num_fewshot))
    return {
        split: task.dataset[split] if whole else task.dataset[split].select([])
        for split, whole in kept.items()
    }


def leaves(tasks: TaskDict, name: str) -> dict[str, Any]:
    """The tasks that are scored together under a name: those of a group, or the task alone."""
    group = tasks["groups"].get(name)
    return {one.task_name: one for one in group.get_all_tasks()} if group else tasks["tasks"]


def top_group(tasks: TaskDict, name: str) -> Group | None:
    """The group of that name, where lm-eval scores it as one."""
    group = tasks.get("groups", {}).get(name)
    return group if group is not None and group.has_aggregation else None


def texts(task: ConfigurableTask) -> Iterator[tuple[str, list[Any]]]:
    """Prompt and answers of each document: what a faulty one can't give.

    Raises:
        ValueError: for a document that the task can't read.
    """
    for at, document in enumerate(task.eval_docs):
        try:
            choices = partial(task.doc_to_choice, document)
            answers = choices() if task.config.doc_to_choice else [task.doc_to_target(document)]
            yield str(task.doc_to_text(document)), answers
        except Exception as error:
            raise ValueError(
                f"{task.task_name}: document {at} does not suit it ({error}); it has "
                f"{', '.join(document)}; name the right columns in evaluation.data"
            ) from error
