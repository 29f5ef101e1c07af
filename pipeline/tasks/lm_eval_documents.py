"""Gathers the documents of a task of lm-eval, from the hub, a folder laid out like it, or files."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict

from pipeline.data.examples import Example
from pipeline.data.rows import strings
from pipeline.settings.evaluation import HubDataset, LmEvalJob, LocalFiles
from pipeline.tasks import hub, lm_eval_tasks, local_documents
from pipeline.tasks.contamination import Shared, of_texts
from pipeline.tasks.documents import Splits


@dataclass
class Fetch:
    """Documents as a job wants them, by task, and where they were found."""

    job: LmEvalJob
    origins: dict[str, hub.Origin] = field(default_factory=dict)

    def __call__(self, task: str, config: Mapping[str, Any]) -> Splits:
        """The splits of a task."""
        source = self.job.source
        if isinstance(source, LocalFiles) and not Path(source.paths[0]).is_dir():
            splits = self._files(source, task, config)
        else:
            splits = self._set(task, config)
        return {name: self._without(rows) for name, rows in splits.items()}

    def _files(self, source: LocalFiles, task: str, config: Mapping[str, Any]) -> Splits:
        if others := [one for one in self.origins if one != task]:
            raise ValueError(
                f"{self.job.task} is several tasks ({others[0]}, {task}, ..), which can't share "
                f"files: name a folder laid out like their data set in "
                f"evaluation.data.{self.job.task}"
            )
        self.origins[task] = hub.Origin(", ".join(source.paths), None)
        evaluated, examples = (
            lm_eval_tasks.evaluation_split(config),
            lm_eval_tasks.example_split(config),
        )
        found = {}
        for split, files in source.by_split.items():
            rows = local_documents.read(files, source.columns or self.job.columns, self.job.text)
            name = evaluated if split == lm_eval_tasks.EVALUATION else split
            found[name] = as_dataset(rows, ", ".join(files))
        if evaluated not in found:
            raise ValueError(f"evaluation.data.{self.job.task}.files lacks the split {evaluated!r}")
        shots = config.get("num_fewshot") if self.job.shots is None else self.job.shots
        if examples is not None and examples not in found:
            if shots:
                raise ValueError(
                    f"{self.job.task} shows {shots} examples of the split {examples!r}: name files "
                    f"for it in evaluation.data.{self.job.task}.files"
                )
            found[examples] = found[evaluated].select([])
        return found

    def _set(self, task: str, config: Mapping[str, Any]) -> Splits:
        source = self.job.source
        name, options = config["dataset_path"], dict(config.get("dataset_kwargs") or {})
        options.pop("trust_remote_code", None)
        revision, part = options.pop("revision", "main"), config.get("dataset_name")
        if isinstance(source, HubDataset):
            name, revision, part = source.hub, source.revision, source.config or part
        if isinstance(source, LocalFiles):
            found = hub.dataset(str(Path(source.paths[0]).absolute()), part, None, **options)
            self.origins[task] = hub.Origin(source.paths[0], None)
        else:
            origin = self.origins.get(name) or hub.origin(name, revision)
            self.origins[name] = origin
            found = hub.dataset(name, part, origin.commit, **options)
        return (
            found
            if isinstance(found, DatasetDict)
            else {lm_eval_tasks.evaluation_split(config): found}
        )

    def _without(self, rows: Dataset) -> Dataset:
        for column, values in self.job.exclude.items():
            rows = rows.filter(lambda row, at=column, out=values: not set(row[at]) & set(out))
        return rows


def as_dataset(rows: list[dict[str, Any]], files: str) -> Dataset:
    """Rows as a table. Raises ValueError naming the first that doesn't go with those before."""
    try:
        return Dataset.from_list(rows)
    except (pa.ArrowException, OverflowError) as error:
        fits, fails = 0, len(rows)  # so many rows make a table, and so many don't
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
            f"or too large ({error}); mend or remove the row"
        ) from None


@dataclass(frozen=True)
class Gathered:
    """Documents by task and split, where they are from, and what they share with training."""

    documents: dict[str, Splits]
    counts: dict[str, int]
    origins: dict[str, hub.Origin]
    shared: Shared

    @property
    def count(self) -> int:
        """How many there are to evaluate on."""
        return sum(self.counts.values())


def gather(job: LmEvalJob, train: list[Example]) -> Gathered:
    """What an evaluation reads, every document tried. Raises ValueError for what is amiss."""
    _require_nltk(job)
    fetch = Fetch(job)
    tasks = lm_eval_tasks.load(job.lm_eval_task, fetch, job.shots, job.task)["tasks"]
    documents, counts, ids, strung = {}, {}, [], []
    for name, task in tasks.items():
        documents[name] = lm_eval_tasks.needed(task)
        counts[name] = sum(1 for _ in lm_eval_tasks.texts(task))
        evaluated = documents[name][lm_eval_tasks.evaluation_split(lm_eval_tasks.described(task))]
        ids += [f"{name}[{at}]" for at in range(len(evaluated))]
        strung += [strings(row) for row in evaluated]
    shared = Shared((), (), of_texts(ids, strung, train))
    return Gathered(documents, counts, fetch.origins, shared)


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
