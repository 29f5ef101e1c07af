"""The documents of lm-eval's tasks, kept on disk: what they were made from can't change unseen.

lm-eval keeps prompts and answers in caches that don't know which data or model they are of. None
of them is used: the tasks are lm-eval's, their documents come from an artifact that has a digest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from pipeline import integrity

FOLDER = "documents"
Splits = Mapping[str, Dataset]  # by name
Loader = Callable[[str, Mapping[str, Any]], Splits]  # from a task's name and configuration


def write(folder: Path, documents: Mapping[str, Splits]) -> None:
    """The splits of each task, a Parquet file each."""
    for task, splits in documents.items():
        place = folder / FOLDER / quote(task, safe="")
        place.mkdir(parents=True)
        for split, rows in splits.items():
            pq.write_table(_table(rows), place / f"{split}.parquet", compression="zstd")


def _table(rows: Dataset) -> pa.Table:
    return rows.with_format("arrow")[:]


def stored(folder: Path) -> Loader:
    """Documents that were written to an artifact. Raises ValueError for damaged ones."""
    integrity.check(folder, f"{FOLDER}/*")

    def load(task: str, _: Mapping[str, Any]) -> Splits:
        files = sorted((folder / FOLDER / quote(task, safe="")).glob("*.parquet"))
        if not files:
            raise ValueError(f"{folder} holds no documents of {task}; delete it and run again")
        # in memory: `datasets` would else keep a copy in a cache of its own
        return {path.stem: Dataset(pq.read_table(path)) for path in files}

    return load
