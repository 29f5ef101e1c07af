"""The documents of lm-eval's tasks, kept on disk: what they were made from can't change unseen.

lm-eval keeps prompts and answers in caches that don't know which data or model they are of. None
of them is used: the tasks are lm-eval's, their documents come from an artifact that has a digest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from datasets import Dataset

from pipeline.artifacts import checksums

FOLDER = "documents"
SUFFIX = ".arrow"
Splits = Mapping[str, Dataset]  # by name
Loader = Callable[[str, Mapping[str, Any]], Splits]  # from a task's name and configuration


def write(folder: Path, documents: Mapping[str, Splits]) -> None:
    """The splits of each task, an Arrow file each: Parquet has no empty blocks, documents have."""
    for task, splits in documents.items():
        place = folder / FOLDER / quote(task, safe="")
        place.mkdir(parents=True)
        for split, rows in splits.items():
            table = rows.with_format("arrow")[:]
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_file(place / f"{split}{SUFFIX}", table.schema, options=options) as file:
                file.write_table(table)


def read(path: Path) -> pa.Table:
    """A split that `write` wrote, in memory."""
    return pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()


def stored(folder: Path) -> Loader:
    """Documents that were written to an artifact. Raises ValueError for damaged ones."""
    checksums.verify(folder, f"{FOLDER}/*")

    def load(task: str, _: Mapping[str, Any]) -> Splits:
        files = sorted((folder / FOLDER / quote(task, safe="")).glob(f"*{SUFFIX}"))
        if not files:
            raise ValueError(f"{folder} holds no documents of {task}; delete it and run again")
        # in memory: `datasets` would else keep a copy in a cache of its own
        return {path.stem: Dataset(read(path)) for path in files}

    return load
