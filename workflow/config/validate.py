"""Reads a configuration, or says in a line what is wrong with it, before any job starts."""

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product
from typing import Any

from pydantic import ValidationError

from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import Method, ResolvedMethod, apply_overrides, resolve
from pipeline.reporting.analysis import published_numbers
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import HubModel
from pipeline.settings.training import Training
from workflow.config import endings, external_checks, positions, pydantic_errors
from workflow.grid import evaluations

# folders of results/ that hold no experiment
FOLDERS = (
    *("data", "tokenizers", "tokens", "tasks", "models", "starts", "teachers", "texts", "caches"),
    *("students", "evals", "logs", "benchmarks", "state", "sources", "damaged", "published"),
)
KINDS = ("teacher", "untrained", "start")  # of the report's rows that are no method's
# fields of a method that a row may override, beside hyperparameters
OVERRIDABLE = {one.name for one in fields(Method)} & set(MethodChoice.model_fields)


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
    found = [
        *_name_faults(experiment),
        *_method_faults(experiment),
        *_training_faults(experiment),
        *_grid_faults(experiment),
        *_protocol_faults(experiment),
        *external_checks.faults(experiment),
        *evaluations.faults(experiment.evaluation),
        *positions.faults(experiment, _methods(experiment)),
        *endings.faults(experiment),
    ]
    if found:
        raise ConfigError("\n".join(found))
    return experiment


def _name_faults(experiment: Experiment) -> list[str]:
    """Names that stand for something else where they are written."""
    found = []
    if experiment.experiment in FOLDERS:
        found.append(
            f"experiment = {experiment.experiment!r}: results/{experiment.experiment} holds "
            f"something else; allowed: any name but {', '.join(FOLDERS)}"
        )
    for role in ("methods", "students"):
        found += [
            f"{role}.{name}: the name is the report's own for rows that nobody trained by a "
            f"method; allowed: any other than {', '.join(KINDS)}"
            for name in getattr(experiment, role)
            if name in KINDS
        ]
    return found


def _method_faults(experiment: Experiment) -> list[str]:
    found = []
    for name, choice in experiment.methods.items():
        place = f"methods.{name}"
        own = choice.method if choice and choice.method else name
        if own not in METHODS:
            near = difflib.get_close_matches(own, METHODS, n=1)
            meant = f"did you mean {near[0]}?; " if near else ""
            found.append(f"{place}: unknown method {own!r}; {meant}available: {', '.join(METHODS)}")
            continue
        try:
            method = resolved_method(name, choice).method
        except ValueError as error:
            found.append(f"{place}.{error}")
            continue
        if method.teacher == "cache" and method.whole_vocabulary and not _has_whole(experiment):
            found.append(
                f"{place}.teacher = 'cache': its loss needs the whole vocabulary, and "
                f"teacher_cache.tier is {experiment.teacher_cache.tier}; allowed: 'live', or "
                "teacher_cache.tier = 'hidden'"
            )
        if method.plain_text_weight and not _has_plain(experiment):
            found.append(
                f"{place}: its language-modelling term needs plain text; give "
                "`data.examples.plain_text`, use the source `docstrings`, or leave the term out "
                f"with `{place}.plain_text_weight: 0`"
            )
    return found


def _methods(experiment: Experiment) -> list[Method]:
    """The methods behind the rows; what is wrong with a row is said elsewhere."""
    found = []
    for name, choice in experiment.methods.items():
        with contextlib.suppress(ValueError, KeyError):
            found.append(resolved_method(name, choice).method)
    return found


def _has_whole(experiment: Experiment) -> bool:
    return experiment.teacher_cache.whole_vocabulary


def _has_plain(experiment: Experiment) -> bool:
    source = experiment.data.examples
    return source.source == "docstrings" or bool(getattr(source, "plain_text", None))


def _training_faults(experiment: Experiment) -> list[str]:
    places = {"initial_sft": experiment.initial_sft}
    places |= {f"teachers.{n}.training": one.training for n, one in experiment.teachers.items()}
    places |= {f"students.{n}.training": one.training for n, one in experiment.students.items()}
    places |= {
        f"methods.{n}.training": one.training for n, one in experiment.methods.items() if one
    }
    found = []
    for place, overrides in places.items():
        try:
            merge(experiment.training, overrides or {})
        except ValidationError as error:
            found += pydantic_errors.lines(error, Training, overrides, place)
    return found


def _grid_faults(experiment: Experiment) -> list[str]:
    found = []
    for at, block in enumerate(experiment.grid):
        for key, values in block:
            twice = [one for one in dict.fromkeys(values or []) if values.count(one) > 1]
            found += [f"grid.{at}.{key}: {one!r} is listed twice" for one in twice]
    return found


def _protocol_faults(experiment: Experiment) -> list[str]:
    """A protocol that nobody published numbers for, or only for models that are not here."""
    protocol = experiment.protocol
    if protocol is None:
        return []
    if protocol not in (known := published_numbers.protocols()):
        allowed = ", ".join(known)
        return [f"protocol = {protocol!r}: nobody's numbers for it are at hand; allowed: {allowed}"]
    measured = published_numbers.pairs(protocol)
    if measured & set(product(*(_hub_names(experiment, one) for one in ("teachers", "students")))):
        return []
    pairs = "; ".join(f"{teacher} to {student}" for teacher, student in sorted(measured))
    return [
        f"protocol = {protocol!r}: its published numbers are for other models than this "
        f"experiment's; name these as models of source `hub`, or leave `protocol` out: {pairs}"
    ]


def _hub_names(experiment: Experiment, role: str) -> set[str]:
    models = [experiment.models[one.model] for one in getattr(experiment, role).values()]
    return {one.name for one in models if isinstance(one, HubModel)}


def resolved_method(name: str, choice: MethodChoice | None) -> ResolvedMethod:
    """The method of a row with all its settings. Raises ValueError for settings it doesn't have."""
    choice = choice or MethodChoice()
    resolved = resolve(METHODS[choice.method or name], choice.hyperparameters)
    overrides = choice.model_dump(include=OVERRIDABLE)
    return replace(resolved, method=apply_overrides(resolved.method, overrides))


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
