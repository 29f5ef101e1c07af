"""Pydantic's errors as lines for a user: the key's path, the value, and what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.settings.base import RENAMED

NAME = "lower-case letters, digits and _, beginning with a letter, at most 40"
LONGEST_VALUE = 60  # characters: a longer value is a block, and its path says enough


def lines(error: ValidationError, block: type[BaseModel], values: Any, key: str = "") -> list[str]:
    """A line for each fault of `values`, which stand under `key` and were read as a `block`."""
    messages: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        path = ".".join([key] * bool(key) + [str(part) for part in _path(fault, values)])
        if fault["type"] == RENAMED:
            for old, new in fault.get("ctx", {})["renamed"].items():
                former = f"{path}.{old}".lstrip(".")
                messages[former] = [f"{former}: the key is now called {new}"]
        else:
            messages.setdefault(path, []).append(_message(fault, path, block))
    return [_joined(path, of_path) for path, of_path in messages.items()]


def _joined(path: str, messages: list[str]) -> str:
    # each member of a union complains, and the path is the same
    first, *others = dict.fromkeys(messages)
    return "; or ".join(
        [first, *(message.removeprefix(path).partition(": ")[2] for message in others)]
    )


def _path(fault: ErrorDetails, values: Any) -> list[str | int]:
    """The keys as the file has them: pydantic adds the names of union members."""
    path: list[str | int] = []
    for part in fault["loc"]:
        match values, part:
            case Mapping(), _ if part in values:
                values = values[part]
            case list() | tuple(), int(index):
                values = values[index]
            case _:
                continue
        path.append(part)
    return [*path, fault["loc"][-1]] if fault["type"] == "missing" else path


def _message(fault: ErrorDetails, path: str, block: type[BaseModel]) -> str:
    value, message = fault["input"], fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key{_alternatives(fault, block)}"
        case "missing":
            return f"{path}: the key is missing"
        case "string_pattern_mismatch":
            message = f"not a name; allowed: {NAME}"
        case "union_tag_invalid":
            tags = fault.get("ctx", {})
            return f"{path}.source = {tags['tag']!r}: allowed: {tags['expected_tags']}"
        case "union_tag_not_found":
            return f"{path}.source: the key is missing"
    if not path:
        return message
    shown = repr(value)
    is_block = isinstance(value, dict) or len(shown) > LONGEST_VALUE
    return f"{path}: {message}" if is_block else f"{path} = {shown}: {message}"


def _alternatives(fault: ErrorDetails, block: type[BaseModel]) -> str:
    *parents, key = fault["loc"]
    annotation: Any = block
    for part in parents:
        annotation = _inside(annotation, part)
    allowed = list(getattr(annotation, "model_fields", {}))
    near = difflib.get_close_matches(str(key), allowed, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{meant}; allowed: {', '.join(allowed)}" if allowed else ""


def _inside(annotation: Any, part: str | int) -> Any:
    """The type that stands at one part of an error's path within a type."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _inside(members[0], part)
    if origin is dict:
        return members[1]
    if origin is list:
        return members[0]
    if members and origin is not Literal:  # a union
        tagged = [member for member in members if _tag(member) == part]
        inner = [_inside(member, part) for member in members if member is not type(None)]
        return tagged[0] if tagged else next((part for part in inner if part is not None), None)
    field = getattr(annotation, "model_fields", {}).get(part)
    return field.annotation if field else None


def _tag(member: Any) -> str | None:
    field = getattr(member, "model_fields", {}).get("source")
    return get_args(field.annotation)[0] if field and get_args(field.annotation) else None
