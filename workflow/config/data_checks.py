"""Checks of an experiment's own data: files that are missing, and rows that are too few."""

import contextlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException

from pipeline.data import docstrings
from pipeline.data.foreign_files import ENDS, matching
from pipeline.data.splits import held_out_counts
from pipeline.settings.data import ChatTemplate, DataSettings, Docstrings, Files, Hub, named_sources
from pipeline.settings.experiment import Experiment
from workflow.config import template_checks
from workflow.config.config_file import exists

TABLE_KEYS = ("train", "validation", "test", "plain_text")
LARGEST_LIST = 2**26  # bytes of a JSON file that is read to count its rows


def faults(experiment: Experiment) -> Iterator[str]:
    """Everything that is wrong with the examples' files or packages, a line each."""
    template = experiment.data.template
    if isinstance(template, ChatTemplate):
        yield from template_checks.file_faults(template)
        if experiment.tokens.too_long == "cut":
            yield (
                "tokens.too_long = 'cut': a conversation that is cut at its end asks nothing; "
                "allowed with a chat template: leave_out"
            )
    for place, source in named_sources(experiment.data.examples).items():
        if isinstance(source, Docstrings):
            try:
                docstrings.package_versions(source.packages)
            except ValueError as error:
                yield str(error).replace("data.examples", place)
        else:
            yield from _missing_files(source, place)
        if isinstance(source, Files):
            yield from _few_rows(source, place)


def _missing_files(source: Files | Hub, place: str) -> Iterator[str]:
    for key in TABLE_KEYS:
        name = _file_name(source, key)
        if name is not None and not paths_of(source, key):
            yield (
                f"{place}.{key} = {getattr(source, key)!r}: there is no such file (a relative path "
                f"starts at {Path.cwd() if isinstance(source, Files) else source.name})"
            )


def paths_of(source: Files | Hub, key: str) -> list[Path]:
    """The files that a key means, as far as they are at hand."""
    name = _file_name(source, key)
    with contextlib.suppress(OSError, ValueError):  # of a name that no file could have
        return matching(name) if name is not None else []
    return []


def _file_name(source: Files | Hub, key: str) -> str | None:
    """The file, or files, under a key; None for a count, or what is on the hub."""
    name = getattr(source, key)
    if not isinstance(name, str) or isinstance(source, Files):
        return name if isinstance(name, str) else None
    is_file = name.endswith(ENDS) and exists(source.name, Path.is_dir) and key != "plain_text"
    return f"{source.name}/{name}" if is_file else None


def _few_rows(source: Files, place: str) -> Iterator[str]:
    """More held-out examples than a file has rows; copies within it may make them fewer still."""
    rows = _count_train(source)
    if rows is None:
        return
    counts = held_out_counts(source, rows)
    if sum(counts.values()) >= rows:
        held_out = " and ".join(f"{count} for {split}" for split, count in counts.items())
        yield (
            f"{place}.train = {source.train!r}: it has {rows} rows, and holding out "
            f"{held_out} leaves none to train on; lower these, give them files of their own, or "
            "leave them out (5 % and 10 %)"
        )


def _count_train(source: Files) -> int | None:
    """The rows of all files that are trained on, as of `count_rows`."""
    counts = [count_rows(path) for path in paths_of(source, "train")]
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def most_training_examples(data: DataSettings) -> int | None:
    """The training examples that there are at most; None if that isn't known."""
    total = 0
    for source in named_sources(data.examples).values():
        rows = _count_train(source) if isinstance(source, Files) else None
        if not isinstance(source, Files) or rows is None:
            return data.train_limit
        total += max(0, rows - sum(held_out_counts(source, rows).values()))
    return min(total, data.train_limit or total)


@cache
def count_rows(path: Path) -> int | None:
    """The rows of a file; None where that takes as long as reading them, or fails."""
    try:
        if path.suffix == ".jsonl":
            with path.open("rb") as lines:
                return sum(1 for line in lines if line.strip())
        if path.suffix == ".parquet":
            return pq.read_metadata(path).num_rows
        if path.suffix == ".json" and path.stat().st_size <= LARGEST_LIST:
            rows = json.loads(path.read_bytes())
            return len(rows) if isinstance(rows, list) else None
    except (OSError, ValueError, RecursionError, ArrowException):
        return None  # the job that reads it says what is wrong, and where
    return None
