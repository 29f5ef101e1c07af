"""Items from the Hugging Face hub or the web, at a commit that the manifest names."""

import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.data import datasets_library
from pipeline.data.foreign_files import ENDS
from pipeline.data.rows import Row, read_rows
from pipeline.settings.evaluation import ItemSource

TIMEOUT_SECONDS = 60
INSTEAD = "name a local copy in evaluation.data"


@dataclass(frozen=True)
class Origin:
    """The origin of items, and warnings about it."""

    about: str
    commit: str | None
    warnings: tuple[str, ...] = ()


@cache
def origin(name: str, revision: str) -> Origin:
    """The commit that a revision is now, asked for once in a process; a branch gives a warning."""
    import huggingface_hub

    if datasets_library.COMMIT.fullmatch(revision):
        return Origin(name, revision)
    try:
        commit = huggingface_hub.HfApi().dataset_info(name, revision=revision).sha
    except OSError:  # it may still be in the local cache; if not, loading says what is wrong
        unknown = f"revision {revision!r} of {name} can move, and its commit could not be asked for"
        return Origin(name, revision, (unknown,))
    moving = f"revision {revision!r} of {name} can move: it was {commit} when the items were taken"
    return Origin(name, commit, (moving,))


def rows(source: ItemSource) -> tuple[list[Row], Origin]:
    """The rows of a file or a split. Raises ValueError where they can't be had."""
    if source.url is not None:
        return _from_web(source.url), Origin(source.url, None)
    assert source.name is not None
    taken_from = origin(source.name, source.revision)
    assert taken_from.commit is not None
    if source.split and source.split.endswith(ENDS):
        path = datasets_library.download(source.name, source.split, taken_from.commit, INSTEAD)
        return list(read_rows(path)), taken_from
    table = dataset(source.name, source.config, taken_from.commit, split=source.split or "test")
    return list(datasets_library.numbered(table, source.name)), taken_from


def _from_web(url: str) -> list[Row]:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content = response.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise datasets_library.unreachable(url, error, INSTEAD) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / url.rsplit("/", 1)[-1]
        path.write_bytes(content)
        return list(read_rows(path))


def dataset(name: str, config: str | None, commit: str | None, **options: Any) -> Any:
    """A data set or a split of it at a commit; without a commit, a local folder."""
    if commit is not None:
        return datasets_library.load(name, config, commit, INSTEAD, **options)
    # A folder can change under its name: nothing of it may outlive this call.
    with tempfile.TemporaryDirectory() as cache:
        options |= {"cache_dir": cache, "keep_in_memory": True}
        return datasets_library.load(name, config, None, INSTEAD, **options)
