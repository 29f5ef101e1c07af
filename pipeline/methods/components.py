"""The components of methods: losses of two kinds, data policies and teacher updates, a file each.

The fields of a component are read off its source, so that a configuration is checked without
importing torch. Training jobs import this module, so it doesn't know the list of methods: a new
entry there must not rerun them.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.methods import ranges

PIPELINE = Path(__file__).parents[1]
BUILT_IN = {"float": float, "int": int, "bool": bool, "str": str}
Kind = Literal["losses", "data_policies", "teacher_updates", "feature_losses"]
CLASSES: dict[Kind, str] = {
    "losses": "Loss",
    "data_policies": "Policy",
    "teacher_updates": "Update",
    "feature_losses": "Loss",
}


@dataclass(frozen=True)
class Hyperparameter:
    """A field of a component: its name, range and default."""

    name: str
    annotation: str
    default: object

    @property
    def is_base_divergence(self) -> bool:
        """Whether the field names a loss that the component is built around."""
        return vars(ranges).get(self.annotation) is ranges.BaseDivergence

    def check(self, value: object) -> object:
        """`value` as the field takes it. Raises ValueError saying what is allowed."""
        if self.is_base_divergence and value not in base_divergences():
            raise ValueError(f"Input should be one of {', '.join(base_divergences())}")
        try:
            checked = _reader(self.annotation)(value)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        if isinstance(value, bool) and not isinstance(checked, bool):
            raise ValueError("a boolean is no number")
        return checked


@cache
def _reader(annotation: str) -> Callable[[object], object]:
    """Reads the values of a field, which has a range of ours or a type of Python's."""
    kind = getattr(ranges, annotation, None) or BUILT_IN[annotation]
    return TypeAdapter(kind).validate_python


@cache
def source_of(kind: Kind, name: str) -> ast.ClassDef:
    """The parsed class of a component."""
    source = PIPELINE / kind / f"{name}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == CLASSES[kind]:
            return node
    raise ValueError(f"{source} defines no class {CLASSES[kind]}")


def formula(kind: Kind, name: str) -> str:
    """The first paragraph of a component's docstring: its formula, or what it does, in a line."""
    docstring = ast.get_docstring(source_of(kind, name)) or ""
    return docstring.split("\n\n")[0].replace("\n", " ")


def file_of(kind: Kind, name: str) -> str:
    """The file of a component, from the root of the repository."""
    return f"pipeline/{kind}/{name}.py"


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


@cache
def class_constant(kind: Kind, name: str, constant: str, default: object) -> object:
    """A class attribute of a component; `default` if it has none."""
    for node in source_of(kind, name).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
                return ast.literal_eval(node.value)
    return default


def has(kind: Kind, name: str, constant: str) -> bool:
    """Whether a constant of a component is set and true."""
    return bool(class_constant(kind, name, constant, False))


def names_with(kind: Kind, constant: str) -> list[str]:
    """All components of a kind that have a constant."""
    return [name for name in names(kind) if has(kind, name, constant)]


def later_keys(policy: str) -> tuple[str, ...]:
    """Hyperparameters of a policy that came later, so that ids at their defaults stay."""
    keys = class_constant("data_policies", policy, "later_keys", ())
    assert isinstance(keys, tuple)
    return keys


def generates_text(policy: str) -> bool:
    """Whether a data policy generates text during training."""
    return decoding_passes(policy) > 0


def selects_texts(policy: str) -> bool:
    """Whether a data policy has teacher and student read the whole train set before training."""
    return has("data_policies", policy, "selects_texts")


def decoding_passes(policy: str) -> float:
    """How many models decode for each text of a step under a data policy, on average."""
    passes = class_constant("data_policies", policy, "decoding_passes", None)
    if not isinstance(passes, float):
        raise ValueError(f"data_policies/{policy}.py: class Policy lacks a number decoding_passes")
    return passes


def on_sparse_support(loss: str) -> object:
    """The bias of a loss on a top-K support: "lower", "equal" or "refused"; None: undocumented."""
    return class_constant("losses", loss, "on_sparse_support", None)


def needs_reference(loss: str) -> bool:
    """Whether a loss compares with the student before its training."""
    return has("losses", loss, "needs_reference")


@cache
def base_divergences() -> list[str]:
    """The losses that may serve inside another one: they need no more than two distributions."""
    return names_with("losses", "needs_only_distributions")


def inner_losses(loss: str, settings: Mapping[str, object]) -> list[str]:
    """The losses that a loss with these settings is built around."""
    fields = hyperparameters("losses", loss).values()
    return [str(settings[field.name]) for field in fields if field.is_base_divergence]


def names(kind: Kind) -> list[str]:
    """All components of a kind: the files of their folder."""
    return sorted(path.stem for path in (PIPELINE / kind).glob("[a-z]*.py"))
