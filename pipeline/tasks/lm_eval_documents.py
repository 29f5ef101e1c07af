"""Gathers the documents of a task of lm-eval, from the hub, a folder laid out like it, or files."""

import importlib.util
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict
from lm_eval.tasks import TaskManager

from pipeline.artifacts import checksums
from pipeline.artifacts.own_measures import Measures
from pipeline.data.datasets_library import FORMATS
from pipeline.data.examples import Example
from pipeline.data.rows import strings
from pipeline.settings.evaluation import HubDataset, LmEvalJob, LocalFiles, TaskFolder
from pipeline.tasks import hub, lm_eval_tasks, local_documents, measures, task_folder
from pipeline.tasks.contamination import Contamination, contaminated_texts
from pipeline.tasks.lm_eval_splits import (
    EVALUATION,
    Definition,
    check_named,
    evaluation_split,
    fewshot_split,
)
from pipeline.tasks.lm_eval_tasks import Splits, Supplier, arrow_table
from pipeline.tasks.own_data import LocalData, local_data


@dataclass(frozen=True)
class TaskDocuments:
    """Documents by task and split, where they come from, and what they share with training."""

    documents: Mapping[str, Splits]
    counts: dict[str, int]  # of the documents that each task is evaluated on
    origins: dict[str, hub.Origin]
    contamination: Contamination
    measures: Measures  # of a task of the user's own; empty for those of lm-eval
    warnings: Sequence[str]

    @property
    def count(self) -> int:
        """The number of documents to evaluate on."""
        return sum(self.counts.values())

    def tables(self) -> dict[str, pa.Table]:
        """The documents of each split, by task and split."""
        return {
            f"{task} {split}": arrow_table(rows)
            for task, splits in self.documents.items()
            for split, rows in splits.items()
        }


def gather(job: LmEvalJob, train: Sequence[Example], folder: Path) -> TaskDocuments:
    """Writes what an evaluation reads to `folder`, and tries every document.

    Raises:
        ValueError: for data that can't be had, or a document that does not suit its task.
    """
    _require_nltk(job)
    source, own = job.source, _copy(job.folder, folder) if job.folder else None
    if isinstance(source, LocalFiles) and not Path(source.paths[0]).is_dir():
        gathered, origins = _from_files(job, source, own)
    else:
        gathered, origins = _from_datasets(job, own)
    documents = {
        task: {split: _without_excluded(rows, job) for split, rows in splits.items()}
        for task, splits in gathered.items()
    }
    lm_eval_tasks.write_documents(folder, documents)

    stored = lm_eval_tasks.stored(folder)
    loaded = lm_eval_tasks.load(job.lm_eval_task, stored, job.shots, job.task, own)
    lost = {name: [*lm_eval_tasks.lacking_answers(task)] for name, task in loaded.tasks.items()}
    counts = {name: len(each) for name, each in lost.items()}
    evaluated = {
        name: documents[name][evaluation_split(lm_eval_tasks.definition_of(task))]
        for name, task in loaded.tasks.items()
    }
    shared = _shared_with_training(evaluated, train)
    measured = measures.of_task(job.task, loaded) if own else {}
    warnings = tuple(_warnings(job.task, lost))
    return TaskDocuments(documents, counts, origins, shared, measured, warnings)


def _shared_with_training(
    evaluated: Mapping[str, Dataset], train: Sequence[Example]
) -> Contamination:
    ids = [f"{name}[{number}]" for name, rows in evaluated.items() for number in range(len(rows))]
    texts = [strings(row) for rows in evaluated.values() for row in rows]
    return Contamination((), (), contaminated_texts(ids, texts, train))


def _warnings(task: str, lost: Mapping[str, Sequence[bool]]) -> Iterator[str]:
    """Says where answers are none of the choices. Raises ValueError if none of them is."""
    of_all = [is_lost for of_task in lost.values() for is_lost in of_task]
    if of_all and all(of_all):
        raise ValueError(
            f"{task}: the answer of no document is among its choices, so that any model would "
            "score 0; name the right columns in evaluation.data, or correct a task of your own"
        )
    for name, of_task in lost.items():
        if any(of_task):
            yield (
                f"the answers of {sum(of_task)} of {len(of_task)} documents of {name} are none of "
                "their choices: no model is right there"
            )


def _copy(made_of: TaskFolder, folder: Path) -> Path:
    """Copies of a task's files, from which it is loaded from now on, whatever is edited.

    Raises:
        ValueError: for a file that is another than the workflow has seen.
    """
    own = folder / lm_eval_tasks.OWN
    for name in made_of.files:
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(made_of.path) / name, own / name)
    for name, copied in checksums.digests(own).items():
        if not copied["sha256"].startswith(made_of.files[name]):
            raise ValueError(
                f"{Path(made_of.path) / name} was edited after this run began; start it again"
            )
    return own


def _from_files(
    job: LmEvalJob, source: LocalFiles, own: Path | None
) -> tuple[Mapping[str, Splits], dict[str, hub.Origin]]:
    key = f"evaluation.data.{job.task}"
    folders = lm_eval_tasks.folders(job.lm_eval_task, own)
    manager = TaskManager(include_path=folders, include_defaults=False)
    if job.lm_eval_task not in manager.all_subtasks:
        raise ValueError(
            f"{job.task} is several tasks, which can't share files: name a folder laid out like "
            f"their data set in {key}"
        )
    definition = manager.task_index[job.lm_eval_task].cfg or {}
    check_named(job.task, source.by_split, definition, job.shots)
    evaluated, examples = evaluation_split(definition), fewshot_split(definition)
    splits: dict[str, Dataset] = {}
    for split, files in source.by_split.items():
        rows = local_documents.read(files, source.columns or job.columns, job.text)
        splits[evaluated if split == EVALUATION else split] = as_dataset(rows, ", ".join(files))

    if examples is not None:
        splits.setdefault(examples, splits[evaluated].select([]))
    shots = definition.get("num_fewshot") if job.shots is None else job.shots
    documents = lm_eval_tasks.required_splits(definition, shots, splits)
    origin = hub.Origin(", ".join(source.paths), None)
    return {job.lm_eval_task: documents}, {job.lm_eval_task: origin}


def _from_datasets(
    job: LmEvalJob, own: Path | None
) -> tuple[Mapping[str, Splits], dict[str, hub.Origin]]:
    supplier = Supplier(f"{__name__}.download", partial(_download_arguments, job, own))
    tasks = lm_eval_tasks.load(job.lm_eval_task, supplier, job.shots, job.task, own).tasks
    documents = {
        name: lm_eval_tasks.required_splits(
            lm_eval_tasks.definition_of(task), task.config.num_fewshot, task.dataset
        )
        for name, task in tasks.items()
    }
    origins: dict[str, hub.Origin] = {}
    for name, task in tasks.items():
        read = task.get_config("dataset_kwargs")["download"]
        if read["files"]:
            origins |= {file: hub.Origin(file, None) for file in read["files"]}
        elif read["revision"] is None:
            origins[name] = hub.Origin(read["path"], None)
        else:
            origins[read["path"]] = hub.origin(read["path"], read["revision"])
    return documents, origins


def _download_arguments(
    job: LmEvalJob, own: Path | None, task: str, definition: Definition
) -> dict[str, object]:
    """The arguments of `download` for a task: its own data set, or what the job names instead."""
    options = dict(definition.get("dataset_kwargs") or {})
    files: list[str] = []
    options.pop("trust_remote_code", None)
    path, config = definition.get("dataset_path"), definition.get("dataset_name")
    revision = options.pop("revision", "main")
    if isinstance(job.source, HubDataset):
        path, revision = job.source.hub, job.source.revision
        config = job.source.config or config
    if isinstance(job.source, LocalFiles):
        path, revision = job.source.paths[0], None
    made_of = job.folder if job.source is None else None
    if made_of and own and (local := _own_data(made_of, own, task)):
        copied = local.copied(Path(made_of.path), own)
        path, revision, files = copied.path, None, local.names
        options |= {} if copied.files is None else {"data_files": copied.files}
    split = definition.get("test_split") or definition.get("validation_split")
    return {
        "download": {
            "path": path,
            "config": config,
            "revision": revision,
            "options": options,
            "split": split,
            "files": files,
        }
    }


def _own_data(made_of: TaskFolder, own: Path, task: str) -> LocalData | None:
    """The local data that the copied definition of a task names, where they were planned with."""
    for definition in task_folder.read(own.absolute()).of_name(task)[:1]:
        original = Path(made_of.path) / definition.path.relative_to(own.absolute())
        return local_data(definition.values, original.parent)
    return None


def download(*, download: Mapping[str, Any], **_: object) -> Splits:
    """The splits of a data set of the hub, or of a folder where there is no revision."""
    path, revision = download["path"], download["revision"]
    if revision is None:
        path, commit = path if path in FORMATS else str(Path(path).absolute()), None
    else:
        commit = hub.origin(path, revision).commit
    data = hub.dataset(path, download["config"], commit, **download["options"])
    if isinstance(data, DatasetDict):
        return {str(split): rows for split, rows in data.items()}
    return {download["split"]: data}


def _without_excluded(rows: Dataset, job: LmEvalJob) -> Dataset:
    for column, values in job.exclude.items():
        excluded = set(values)
        rows = rows.filter(lambda row, name=column, out=excluded: out.isdisjoint(row[name]))
    return rows


def as_dataset(rows: list[dict[str, object]], files: str) -> Dataset:
    """Rows as a table. Raises ValueError naming the first that doesn't go with those before."""
    try:
        return Dataset.from_list(rows)
    except (pa.ArrowException, OverflowError) as error:
        fits, fails = 0, len(rows)  # numbers of rows that make a table, and that don't
        while fails - fits > 1:
            middle = (fits + fails) // 2
            try:
                Dataset.from_list(rows[:middle])
            except (pa.ArrowException, OverflowError):
                fails = middle
            else:
                fits = middle
        raise ValueError(
            f"{files}, row {fails}: its values are of other kinds than those of the rows before, "
            f"or too large ({error}); fix or remove the row"
        ) from None


def _require_nltk(job: LmEvalJob) -> None:
    if job.nltk is None or importlib.util.find_spec("nltk") is None:
        return
    import nltk

    try:
        nltk.data.find(job.nltk)
    except LookupError:
        raise ValueError(
            f"{job.task} needs NLTK's {job.nltk}, which is not on this machine: run `python -m "
            f"nltk.downloader {Path(job.nltk).name}`, or take a task that does without "
            f"({job.task}_no_punkt)"
        ) from None
