"""A folder of a user's own tasks for lm-eval, read as data: nothing in it runs.

Names, includes, groups and tags are as lm-eval has them in a folder of its `--include_path`. A task
may read every file of the folder but the YAML of other tasks and the data files that only these
name: which files its Python opens can't be told without running it.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from pipeline.data.rows import strings
from pipeline.settings.evaluation import Evaluation
from pipeline.tasks import lm_eval_index, task_yaml
from pipeline.tasks.own_data import LocalData, inside, local_data
from pipeline.tasks.task_yaml import Function


@dataclass(frozen=True)
class Definition:
    """What a YAML file says of a task or a group, with all that it includes."""

    path: Path
    values: Mapping[str, Any]
    included: frozenset[Path]  # the file itself, too

    @property
    def is_group(self) -> bool:
        """Whether it is a group of other tasks."""
        return task_yaml.is_group(self.values)

    @property
    def name(self) -> object:
        """The name of the task or group; None for a file that others include."""
        return self.values.get("group" if self.is_group else "task")

    @property
    def tags(self) -> set[str]:
        """The tags of a task."""
        tags = None if self.is_group else self.values.get("tag")
        return set(strings(tags))

    @property
    def members(self) -> set[str]:
        """The names of a group's tasks, groups and tags."""
        return task_yaml.members(self.values)

    @property
    def directions(self) -> dict[str, bool]:
        """Whether higher is better, of the metrics for which the file says so."""
        listed = self.values.get("metric_list")
        metrics = (
            [each for each in listed if isinstance(each, Mapping)]
            if isinstance(listed, list)
            else []
        )
        return {
            _metric_name(metric["metric"]): metric["higher_is_better"]
            for metric in metrics
            if "metric" in metric and isinstance(metric.get("higher_is_better"), bool)
        }

    @cached_property
    def data(self) -> LocalData | None:
        """The files or the folder that the documents are read from; None for a set of the hub."""
        return local_data(self.values, self.path.parent)


def _metric_name(metric: object) -> str:
    """A metric's name, which for a function is that of its own."""
    return metric.rpartition(".")[2] if isinstance(metric, Function) else str(metric)


@dataclass(frozen=True)
class OwnTasks:
    """The tasks, groups and tags that a folder defines."""

    root: Path
    definitions: tuple[Definition, ...]
    faults: tuple[str, ...]  # a line for each YAML file that can't be read

    def of_name(self, name: str) -> list[Definition]:
        """The definitions of a task or group, or of all tasks with a tag."""
        by_name = [each for each in self.definitions if each.name == name]
        return by_name or [each for each in self.definitions if name in each.tags]

    def is_several(self, name: str) -> bool:
        """Whether it is a group or a tag."""
        return any(each.is_group or each.name != name for each in self.of_name(name))

    @property
    def names(self) -> list[str]:
        """The names of all tasks, groups and tags."""
        tags = (tag for each in self.definitions for tag in each.tags)
        return sorted({*(str(each.name) for each in self.definitions), *tags})

    def reached(self, name: str) -> tuple[list[Definition], set[str]]:
        """The definitions behind a name, and what they name that the folder doesn't have."""
        reached: dict[Path, Definition] = {}
        others, waiting, seen = set[str](), [name], {name}
        while waiting:
            definitions = self.of_name(next_name := waiting.pop())
            others |= set() if definitions else {next_name}
            reached |= {each.path: each for each in definitions}
            new = {member for each in definitions for member in each.members} - seen
            seen |= new
            waiting += sorted(new)
        return list(reached.values()), others

    def directions(self, name: str) -> dict[str, bool]:
        """Whether higher is better, of the metrics of a task, group or tag that say so."""
        reached, _ = self.reached(name)
        return {metric: is_so for each in reached for metric, is_so in each.directions.items()}

    def folders(self, name: str) -> list[str | Path]:
        """The folders that define a name and all of its members, for lm-eval's TaskManager."""
        _, others = self.reached(name)
        elsewhere = {folder for other in others for folder in lm_eval_index.folders(other)}
        return [*sorted(elsewhere), self.root]

    def files(self, name: str) -> list[Path]:
        """The files of the folder that a task, group or tag may read."""
        reached, _ = self.reached(name)
        of_others = self._read_by([each for each in self.definitions if each not in reached])
        within = {path for path in self._read_by(reached) if inside(path, self.root)}  # hidden, too
        return sorted(within | (set(_files(self.root)) - of_others))

    def _read_by(self, definitions: Sequence[Definition]) -> set[Path]:
        """The YAML and the data files that definitions name."""
        return {path for each in definitions for path in (*each.included, *self._data_within(each))}

    def _data_within(self, definition: Definition) -> set[Path]:
        """The data files of a definition that are in the folder, under their names in there."""
        paths = definition.data.paths if definition.data is not None else []
        files = (file for path in paths for file in (path, *path.rglob("*")) if file.is_file())
        return {self.root / name for file in files if (name := inside(file, self.root))}

    def data_elsewhere(self, name: str) -> list[Path]:
        """Files and folders outside of this one that a name's documents are read from."""
        reached, _ = self.reached(name)
        paths = {path for each in reached if each.data is not None for path in each.data.paths}
        return sorted(path for path in paths if inside(path, self.root) is None)


def of_settings(settings: Evaluation) -> OwnTasks | None:
    """The tasks of the folder that an evaluation names; None without one."""
    return None if settings.task_folder is None else in_folder(settings.task_folder)


def in_folder(name: str) -> OwnTasks | None:
    """The tasks of a folder; None where there is no such folder, or where it holds the project."""
    path = Path(os.path.normpath(name))
    with contextlib.suppress(OSError, ValueError):  # of a name that no folder can have
        holds_project = Path.cwd().resolve().is_relative_to(path.resolve())
        return read(path) if path.is_dir() and not holds_project else None
    return None


@cache
def read(root: Path) -> OwnTasks:
    """The tasks of a folder. A file that is no YAML is one of its faults."""
    definitions, faults = [], []
    for path in _files(root):
        if path.suffix != ".yaml":
            continue
        try:
            definition = Definition(path, *task_yaml.read(path))
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            faults.append(f"{path}: {' '.join(str(error).split())}")
            continue
        if isinstance(definition.name, str):
            definitions.append(definition)
    return OwnTasks(root, tuple(definitions), tuple(faults))


def _files(root: Path) -> list[Path]:
    """The files of a folder, but for hidden ones and compiled Python."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(map(_is_ignored, path.relative_to(root).parts))
    )


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"
