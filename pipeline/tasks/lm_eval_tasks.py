"""lm-eval's tasks on documents of ours: its prompts and its scoring, and nothing of its data.

lm-eval caches prompts and answers under keys that know neither data nor model. None of its caches
is used: each task gets a YAML file that includes lm-eval's definition and names a function that
supplies the documents. Those of an evaluation come from an artifact that has a digest.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from datasets import Dataset
from jinja2 import TemplateError
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from pipeline.artifacts import checksums
from pipeline.tasks import lm_eval_index, task_folder
from pipeline.tasks.lm_eval_splits import Definition, evaluation_split, fewshot_split

FEWSHOT_SEED = 1234  # lm-eval's own default
DATASET = ("dataset_path", "dataset_name")  # in a definition: what the documents stand for
REPLACES = "replaces"  # in what a task gets from us: what it named before
DOCUMENTS, SUFFIX = "documents", ".arrow"
OWN = "task_folder"  # copies of the files of a task of the user's own, beside its documents

Splits = Mapping[str, Dataset]  # documents by split


@dataclass(frozen=True)
class LoadedTasks:
    """The tasks that lm-eval evaluates together: one, or those of a group or tag."""

    tasks: dict[str, ConfigurableTask]
    groups: dict[str, Group]

    @property
    def task_dict(self) -> dict[str, Any]:
        """The argument of lm-eval's `evaluate`."""
        members = {name: group.child_names for name, group in self.groups.items()}
        return {"tasks": self.tasks, "groups": self.groups, "group_map": members}

    def group(self, name: str) -> Group | None:
        """The group of that name, where lm-eval scores it as one."""
        group = self.groups.get(name)
        return group if group is not None and group.has_aggregation else None


@dataclass(frozen=True)
class Supplier:
    """A function that lm-eval calls for a task's documents, and the arguments that it then gets."""

    function: str  # its import path
    arguments: Callable[[str, Definition], Mapping[str, object]]  # as JSON can hold them


def folders(name: str, own: Path | None) -> list[str | Path]:
    """The folders that define a task, group or tag of lm-eval's, or of a folder of the user's."""
    if own is None:
        return [*lm_eval_index.folders(name)]
    return task_folder.read(own.absolute()).folders(name)  # a file elsewhere will include its files


def load(
    name: str, supplier: Supplier, shots: int | None, documents_id: str, own: Path | None = None
) -> LoadedTasks:
    """A task, group or tag of lm-eval with all its members, on documents from `supplier`.

    `documents_id` enters the metadata of each task, and so lm-eval's results. `own` is a folder of
    the user's that defines the task. Its Python is imported here, and nowhere else.

    Raises:
        ValueError: for a task whose data can't be replaced, or documents that don't suit it.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every replaced definition
    sys.dont_write_bytecode |= own is not None  # an artifact holds what was copied, and no more
    paths = folders(name, own)
    with tempfile.TemporaryDirectory() as overrides:
        try:
            manager = TaskManager(include_path=paths, include_defaults=False)
            for task in manager.all_subtasks:
                entry = manager.task_index[task]
                text = _override(entry.yaml_path, entry.cfg or {}, supplier, shots, documents_id)
                (Path(overrides) / f"{quote(task, safe='')}.yaml").write_text(text, "utf-8")
            manager = TaskManager(include_path=[*paths, overrides], include_defaults=False)
            loaded = manager.load([name])
        except ImportError as error:
            raise ValueError(f"{name} needs a package that is not installed: {error}") from error
        except (TemplateError, KeyError, TypeError, AssertionError, IndexError) as error:
            raise ValueError(
                f"lm-eval can't make {name} of these documents: {error!r}; name the right columns "
                "in evaluation.data, or correct a task of your own"
            ) from error
    tasks = {task: _ready(loaded_task) for task, loaded_task in loaded["tasks"].items()}
    for task in tasks if own else ():
        if REPLACES not in (tasks[task].get_config("dataset_kwargs") or {}):
            raise ValueError(f"{task}: its group changes its data; give it a file of its own")
    return LoadedTasks(tasks, loaded.get("groups", {}))


def _override(
    base: Path | None,
    definition: Definition,
    supplier: Supplier,
    shots: int | None,
    documents_id: str,
) -> str:
    """A YAML file that defines a task as lm-eval does, but for its documents and shots."""
    metadata = definition.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {"version": metadata}
    arguments = supplier.arguments(definition["task"], definition)
    replaced = {key: definition.get(key) for key in DATASET}
    lines = {
        "include": str(base),
        "dataset_kwargs": {REPLACES: replaced, **arguments},
        "metadata": {**metadata, "documents": documents_id},
        **({} if shots is None else {"num_fewshot": shots}),
    }
    keys = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items()]
    return "".join(keys) + f"custom_dataset: !function {supplier.function}\n"


def _ready(task: Any) -> ConfigurableTask:
    """The task with what every evaluation sets. Raises ValueError if its documents aren't ours."""
    if not isinstance(task, ConfigurableTask):
        raise ValueError(f"{task.task_name} is defined in Python: its data can't be held here")
    if task.config.unsafe_code or task.config.doc_to_image or task.config.doc_to_audio:
        raise ValueError(f"{task.task_name} runs a model's code, or shows pictures or sound")
    for key, value in (task.get_config("dataset_kwargs") or {}).get(REPLACES, {}).items():
        if task.get_config(key) != value:
            raise ValueError(
                f"{task.task_name}: its group changes {key} from {value!r} to "
                f"{task.get_config(key)!r}, which is not supported; name the task itself"
            )
    metadata = {**(task.get_config("metadata") or {})}
    metadata.pop("config_source", None)  # the temporary file
    task.set_config("metadata", metadata)
    if task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def write_documents(folder: Path, documents: Mapping[str, Splits]) -> None:
    """The splits of each task, an Arrow file each: Parquet has no empty structs, documents have."""
    for task, splits in documents.items():
        task_folder = _task_folder(folder, task)
        task_folder.mkdir(parents=True)
        for split, rows in splits.items():
            table = arrow_table(rows)
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            path = str(task_folder / f"{split}{SUFFIX}")
            with pa.ipc.new_file(path, table.schema, options=options) as file:
                file.write_table(table)


def arrow_table(rows: Dataset) -> pa.Table:
    """The rows of a data set, without rows that a filter left out."""
    table = rows.with_format("arrow")[:]
    assert isinstance(table, pa.Table)
    return table


def _task_folder(folder: Path, task: str) -> Path:
    return folder / DOCUMENTS / quote(task, safe="")


def stored(folder: Path) -> Supplier:
    """The documents that an artifact holds. Raises ValueError for damaged ones."""
    checksums.verify(folder, f"{DOCUMENTS}/*")
    return Supplier(
        f"{__name__}.read_splits",
        lambda task, _: {"splits_folder": str(_task_folder(folder, task))},
    )


def own_folder(folder: Path) -> Path | None:
    """The user's files that an artifact holds copies of, if any. Raises ValueError for damage."""
    checksums.verify(folder, f"{OWN}/*")
    return folder / OWN if (folder / OWN).is_dir() else None


def read_splits(*, splits_folder: str, **_: object) -> dict[str, Dataset]:
    """The splits of a task that `write_documents` wrote, as lm-eval asks for them."""
    files = sorted(Path(splits_folder).glob(f"*{SUFFIX}"))
    if not files:
        raise ValueError(f"{splits_folder} holds no documents; delete its task and run again")
    # in memory: `datasets` would else keep a copy in a cache of its own
    return {path.stem: Dataset(read_documents(path)) for path in files}


def read_documents(path: Path) -> pa.Table:
    """A split that `write_documents` wrote, in memory."""
    return pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()


def definition_of(task: ConfigurableTask) -> Definition:
    """The configuration of a loaded task, its functions as they are."""
    return task.config.to_dict(keep_callable=True)


def required_splits(definition: Definition, shots: int | None, splits: Splits) -> Splits:
    """The splits that an evaluation reads: without examples in the prompt, none of their rows."""
    keep_rows = {evaluation_split(definition): True}
    if (split := fewshot_split(definition)) is not None:
        keep_rows.setdefault(split, bool(shots))
    return {
        split: splits[split] if keep else splits[split].select([])
        for split, keep in keep_rows.items()
    }


def lacking_answers(task: ConfigurableTask) -> Iterator[bool]:
    """Tries each document: whether its right answer is none of its choices, so that all are wrong.

    Raises:
        ValueError: for a document that the task can't read.
    """
    for number, document in enumerate(task.eval_docs):
        assert isinstance(document, Mapping)
        try:
            task.doc_to_text(document)
            (task.doc_to_choice if task.config.doc_to_choice else task.doc_to_target)(document)
            yield _lacks_answer(task, document)
        except Exception as error:
            raise ValueError(
                f"{task.task_name}: document {number} does not suit it ({error}); it has "
                f"{', '.join(document)}; name the right columns in evaluation.data, or correct a "
                "task of your own"
            ) from error


def _lacks_answer(task: ConfigurableTask, document: Mapping[str, Any]) -> bool:
    if task.OUTPUT_TYPE != "multiple_choice" or task.config.process_results is not None:
        return False
    choices = task.doc_to_choice(document)
    right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    return not any(
        each in choices if isinstance(each, str) else each in range(len(choices))
        for each in (right if isinstance(right, list) else [right])
    )
