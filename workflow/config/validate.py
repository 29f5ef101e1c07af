"""Reads a configuration, or says in a line what is wrong with it, before any job starts."""

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.data import docstrings
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import Method, ResolvedMethod, apply_overrides, resolve
from pipeline.reporting.analysis import published_numbers
from pipeline.settings.data import Docstrings, Files, Hub
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import HubModel
from pipeline.settings.training import Training
from workflow.config import model_checks, pydantic_errors, report_checks, task_checks

# folders of results/ that hold no experiment
FOLDERS = (
    *("data", "tokenizers", "tokens", "tasks", "models", "starts", "teachers", "texts", "caches"),
    *("students", "evals", "jobs", "logs", "benchmarks", "state", "sources", "damaged"),
    "published",
)
ROW_KINDS = ("teacher", "untrained", "start")  # names of the report's rows without a method
# fields of a method that a row may override, beside hyperparameters
OVERRIDABLE = {field.name for field in fields(Method)} & set(MethodChoice.model_fields)


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, a line each."""


def validate(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a parsed YAML file.

    Raises: ConfigError with key path, value and what is allowed, for each fault.
    """
    try:
        experiment = Experiment.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigError("\n".join(pydantic_errors.lines(error, Experiment, config))) from None
    faults = [
        *_name_faults(experiment),
        *_method_faults(experiment),
        *_training_faults(experiment),
        *_grid_faults(experiment),
        *_protocol_faults(experiment),
        *_data_faults(experiment),
        *task_checks.faults(experiment.evaluation),
        *report_checks.faults(experiment),
        *model_checks.faults(experiment, _valid_methods(experiment)),
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return experiment


def _name_faults(experiment: Experiment) -> Iterator[str]:
    """Names that stand for something else where they are written."""
    if experiment.experiment in FOLDERS:
        yield (
            f"experiment = {experiment.experiment!r}: results/{experiment.experiment} holds "
            f"something else; allowed: any name but {', '.join(FOLDERS)}"
        )
    names = {"methods": experiment.methods, "students": experiment.students}
    for role, name in ((role, name) for role, named in names.items() for name in named):
        if name in ROW_KINDS:
            yield (
                f"{role}.{name}: the report uses this name for rows without a method; allowed: "
                f"any other than {', '.join(ROW_KINDS)}"
            )


def _method_faults(experiment: Experiment) -> Iterator[str]:
    for row, choice in experiment.methods.items():
        key = f"methods.{row}"
        name = choice.method if choice and choice.method else row
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1)
            meant = f"did you mean {near[0]}?; " if near else ""
            yield f"{key}: unknown method {name!r}; {meant}available: {', '.join(METHODS)}"
            continue
        try:
            method = resolved_method(row, choice).method
        except ValueError as error:
            yield f"{key}.{error}"
        else:
            yield from _missing_input_faults(experiment, key, method)


def _missing_input_faults(experiment: Experiment, key: str, method: Method) -> Iterator[str]:
    """What a method needs that the experiment doesn't provide."""
    cache = experiment.teacher_cache
    if method.teacher == "cache" and method.whole_vocabulary and not cache.whole_vocabulary:
        yield (
            f"{key}.teacher = 'cache': its loss needs the whole vocabulary, and "
            f"teacher_cache.tier is {cache.tier}; allowed: 'live', or "
            "teacher_cache.tier = 'hidden'"
        )
    examples = experiment.data.examples
    has_plain_text = isinstance(examples, Docstrings) or examples.plain_text is not None
    if method.plain_text_weight and not has_plain_text:
        yield (
            f"{key}: its language-modelling term needs plain text; give "
            "`data.examples.plain_text`, use the source `docstrings`, or leave the term out "
            f"with `{key}.plain_text_weight: 0`"
        )


def _valid_methods(experiment: Experiment) -> list[Method]:
    """The methods behind the rows; `_method_faults` reports those that are wrong."""
    methods = []
    for name, choice in experiment.methods.items():
        with contextlib.suppress(ValueError, KeyError):
            methods.append(resolved_method(name, choice).method)
    return methods


def _training_faults(experiment: Experiment) -> Iterator[str]:
    overrides = {"initial_sft": experiment.initial_sft}
    for role in ("teachers", "students", "methods"):
        for name, block in getattr(experiment, role).items():
            overrides[f"{role}.{name}.training"] = block.training if block else None
    for key, values in overrides.items():
        try:
            merge(experiment.training, values or {})
        except ValidationError as error:
            yield from pydantic_errors.lines(error, Training, values, key)


def _grid_faults(experiment: Experiment) -> Iterator[str]:
    for index, block in enumerate(experiment.grid):
        for key, values in block:
            repeated = {value: None for value in values or [] if values.count(value) > 1}
            yield from (f"grid.{index}.{key}: {value!r} is listed twice" for value in repeated)


def _protocol_faults(experiment: Experiment) -> Iterator[str]:
    """A protocol without published numbers, or only with those of other models."""
    protocol = experiment.protocol
    if protocol is None:
        return
    if protocol not in (known := published_numbers.protocols()):
        allowed = ", ".join(known)
        yield f"protocol = {protocol!r}: no published numbers for it; allowed: {allowed}"
        return
    measured = published_numbers.pairs(protocol)
    teachers = _hub_names(experiment, [teacher.model for teacher in experiment.teachers.values()])
    students = _hub_names(experiment, [student.model for student in experiment.students.values()])
    if not measured & set(product(teachers, students)):
        pairs = "; ".join(f"{teacher} to {student}" for teacher, student in sorted(measured))
        yield (
            f"protocol = {protocol!r}: its published numbers are for other models than this "
            f"experiment's; name these as models of source `hub`, or leave `protocol` out: {pairs}"
        )


def _hub_names(experiment: Experiment, names: list[str]) -> set[str]:
    models = [experiment.models[name] for name in names]
    return {model.name for model in models if isinstance(model, HubModel)}


def _data_faults(experiment: Experiment) -> Iterator[str]:
    """Files that are missing, and packages that the corpus of docstrings lacks."""
    match experiment.data.examples:
        case Files() as source:
            for key in ("train", "validation", "test", "plain_text"):
                file = getattr(source, key)
                if isinstance(file, str) and not Path(file).is_file():
                    yield (
                        f"data.examples.{key} = {file!r}: there is no such file (a relative path "
                        f"starts at {Path.cwd()})"
                    )
        case Docstrings() as source:
            try:
                docstrings.package_versions(source.packages)
            except ValueError as error:
                yield str(error)
        case Hub():
            return  # the first job that loads it will tell


def resolved_method(name: str, choice: MethodChoice | None) -> ResolvedMethod:
    """The method of a row with all its settings. Raises ValueError for settings it doesn't have."""
    choice = choice or MethodChoice()
    resolved = resolve(METHODS[choice.method or name], choice.hyperparameters)
    overrides = choice.model_dump(include=OVERRIDABLE)
    return replace(resolved, method=apply_overrides(resolved.method, overrides))


def merge(training: Training, *overrides: Mapping[str, Any]) -> Training:
    """A budget with some of its keys replaced; steps and epochs replace each other."""
    values = training.model_dump()
    for override in overrides:
        if override.get("steps") is not None:
            values["epochs"] = None
        if override.get("epochs") is not None:
            values["steps"] = None
        values |= override
    return Training.model_validate(values)
