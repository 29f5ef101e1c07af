"""What pydantic finds wrong, in our words: the key's path, the value, and what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.settings.base import RENAMED

NAME = "small letters, digits and _, beginning with a letter, at most 40"
PLACELESS = 60  # characters: a longer value is a block, and its path says enough


def lines(error: ValidationError, block: type[BaseModel], given: Any, place: str = "") -> list[str]:
    """A line for each fault of `given`, which stands at `place` and was read as a `block`."""
    found: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        path = ".".join([place] * bool(place) + [str(one) for one in _path(fault, given)])
        if fault["type"] == RENAMED:
            for old, new in fault["ctx"]["renamed"].items():
                key = f"{path}.{old}".lstrip(".")
                found.setdefault(key, []).append(f"{key}: the key is now called {new}")
            continue
        found.setdefault(path, []).append(_message(fault, path, block))
    return [_joined(path, messages) for path, messages in found.items()]


def _joined(path: str, messages: list[str]) -> str:
    # each member of a union complains, and the path is the same
    first, *others = dict.fromkeys(messages)
    rest = [one.removeprefix(path).partition(": ")[2] for one in others]
    return "; or ".join([first, *rest])


def _path(fault: Any, given: Any) -> list[str | int]:
    """The keys as the file has them: pydantic adds the names of union members."""
    path: list[str | int] = []
    for part in fault["loc"]:
        is_index = isinstance(part, int) and isinstance(given, list | tuple)
        if is_index or (isinstance(given, Mapping) and part in given):
            given = given[part]
            path.append(part)
    return [*path, fault["loc"][-1]] if fault["type"] == "missing" else path


def _message(fault: Any, path: str, block: type[BaseModel]) -> str:
    kind, value, said = fault["type"], fault["input"], fault["msg"].removeprefix("Value error, ")
    match kind:
        case "extra_forbidden":
            return f"{path}: there is no such key{_alternatives(fault, block)}"
        case "missing":
            return f"{path}: the key is missing"
        case "string_pattern_mismatch":
            said = f"no name; allowed: {NAME}"
        case "union_tag_invalid":
            tag, allowed = fault["ctx"]["tag"], fault["ctx"]["expected_tags"]
            return f"{path}.source = {tag!r}: allowed: {allowed}"
        case "union_tag_not_found":
            return f"{path}.source: the key is missing"
    if not path:
        return said
    shown = repr(value)
    is_block = isinstance(value, dict) or len(shown) > PLACELESS
    return f"{path}: {said}" if is_block else f"{path} = {shown}: {said}"


def _alternatives(fault: Any, block: type[BaseModel]) -> str:
    *above, key = fault["loc"]
    annotation: Any = block
    for part in above:
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
        tagged = [one for one in members if _tag(one) == part]
        found = [_inside(one, part) for one in members if one is not type(None)]
        return tagged[0] if tagged else next((one for one in found if one is not None), None)
    field = getattr(annotation, "model_fields", {}).get(part)
    return field.annotation if field else None


def _tag(member: Any) -> str | None:
    field = getattr(member, "model_fields", {}).get("source")
    return get_args(field.annotation)[0] if field and get_args(field.annotation) else None
