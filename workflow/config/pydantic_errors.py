"""Pydantic's errors as lines for a user: the key's path, the value, and what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.methods.ranges import Name
from pipeline.settings.base import BOOLEANS, RENAMED
from workflow.config.wording import did_you_mean

NAME = "lower-case letters, digits and _, beginning with a letter, at most 40"
NAME_PATTERN = TypeAdapter(Name).json_schema()["pattern"]
LIST = "not a list; allowed: `[.., ..]`, or a line with a dash for each"
BLOCK = "not a block of keys; allowed: `{KEY: .., ..}`, or a line `KEY: ..` for each"
LONGEST_VALUE = 60  # characters: a longer value is a block, and its path says enough


def lines(error: ValidationError, block: type[BaseModel], values: Any, key: str = "") -> list[str]:
    """A line for each fault of `values`, which stand under `key` and were read as a `block`."""
    messages: dict[str, list[str]] = {}
    faults = error.errors(include_url=False)
    meant = {(*fault["loc"][:-1], meant_key(fault, block)) for fault in faults}
    for fault in faults:
        if fault["type"] == "missing" and fault["loc"] in meant:
            continue  # it is there, misspelt
        path = ".".join([key] * bool(key) + [str(part) for part in path_of(fault, values)])
        if fault["type"] == RENAMED:
            for old, new in fault.get("ctx", {})["renamed"].items():
                former = f"{path}.{old}".lstrip(".")
                messages[former] = [f"{former}: the key is now called {new}"]
        elif fault["type"] == BOOLEANS:
            for name in fault.get("ctx", {})["keys"]:
                number = f"{path}.{name}".lstrip(".")
                messages[number] = [f"{number}: a boolean, where a number or text is meant"]
        else:
            messages.setdefault(path, []).append(_message(fault, path, block))
    return [_joined(path, of_path) for path, of_path in messages.items()]


def _joined(path: str, messages: list[str]) -> str:
    # each member of a union complains, and the path is the same
    first, *others = dict.fromkeys(messages)
    return "; or ".join(
        [first, *(message.removeprefix(path).partition(": ")[2] for message in others)]
    )


def path_of(fault: ErrorDetails, values: Any) -> list[str | int]:
    """The keys as the file has them: pydantic adds the names of union members."""
    path: list[str | int] = []
    for part in fault["loc"]:
        match values, part:
            case Mapping(), _ if part in values:
                values = values[part]
            case list() | tuple(), int(index) if index < len(values):
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
            return f"{path}: the key is missing{_example(fault, block)}"
        case "string_pattern_mismatch":
            patterns = {NAME_PATTERN: f"not a name; allowed: {NAME}"}
            message = patterns.get(
                fault.get("ctx", {})["pattern"], "not a name, or has a line break"
            )
        case "union_tag_invalid":
            tags = fault.get("ctx", {})
            return f"{path}.source = {tags['tag']!r}: allowed: {tags['expected_tags']}"
        case "union_tag_not_found":
            return f"{path}.source: the key is missing"
        case "list_type":
            message = LIST
        case "dict_type" | "model_type" | "model_attributes_type":
            message = BLOCK
        case "secret":
            return f"{path}: {message}"
    if not path:
        return message
    shown = repr(value)
    is_block = isinstance(value, dict) or len(shown) > LONGEST_VALUE
    return f"{path}: {message}" if is_block else f"{path} = {shown}: {message}"


def _example(fault: ErrorDetails, block: type[BaseModel]) -> str:
    key = str(fault["loc"][-1])
    field = allowed_keys(fault, block).get(key)
    if field is None or not field.examples:
        return ""
    shown = yaml.safe_dump({key: field.examples[0]}, default_flow_style=True, sort_keys=False)
    return f", such as `{' '.join(shown.split())[1:-1]}`"


def _alternatives(fault: ErrorDetails, block: type[BaseModel]) -> str:
    allowed = allowed_keys(fault, block)
    meant = did_you_mean(str(fault["loc"][-1]), allowed)
    return f"; {meant}allowed: {', '.join(allowed)}" if allowed else ""


def meant_key(fault: ErrorDetails, block: type[BaseModel]) -> str | None:
    """The key that an unknown one resembles."""
    if fault["type"] != "extra_forbidden":
        return None
    near = difflib.get_close_matches(str(fault["loc"][-1]), allowed_keys(fault, block), n=1)
    return near[0] if near else None


def allowed_keys(fault: ErrorDetails, block: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of the block that holds a fault's key, without those that the workflow fills."""
    annotation: Any = block
    for part in fault["loc"][:-1]:
        annotation = _inside(annotation, part)
    filled = getattr(annotation, "filled_in", ())
    known = getattr(annotation, "model_fields", {})
    return {name: field for name, field in known.items() if name not in filled}


def _inside(annotation: Any, part: str | int) -> Any:
    """The type that stands at one part of an error's path within a type."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_tagged = any(isinstance(note, Tag) and note.tag == part for note in members)
        return members[0] if is_tagged else _inside(members[0], part)
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
