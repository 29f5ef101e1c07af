"""The catalogue of methods: a loss, a data policy, and what the method needs of the teacher.

It is read without importing torch: a loss or policy is known by the fields in its source, and is
imported only by `build_loss` and `build_policy`. Evidence says how sure we are of the recipe:
`code` the authors' repository was read, `full` the paper, `abstract` no more than that.
"""

import ast
import importlib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline import ranges
from pipeline.methods import METHODS, Method

PIPELINE = Path(__file__).parent
BUILT_IN = {"float": float, "int": int, "bool": bool, "str": str}
Kind = Literal["losses", "data_policies", "teacher_updates"]


@dataclass(frozen=True)
class Hyperparameter:
    """A field of a loss or policy: its name, range and default."""

    name: str
    annotation: str
    default: object

    def check(self, value: object) -> object:
        """`value` as the field takes it. Raises ValueError saying what is allowed."""
        kind = getattr(ranges, self.annotation, None) or BUILT_IN[self.annotation]
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None


@dataclass(frozen=True)
class Recipe:
    """A method with its hyperparameters decided: all that a training job knows of it."""

    method: Method
    loss: dict[str, object] = field(default_factory=dict)
    policy: dict[str, object] = field(default_factory=dict)
    update: dict[str, object] = field(default_factory=dict)


@cache
def hyperparameters(kind: Kind, name: str) -> dict[str, Hyperparameter]:
    """The fields of a loss, policy or teacher update, read off its source."""
    source = PIPELINE / kind / f"{name}.py"
    class_name = {"losses": "Loss", "data_policies": "Policy", "teacher_updates": "Update"}[kind]
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return {one.name: one for one in map(_hyperparameter, node.body) if one}
    raise ValueError(f"{source} defines no class {class_name}")


def _hyperparameter(node: ast.stmt) -> Hyperparameter | None:
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return None
    if node.value is None:
        return None
    return Hyperparameter(
        node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value)
    )


def names(kind: Kind) -> list[str]:
    """All losses, policies or teacher updates: the files of their folder."""
    return sorted(path.stem for path in (PIPELINE / kind).glob("[a-z]*.py"))


def adjustable(method: Method) -> dict[str, Hyperparameter]:
    """Every hyperparameter of a method that a configuration may set."""
    found = dict(hyperparameters("losses", method.loss))
    found |= hyperparameters("data_policies", method.policy)
    if method.update:
        found |= hyperparameters("teacher_updates", method.update)
    return found


def decide(name: str, overrides: dict[str, object]) -> Recipe:
    """The recipe of a method under overrides of its hyperparameters.

    Raises: ValueError for an unknown method or hyperparameter, or a value out of range.
    """
    if name not in METHODS:
        raise ValueError(f"{name!r} is no method; there are {', '.join(sorted(METHODS))}")
    method = METHODS[name]
    known = adjustable(method)
    for key, value in overrides.items():
        if key not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{key!r} is no hyperparameter of {name}; it has: {allowed}")
        try:
            known[key].check(value)
        except ValueError as error:
            raise ValueError(f"{key} = {value!r}: {error}") from None

    chosen = dict(method.defaults) | overrides
    return Recipe(
        method=method,
        loss=_filled("losses", method.loss, chosen),
        policy=_filled("data_policies", method.policy, chosen),
        update=_filled("teacher_updates", method.update, chosen) if method.update else {},
    )


def adjusted(method: Method, changes: dict[str, object]) -> Method:
    """A method with what a configuration changes beside hyperparameters.

    Raises: ValueError for a pair that cannot be: stored signals for text that is yet to be written.
    """
    changed = replace(method, **{key: one for key, one in changes.items() if one is not None})
    if changed.teacher == "cache" and (changed.policy != "fixed" or changed.update):
        raise ValueError("teacher = 'cache': its text is written in training; allowed: 'live'")
    if changed.teacher != method.teacher and method.teacher in ("none", "text"):
        raise ValueError(f"teacher = {changed.teacher!r}: its loss asks no teacher")
    return changed


def _filled(kind: Kind, name: str, chosen: dict[str, object]) -> dict[str, object]:
    """All fields with their values: a changed default is a changed setting."""
    known = hyperparameters(kind, name)
    return {key: one.check(chosen.get(key, one.default)) for key, one in known.items()}


def build_loss(name: str, values: dict[str, Any]) -> Any:
    """The loss in `pipeline/losses/{name}.py`."""
    return importlib.import_module(f"pipeline.losses.{name}").Loss(**values)


def build_policy(name: str, values: dict[str, Any]) -> Any:
    """The data policy in `pipeline/data_policies/{name}.py`."""
    return importlib.import_module(f"pipeline.data_policies.{name}").Policy(**values)


def build_update(name: str, values: dict[str, Any]) -> Any:
    """The teacher update in `pipeline/teacher_updates/{name}.py`."""
    return importlib.import_module(f"pipeline.teacher_updates.{name}").Update(**values)
