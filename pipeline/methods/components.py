"""What methods are built of: losses, data policies and teacher updates, each known by its file.

They are read without importing torch: one is known by the fields in its source, and is imported
only by `build_loss`, `build_policy` and `build_update`. Training jobs import this module, so it
doesn't know the list of methods: a new entry there must not rerun them.
"""

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.methods import ranges

PIPELINE = Path(__file__).parents[1]
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


def build_loss(name: str, values: dict[str, Any]) -> Any:
    """The loss in `pipeline/losses/{name}.py`."""
    return importlib.import_module(f"pipeline.losses.{name}").Loss(**values)


def build_policy(name: str, values: dict[str, Any]) -> Any:
    """The data policy in `pipeline/data_policies/{name}.py`."""
    return importlib.import_module(f"pipeline.data_policies.{name}").Policy(**values)


def build_update(name: str, values: dict[str, Any]) -> Any:
    """The teacher update in `pipeline/teacher_updates/{name}.py`."""
    return importlib.import_module(f"pipeline.teacher_updates.{name}").Update(**values)
