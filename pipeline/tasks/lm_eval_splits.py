"""The splits of its data that a task of lm-eval reads, by the keys of its YAML files."""

from collections.abc import Iterable, Mapping
from typing import Any

Definition = Mapping[str, Any]  # of a task, as its YAML files say
EVALUATION = "evaluation"  # stands for the split that a task is evaluated on


def evaluation_split(definition: Definition) -> str:
    """The split that a task is evaluated on. Raises ValueError if it has none."""
    split = definition.get("test_split") or definition.get("validation_split")
    if not split:
        raise ValueError(f"{definition.get('task')} has no split to be evaluated on")
    return split


def fewshot_split(definition: Definition) -> str | None:
    """The split that lm-eval takes a task's examples from, read even where it takes none."""
    fewshot = definition.get("fewshot_config") or {}
    if fewshot.get("samples") is not None and not fewshot.get("split"):
        return None
    named = fewshot.get("split") or definition.get("fewshot_split")
    return named or definition.get("training_split") or definition.get("validation_split")


def check_named(
    task: str, splits: Iterable[str], definition: Definition, shots: int | None
) -> None:
    """Raises ValueError where a split that is read is none of those that files are named for."""
    evaluated, examples = evaluation_split(definition), fewshot_split(definition)
    named = {evaluated if split == EVALUATION else split for split in splits}
    key = f"evaluation.data.{task}.files"
    if evaluated not in named:
        raise ValueError(f"{key} lacks the split {evaluated!r}")
    shown = definition.get("num_fewshot") if shots is None else shots
    if shown and examples is not None and examples not in named:
        raise ValueError(
            f"{task} shows {shown} examples of the split {examples!r}: name files for it in {key}"
        )
