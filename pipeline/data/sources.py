"""Examples that others made: local json, jsonl and Parquet files, and data sets of the hub.

Both come as rows of named values, and one column map makes examples of them. They are kept as
given: what their splits share is counted and said, and only copies within training are dropped.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

from pipeline.data import datasets_library
from pipeline.data.examples import Example, RawDataset
from pipeline.data.foreign_files import ENDS, matching
from pipeline.data.plain_texts import plain_text, read_plain_texts
from pipeline.data.rows import Row, read_rows
from pipeline.data.rows_to_examples import to_example
from pipeline.data.splits import (
    content_digest,
    deduplicate,
    held_out_counts,
    hold_out,
    hold_out_first,
    shuffled,
    shuffled_examples,
)
from pipeline.data.stored_examples import stored
from pipeline.runtime.progress import log
from pipeline.settings.data import Files, Hub

INSTEAD = (
    "set data.examples.source to `files`, with local copies, or to `docstrings`, which needs none"
)


@dataclass(frozen=True)
class Part:
    """The rows of one split as they come, and what their examples count as."""

    rows: Iterable[Row]
    source: str


def gather_files(settings: Files, seed: int, *, are_chats: bool) -> RawDataset:
    """The examples in local files.

    Raises:
        ValueError: for a file that is missing, not what its suffix says, or holds a row that makes
            no example; the message has the row.
    """
    parts = {}
    for split, file in _named(settings).items():
        log(f"files: {split} from {file}")
        parts[split] = Part(
            chain.from_iterable(map(read_rows, _existing(split, file))), Path(file).stem
        )
    files = _existing("plain_text", settings.plain_text) if settings.plain_text else []
    plain = (text for path in files for text in read_plain_texts(path))
    about = {"about": "local files", "files": _named(settings)}
    return _gather(settings, seed, parts, plain, about, are_chats=are_chats)


def _named(settings: Files | Hub) -> dict[str, str]:
    wanted = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    return {split: where for split, where in wanted.items() if isinstance(where, str)}


def _existing(role: str, file: str) -> list[Path]:
    paths = matching(file)
    if not paths:
        raise ValueError(
            f"{Path(file).absolute()} is not a file; correct data.examples.{role} (relative paths "
            "start in the directory that the workflow runs in)"
        )
    return paths


def gather_hub(settings: Hub, seed: int, *, are_chats: bool) -> RawDataset:
    """The examples of a data set of the Hugging Face hub, or of a folder laid out like one.

    Raises:
        ValueError: if the hub can't be reached, has no such data set or split, or for a row that
            makes no example.
    """
    parts = {}
    for split, name in _named(settings).items():
        log(f"hub: {split} from {settings.name}, split {name}")
        parts[split] = Part(_hub_rows(settings, name), settings.name)
    plain = _hub_texts(settings, settings.plain_text) if settings.plain_text else []
    about = {"about": f"{settings.name} of the Hugging Face hub", "revision": settings.revision}
    gathered = _gather(settings, seed, parts, plain, about, are_chats=are_chats)
    revisions = {settings.name: settings.revision}
    if settings.plain_text:
        revisions[settings.plain_text] = settings.plain_text_revision
    moving = [
        f"revision {revision!r} of {name} can move; a commit's hash can't"
        for name, revision in revisions.items()
        if not datasets_library.COMMIT.fullmatch(revision)
    ]
    return replace(gathered, warnings=[*gathered.warnings, *moving])


def _hub_rows(settings: Hub, split: str) -> Iterator[Row]:
    if split.endswith(ENDS):
        return read_rows(_hub_file(settings, split))
    config, revision = settings.config, settings.revision
    table = datasets_library.load(settings.name, config, revision, INSTEAD, split=split)
    return datasets_library.numbered(table, f"{settings.name}[{split}]")


def _hub_file(settings: Hub, file: str) -> Path:
    """A file of a data set, for sets whose files are not splits of one table."""
    if Path(settings.name).is_dir():
        return _existing("name", f"{settings.name}/{file}")[0]
    return datasets_library.download(settings.name, file, settings.revision, INSTEAD)


def _hub_texts(settings: Hub, name: str) -> list[str]:
    config, revision = settings.plain_text_config, settings.plain_text_revision
    # Sets of prose are large: the start of the stream spares the download of the whole.
    stream = datasets_library.load(name, config, revision, INSTEAD, split="train", streaming=True)
    try:
        rows = list(islice(datasets_library.numbered(stream, name), settings.plain_text_documents))
    except OSError as error:
        raise datasets_library.unreachable(f"data set {name!r}", error, INSTEAD) from error
    return [text for row in rows if (text := plain_text(row).strip())]


def _gather(
    settings: Files | Hub,
    seed: int,
    parts: Mapping[str, Part],
    plain: Iterable[str],
    about: Mapping[str, object],
    *,
    are_chats: bool,
) -> RawDataset:
    dropped = Counter({"copies_in_train": 0, "empty_responses": 0})
    read = partial(_examples, settings=settings, are_chats=are_chats, dropped=dropped)
    splits = {split: stored(read(part, split)) for split, part in parts.items()}
    train = splits["train"]
    to_draw = held_out_counts(settings, len(train))
    if settings.held_out_by == "order":
        drawn = hold_out_first(train, to_draw)
    else:
        drawn = hold_out(train, to_draw, f"{seed} splits")
    splits |= {split: train.take(places) for split, places in drawn.items()}
    return RawDataset(
        {split: shuffled_examples(examples, f"{seed}") for split, examples in splits.items()},
        shuffled(deduplicate(plain, str), str, f"{seed}")[: settings.plain_text_documents],
        {**about, "dropped": dict(dropped)},
        [f"{count} examples dropped: {what}" for what, count in dropped.items() if count],
    )


def _examples(
    part: Part, split: str, settings: Files | Hub, dropped: Counter[str], *, are_chats: bool
) -> Iterator[Example]:
    """The examples of a split; what is left out is counted, and copies in training are."""
    before: set[bytes] = set()
    for row in part.rows:
        how = settings.empty_responses
        example = to_example(row, settings.columns, part.source, how, are_chats=are_chats)
        if example is None:
            dropped["empty_responses"] += 1
            continue
        mark = content_digest(example)
        if split == "train" and mark in before:
            dropped["copies_in_train"] += 1
            continue
        before.add(mark)
        yield example
