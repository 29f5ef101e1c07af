"""Reads a configuration, or says in a line what is wrong with it, before any job starts."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import recipes
from pipeline.methods import Method
from pipeline.settings.data import Files
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import PathModel
from pipeline.settings.training import Training

# what a row may change of its method, beside hyperparameters
CHANGES = {one.name for one in fields(Method)} & set(MethodChoice.model_fields)


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, a line each."""


def validate(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a parsed YAML file.

    Raises: ConfigError with key path, value and what is allowed, for each fault.
    """
    try:
        experiment = Experiment.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error))) from None
    faults = [*_method_faults(experiment), *_training_faults(experiment), *_file_faults(experiment)]
    if faults:
        raise ConfigError("\n".join(faults))
    return experiment


def _lines(error: ValidationError) -> list[str]:
    return [_line(fault) for fault in error.errors(include_url=False)]


def _line(fault: Any) -> str:
    # discriminated unions put the chosen member into the path, which is no key of the file
    tags = {"docstrings", "files", "hub", "shape", "layers_of", "path", "pypi"}
    place = ".".join(
        str(part)
        for at, part in enumerate(fault["loc"])
        if not (part in tags and at + 1 < len(fault["loc"]) and at > 0)
    )
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{place}: there is no such key{_alternatives(fault)}"
    if not place:
        return message
    return f"{place} = {fault['input']!r}: {message}"


def _alternatives(fault: Any) -> str:
    allowed = _fields_at(fault["loc"][:-1])
    return f"; allowed: {', '.join(allowed)}" if allowed else ""


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed at a path, as far as plain blocks lead there."""
    block: Any = Experiment
    for part in path:
        field = getattr(block, "model_fields", {}).get(part)
        if field is None:
            return []
        block = field.annotation
    return list(getattr(block, "model_fields", {}))


def _method_faults(experiment: Experiment) -> list[str]:
    faults = []
    for name, choice in experiment.methods.items():
        own = choice.method if choice and choice.method else name
        try:
            recipe = recipes.decide(own, choice.hyperparameters if choice else {})
            changes = choice.model_dump(include=CHANGES) if choice else {}
            method = recipes.adjusted(recipe.method, changes)
        except ValueError as error:
            faults.append(f"methods.{name}: {error}")
            continue
        if method.plain_text_weight and not _has_plain(experiment):
            faults.append(
                f"methods.{name}: its language-modelling term needs plain text; give "
                "`data.examples.plain`, use the source `docstrings`, or leave the term out "
                f"with `methods.{name}.plain_text_weight: 0`"
            )
    return faults


def _has_plain(experiment: Experiment) -> bool:
    source = experiment.data.examples
    return source.source == "docstrings" or bool(getattr(source, "plain", None))


def _training_faults(experiment: Experiment) -> list[str]:
    places = {"warmup": experiment.warmup}
    places |= {f"teachers.{n}.training": one.training for n, one in experiment.teachers.items()}
    places |= {f"students.{n}.training": one.training for n, one in experiment.students.items()}
    places |= {
        f"methods.{n}.training": one.training for n, one in experiment.methods.items() if one
    }
    faults = []
    for place, overrides in places.items():
        try:
            merge(experiment.training, overrides or {})
        except ValidationError as error:
            faults += [f"{place}.{line}" for line in _lines(error)]
    return faults


def merge(training: Training, *overrides: Mapping[str, Any]) -> Training:
    """A budget with some of its keys replaced; steps and epochs replace each other."""
    values = training.model_dump()
    for one in overrides:
        if one.get("steps") is not None:
            values["epochs"] = None
        if one.get("epochs") is not None:
            values["steps"] = None
        values |= one
    return Training.model_validate(values)


def _file_faults(experiment: Experiment) -> list[str]:
    faults = []
    source = experiment.data.examples
    if isinstance(source, Files):
        for key in ("train", "validation", "test"):
            value = getattr(source, key)
            if isinstance(value, str) and not Path(value).is_file():
                faults.append(f"data.examples.{key} = {value!r}: there is no such file")
    for name, model in experiment.models.items():
        if isinstance(model, PathModel) and not (Path(model.path) / "config.json").exists():
            faults.append(f"models.{name}.path = {model.path!r}: it holds no config.json")
    for name, model in experiment.models.items():
        size = experiment.tokenizer.vocabulary if experiment.tokenizer else None
        if model.source == "shape" and size and experiment.teacher_cache.k > size:
            faults.append(
                f"teacher_cache.k = {experiment.teacher_cache.k}: "
                f"tokenizer.vocabulary has {size} tokens (models.{name})"
            )
            break
    return faults
