"""Digests of what the user brings: they enter ids, so that a change of it makes new artifacts."""

import hashlib
from functools import cache
from pathlib import Path

from pipeline.settings.data import DOCSTRING_CORPUS, Docstrings, Files


@cache
def of_file(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def of_examples(source: object) -> dict[str, str | dict[str, str]]:
    """The digests of the files that examples are read from."""
    if isinstance(source, Docstrings):
        return {"corpus": of_file(DOCSTRING_CORPUS)}
    if isinstance(source, Files):
        named = [source.train, source.validation, source.test, source.plain_text]
        files = [one for one in named if isinstance(one, str)]
        return {"digests": {one: of_file(Path(one)) for one in files}}
    return {}


@cache
def of_folder(folder: Path) -> str:
    """Of a model: its configuration, and names, sizes and first megabytes of its weights."""
    whole = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(f"{path.name} {path.stat().st_size}".encode() + file.read(2**22))
    return whole.hexdigest()[:16]


@cache
def of_tree(folder: Path) -> str:
    """Of a folder's files, names and content."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder)} {of_file(path)}\n".encode())
    return whole.hexdigest()[:16]
