"""Data sets of the hub, or of folders laid out like one, by the library `datasets`.

Of its many formats only those that hold rows are read, and only files of the data set itself: its
description may name any other file of this machine. No script is run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.data import untrusted
from pipeline.data.rows import Row

FORMATS = ("json", "csv", "parquet", "arrow", "text")  # of datasets.packaged_modules
OF_BUILDER = ("data_dir", "data_files", "cache_dir")  # options that say which files are read


COMMIT = re.compile(r"[0-9a-f]{40}")


def download(name: str, file: str, revision: str, instead: str) -> Path:
    """A file of a data set of the hub. Raises ValueError, with a way out, if it can't be had."""
    import huggingface_hub

    try:
        path = huggingface_hub.hf_hub_download(name, file, repo_type="dataset", revision=revision)
    except (OSError, ValueError) as error:
        raise unreachable(f"data set {name!r}, file {file!r},", error, instead) from error
    return Path(path)


def load(name: str, config: str | None, revision: str | None, instead: str, **options: Any) -> Any:
    """A data set, or what else `datasets.load_dataset` makes of the options.

    Raises:
        ValueError: if it can't be had, with a way out; if it has no such split, or is of another
            kind than rows in files of its own.
    """
    import datasets  # slow, and needed for these sources only

    which = {key: options[key] for key in OF_BUILDER if key in options}
    try:
        builder = datasets.load_dataset_builder(name, config, revision=revision, **which)
        for fault in _faults(builder, name, are_files_chosen="data_files" in which):
            raise ValueError(fault)
        return datasets.load_dataset(name, config, revision=revision, **options)
    except OSError as error:
        named = {"configuration": config, "split": options.get("split")}
        parts = "".join(f", {key} {value!r}," for key, value in named.items() if value)
        raise unreachable(f"data set {name!r}{parts}", error, instead) from error
    except Exception as error:  # the library has kinds of its own, for scripts and for bad files
        reason = " ".join(f"{error}".split())
        raise ValueError(f"data set {name!r} can't be read: {reason:.300}") from error


def numbered(table: Iterable[Mapping[str, object]], name: str) -> Iterator[Row]:
    """The rows of a data set that `load` has loaded."""
    for number, values in enumerate(table, start=1):
        yield Row(f"{name}, row {number}", dict(values), is_padded=True)


def unreachable(what: str, error: Exception, instead: str) -> ValueError:
    """An error that says why something of the hub can't be loaded, and what to do instead."""
    reason = " ".join(str(error).split())
    return ValueError(
        f"{what} can't be loaded: {reason:.300}. Where the hub is out of reach, {instead}"
    )


def _faults(builder: Any, name: str, *, are_files_chosen: bool) -> Iterator[str]:
    format = type(builder).__module__.rsplit(".", 1)[-1]
    if format not in FORMATS:
        yield f"it is of the format {format}; allowed: {', '.join(FORMATS)}"
    if are_files_chosen:  # by a task's definition: they may be elsewhere
        return
    for path in chain.from_iterable((builder.config.data_files or {}).values()):
        if Path(name).is_dir():
            yield from _local_faults(Path(path), Path(name))
        elif not str(path).startswith(f"hf://datasets/{name}@"):
            yield f"its description names {path!r}, which is no file of the data set"


def _local_faults(path: Path, folder: Path) -> Iterator[str]:
    if untrusted.leads_out(path, folder):
        yield f"{path} leads out of the folder, to {path.resolve()}; if you trust it, copy it there"
    untrusted.check_unpacked_size(path)
