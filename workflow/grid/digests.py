"""Digests of the user's files: they enter ids, so that an edited file makes new artifacts."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.data.foreign_files import matching
from pipeline.models.foreign_files import CONFIG, DESCRIPTIONS
from pipeline.settings.data import (
    DOCSTRING_CORPUS,
    AnyTemplate,
    ChatTemplate,
    Docstrings,
    Files,
    Hub,
    Mixture,
)
from pipeline.settings.models import HubModel, LayersOf, Model, PathModel, Shape

FIRST_BYTES = 2**22  # of a file of weights: all of them count
SAMPLED_BYTES = 2**13  # of a tensor behind these: as many at either end count


@cache
def of_file(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:  # of any size: it is not read whole
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def of_examples(source: object) -> dict[str, object]:
    """The digests of the files that examples are read from, by the key that they stand under."""
    if isinstance(source, Docstrings):
        return {"corpus": of_file(DOCSTRING_CORPUS)}
    if isinstance(source, Files):
        values = [source.train, source.validation, source.test, source.plain_text]
        files = [value for value in values if isinstance(value, str)]
        paths = {
            file if Path(file).is_file() else str(path): path
            for file in files
            for path in matching(file)
        }
        return {"digests": {name: of_file(path) for name, path in paths.items()}}
    if isinstance(source, Hub):  # its sets may be folders of this machine
        names = filter(None, (source.name, source.plain_text))
        folders = {name: of_tree(Path(name)) for name in names if Path(name).is_dir()}
        return {"digests": folders} if folders else {}
    if isinstance(source, Mixture):
        parts = {
            name: part.model_dump(mode="json") | of_examples(part)
            for name, part in source.sources.items()
        }
        return {"sources": parts}
    return {}


def with_text(template: AnyTemplate) -> AnyTemplate:
    """A template with the text of the file that it names."""
    if not isinstance(template, ChatTemplate) or template.chat == "tokenizer":
        return template
    return template.model_copy(update={"text": Path(template.chat).read_text(encoding="utf-8")})


def model_settings(models: Mapping[str, Model], name: str, seed: int) -> dict[str, Any]:
    """The settings of the job of a model. Only fresh weights depend on a seed."""
    model = models[name]
    settings: dict[str, Any] = model.model_dump(mode="json")
    settings["seed"] = seed if isinstance(model, Shape) else 0
    if isinstance(model, LayersOf):
        settings["model"] = "base"  # the input's role: its name is of this configuration alone
        if isinstance(models[model.model], Shape):
            settings["seed"] = seed
    if isinstance(model, HubModel | PathModel) and model.tokenizer:
        folder = Path(model.tokenizer.name)
        if folder.is_dir():
            settings["tokenizer"]["digest"] = of_tree(folder)
    if isinstance(model, PathModel):
        settings["digest"] = of_folder(Path(model.path))
    if isinstance(model, HubModel) and (Path(model.name) / CONFIG).is_file():
        settings["digest"] = of_folder(Path(model.name))
    if isinstance(model, Shape):
        del settings["tokenizer_of"]  # the input says it
    return settings


@cache
def of_folder(folder: Path) -> str:
    """The digest of a model: its descriptions, and names, sizes and a sample of its weights.

    Descriptions are what a job reads beside weights: configurations, tokenizer, chat template. The
    sample has some bytes of every tensor: merged adapters change no more than a few matrices.
    """
    whole = hashlib.sha256((folder / CONFIG).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(f"{path.name} {path.stat().st_size}".encode() + file.read(FIRST_BYTES))
            for first, end in _tensor_places(file):
                for place in (first, max(first, end - SAMPLED_BYTES)):
                    if place + SAMPLED_BYTES > FIRST_BYTES:
                        file.seek(place)
                        whole.update(file.read(min(SAMPLED_BYTES, end - place)))
    named = (path for pattern in DESCRIPTIONS for path in folder.glob(pattern))
    others = {path for path in named if path.is_file()}
    for path in sorted(others - {folder / CONFIG}):
        whole.update(f"{path.name} {of_file(path)}".encode())
    return whole.hexdigest()[:16]


def _tensor_places(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """First and end of each tensor in a file of safetensors; none in a file that is not one."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size))
        places = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
        return  # the job that reads it says what is wrong
    for first, end in sorted(places):
        yield first + 8 + size, end + 8 + size


@cache
def of_tree(folder: Path) -> str:
    """The digest of a folder: its files' names and content."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder)} {of_file(path)}\n".encode())
    return whole.hexdigest()[:16]
