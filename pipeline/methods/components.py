"""What methods are built of: losses, data policies and teacher updates, a file each.

The fields of a component are read off its source, so that a configuration is checked without
importing torch; only `build_loss`, `build_policy` and `build_update` import it. Training jobs
import this module, so it doesn't know the list of methods: a new entry there must not rerun them.
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
CLASSES: dict[Kind, str] = {
    "losses": "Loss",
    "data_policies": "Policy",
    "teacher_updates": "Update",
}


@dataclass(frozen=True)
class Hyperparameter:
    """A field of a component: its name, range and default."""

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
def source_of(kind: Kind, name: str) -> ast.ClassDef:
    """The parsed class of a component."""
    source = PIPELINE / kind / f"{name}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == CLASSES[kind]:
            return node
    raise ValueError(f"{source} defines no class {CLASSES[kind]}")


@cache
def hyperparameters(kind: Kind, name: str) -> dict[str, Hyperparameter]:
    """The fields of a component, by name."""
    fields = map(_hyperparameter, source_of(kind, name).body)
    return {field.name: field for field in fields if field}


def _hyperparameter(node: ast.stmt) -> Hyperparameter | None:
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return None
    annotation = ast.unparse(node.annotation)
    if node.value is None or annotation.startswith("ClassVar"):
        return None
    return Hyperparameter(node.target.id, annotation, ast.literal_eval(node.value))


def class_constant(kind: Kind, name: str, constant: str, default: object) -> object:
    """What a component's class says of itself beside its fields; `default` if it is silent."""
    for node in source_of(kind, name).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
                return ast.literal_eval(node.value)
    return default


def generates_text(policy: str) -> bool:
    """Whether a data policy generates text during training."""
    return not class_constant("data_policies", policy, "known_ahead", False)


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
