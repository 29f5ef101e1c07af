"""A faulty configuration without its faults, so that one pass over it finds all that is wrong."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from workflow.config.pydantic_errors import allowed_keys, meant_key, path_of

STAND_INS = ("experiment", "training", "methods", "grid")  # an example of each hides nothing else


def repaired(
    error: ValidationError, block: type[BaseModel], values: Mapping[str, object]
) -> dict[str, Any]:
    """The values without those that are faulty, and with misspelt keys as they were meant.

    Examples stand in for some of the missing keys.
    """
    sound = copy.deepcopy(dict(values))
    faults = error.errors(include_url=False)
    for fault in sorted(faults, key=lambda fault: fault["type"] == "missing"):
        path = path_of(fault, values)
        with contextlib.suppress(LookupError, TypeError):  # it is left out with what holds it
            if fault["type"] == "missing":
                _stand_in(sound, path, fault, block)
            elif near := meant_key(fault, block):
                _rename(_block(sound, path[:-1]), str(path[-1]), near, allowed_keys(fault, block))
            else:
                _remove(sound, path, fault)
    return sound


def _block(values: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        values = values[part]
    return values


def _stand_in(
    values: Any, path: Sequence[str | int], fault: ErrorDetails, block: type[BaseModel]
) -> None:
    *blocks, key = path
    field = allowed_keys(fault, block)[str(key)]
    if key in STAND_INS and field.examples:
        _block(values, blocks).setdefault(key, field.examples[0])


def _rename(block: dict[str, Any], old: str, new: str, fields: Mapping[str, Any]) -> None:
    """What a misspelt key holds is looked at too where it is a block, or can't be missing."""
    value = block.pop(old)
    if isinstance(value, Mapping) or fields[new].is_required():
        block.setdefault(new, value)


def _remove(values: Any, path: Sequence[str | int], fault: ErrorDetails) -> None:
    """Leaves out the value under a path, or its faulty keys; a list as a whole."""
    context = fault.get("ctx", {})
    if keys := [*context.get("renamed", {}), *context.get("keys", [])]:
        for key in keys:
            del _block(values, path)[key]
    elif names := [index for index, part in enumerate(path) if isinstance(part, str)]:
        del _block(values, path[: names[-1]])[path[names[-1]]]
