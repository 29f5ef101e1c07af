"""YAML files of tasks as lm-eval has them, read as data: nothing that they name runs."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

NOT_RUN = {  # keys of tasks that can't be prepared, or that ask for more than a language model
    "its documents are made by code of its own (class, custom_dataset), which can't be kept with a "
    "digest": ("class", "custom_dataset"),
    "it runs what a model writes as code (unsafe_code)": ("unsafe_code",),
    "it shows pictures or sound (doc_to_image, doc_to_audio)": ("doc_to_image", "doc_to_audio"),
}


class Function(str):
    """A function of Python that a YAML file names by `!function`."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Reads YAML as lm-eval writes it, functions as their names."""


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Function:
    return Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _function)


def read(path: Path) -> tuple[dict[str, Any], frozenset[Path]]:
    """The keys of a file over those of the files that it includes, and all of these files.

    Raises: OSError, TypeError, ValueError or YAMLError for a file that is none.
    """
    seen: set[Path] = set()
    return _merged(path, seen), frozenset(seen)


def _merged(path: Path, seen: set[Path]) -> dict[str, Any]:
    if path in seen:
        raise ValueError(f"{path} is included more than once")
    seen.add(path)
    values = yaml.load(path.read_bytes(), Loader=_Loader)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no keys")
    includes = values.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        merged |= _merged(Path(os.path.normpath(path.parent / name)), seen)
    merged.pop("task_list", None)  # as in lm-eval: it is about the included file
    return merged | values


def why_not_run(values: Mapping[str, object]) -> str | None:
    """What a task asks for that is not done here; None for others."""
    reasons = (reason for reason, keys in NOT_RUN.items() if any(map(values.get, keys)))
    return next(reasons, None)


def is_group(values: Mapping[str, object]) -> bool:
    """Whether a file defines a group of other tasks."""
    return "group" in values and "class" not in values


def members(values: Mapping[str, object]) -> set[str]:
    """The names of a group's tasks, groups and tags; none of a task."""
    return set(_member_names(values.get("task"))) if is_group(values) else set()


def _member_names(members: object) -> Iterator[str]:
    """The names in a group's list, and in groups that are written out in there."""
    for member in members if isinstance(members, list) else []:
        if isinstance(member, str):
            yield member
        elif isinstance(member, Mapping) and isinstance(member.get("task"), list):
            yield from _member_names(member["task"])
        elif isinstance(member, Mapping):
            yield str(member.get("group") or member.get("task"))
