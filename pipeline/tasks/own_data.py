"""Data of this machine that the YAML of a user's own task names."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data.datasets_library import FORMATS
from pipeline.data.rows import strings


@dataclass(frozen=True)
class LocalData:
    """Data of this machine that a definition names, at the paths where they are."""

    path: str  # a folder, or the format of the files
    files: object  # as `dataset_kwargs.data_files` has them; None for a folder

    @property
    def names(self) -> list[str]:
        """The folder or the files, with patterns as they are."""
        return [self.path] if self.path not in FORMATS else strings(self.files)

    @property
    def paths(self) -> list[Path]:
        """What of it is on this machine; addresses are left out."""
        names = (name for name in self.names if "://" not in name)
        return [path for name in names for path in matches(name)]

    def copied(self, folder: Path, copy: Path) -> "LocalData":
        """The same data, with what lies in a folder taken from its copy."""

        def moved(name: str) -> str:
            """The name in the copy of what is in the folder."""
            place = inside(Path(name), folder)
            return name if place is None else str(copy / place)

        path = self.path if self.path in FORMATS else moved(self.path)
        return LocalData(path, _renamed(self.files, moved))


def local_data(definition: Mapping[str, object], beside: Path) -> LocalData | None:
    """The files or the folder that a task's documents are read from; None for a set of the hub."""
    path = definition.get("dataset_path")
    if path in FORMATS:
        options = definition.get("dataset_kwargs")
        files = options.get("data_files") if isinstance(options, Mapping) else None
        return LocalData(path, _renamed(files, partial(located, beside=beside)))
    folder = located(path, beside) if isinstance(path, str) else ""
    is_folder = bool(folder) and any(map(Path.is_dir, matches(folder)))
    return LocalData(folder, None) if is_folder else None


def located(name: str, beside: Path) -> str:
    """A path as lm-eval reads it, from the working folder; else one beside the YAML file."""
    if "://" in name or matches(name):
        return name
    other = os.path.normpath(beside / name)
    return other if matches(other) else name


def matches(name: str) -> list[Path]:
    """The files or folders that a name or a pattern means; none of a name that none can have."""
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):
        if path.exists():
            return [path]
        return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return []


def inside(path: Path, folder: Path) -> Path | None:
    """The path as seen from a folder, links as they are; None for one outside of it."""
    name, root = Path(os.path.normpath(path.absolute())), folder.absolute()
    return name.relative_to(root) if name.is_relative_to(root) else None


def _renamed(files: object, new_name: Callable[[str], str]) -> object:
    """Files as `dataset_kwargs.data_files` has them, with another name for each."""
    if isinstance(files, Mapping):
        return {split: _renamed(value, new_name) for split, value in files.items()}
    if isinstance(files, list):
        return [_renamed(value, new_name) for value in files]
    return new_name(files) if isinstance(files, str) else files
