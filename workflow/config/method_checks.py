"""Checks of methods: their settings, and what they need that the experiment doesn't provide."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from pipeline.methods import composition
from pipeline.methods.catalogue import METHODS
from pipeline.methods.components import Kind
from pipeline.methods.composition import compose
from pipeline.methods.method import FIELDS, Method, ResolvedMethod, apply_overrides, resolve
from pipeline.settings.data import Docstrings, named_sources
from pipeline.settings.experiment import Experiment, MethodChoice
from workflow.config.wording import did_you_mean

# fields of a method that a row may override, beside hyperparameters
OVERRIDABLE = {field.name for field in fields(Method)} & set(MethodChoice.model_fields)
OVERRIDABLE -= set(FIELDS.values())  # parts, which come with hyperparameters


def resolved_method(name: str, choice: MethodChoice | None) -> ResolvedMethod:
    """The method of a row with all its settings. Raises ValueError for settings it doesn't have."""
    choice = choice or MethodChoice()
    parts = choice.parts
    base = METHODS[choice.method or name] if _needs_catalogue(name, choice) else None
    method = compose(base, {kind: part.name for kind, part in parts.items()})
    method = apply_overrides(method, choice.model_dump(include=OVERRIDABLE))
    of_parts: dict[Kind, dict[str, object]] = {
        kind: part.hyperparameters for kind, part in parts.items()
    }
    resolved = resolve(method, choice.hyperparameters, of_parts)
    composition.check(resolved)
    return resolved


def _needs_catalogue(name: str, choice: MethodChoice) -> bool:
    """Whether a row starts from a method of the catalogue: the one it names, or its namesake."""
    return choice.method is not None or choice.loss is None or name in METHODS


def resolved_methods(experiment: Experiment) -> tuple[dict[str, Method], list[str]]:
    """The methods behind the rows, and what is wrong with the other rows."""
    methods: dict[str, Method] = {}
    faults: list[str] = []
    for row, choice in experiment.rows.items():
        name = choice.method or row
        if name not in METHODS and _needs_catalogue(row, choice):
            own_name = "" if choice.method else "with `method: NAME` or `loss: NAME` any name, or "
            faults.append(
                f"methods.{row}: unknown method {name!r}; {did_you_mean(name, METHODS)}allowed: "
                f"{own_name}one of {', '.join(METHODS)}"
            )
            continue
        try:
            methods[row] = resolved_method(row, choice).method
        except ValueError as error:
            faults.append(f"methods.{row}.{error}")
    return methods, faults


def input_faults(experiment: Experiment, methods: Mapping[str, Method]) -> Iterator[str]:
    """What methods need that the experiment doesn't provide."""
    for row, method in methods.items():
        yield from _missing_input_faults(experiment, f"methods.{row}", method)
    yield from _cache_faults(experiment, methods)


def _missing_input_faults(experiment: Experiment, key: str, method: Method) -> Iterator[str]:
    """What a method needs that the experiment doesn't provide."""
    if method.relabelling_stages and experiment.teacher_text.prompts == 1:
        yield (
            f"teacher_text.prompts = 1: {key} trains two students on a half of the prompts each; "
            "allowed: 2 or more"
        )
    cache = experiment.teacher_cache
    if method.teacher == "cache" and method.whole_vocabulary and not cache.whole_vocabulary:
        yield (
            f"{key}.teacher = 'cache': its loss needs the whole vocabulary, and "
            f"teacher_cache.tier is {cache.tier}; allowed: 'live', or "
            "teacher_cache.tier = 'hidden'"
        )
    has_plain_text = any(
        isinstance(source, Docstrings) or source.plain_text is not None
        for source in named_sources(experiment.data.examples).values()
    )
    if method.plain_text_weight and not has_plain_text:
        yield (
            f"{key}: its language-modelling term needs plain text; give "
            "`data.examples.plain_text`, use the source `docstrings`, or leave the term out "
            f"with `{key}.plain_text_weight: 0`"
        )


def _cache_faults(experiment: Experiment, methods: Mapping[str, Method]) -> Iterator[str]:
    """Splits of the teacher's cache that are read, and not in it."""
    readers = {
        "test": "evaluation.tasks: heldout" if "heldout" in experiment.evaluation.tasks else "",
        "train": ", ".join(
            f"methods.{name}"
            for name, method in methods.items()
            if method.teacher == "cache" and method.text == "gold" and not method.cached_draws
        ),
    }
    splits = experiment.teacher_cache.splits
    for split in (split for split, reader in readers.items() if reader and split not in splits):
        yield f"teacher_cache.splits = {splits}: {split} is read by {readers[split]}; add it"
