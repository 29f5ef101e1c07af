"""Reads a configuration, or says in a line what is wrong with it, before any job starts."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from importlib.util import find_spec
from itertools import product
from typing import Any

from pydantic import ValidationError

from pipeline.methods import composition
from pipeline.methods.catalogue import METHODS
from pipeline.methods.components import Kind
from pipeline.methods.composition import compose
from pipeline.methods.method import FIELDS, Method, ResolvedMethod, apply_overrides, resolve
from pipeline.reporting.analysis import published_numbers
from pipeline.settings.data import Docstrings, named_sources
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import HubModel
from pipeline.settings.training import Training
from workflow.config import (
    combination_checks,
    data_checks,
    endpoint_checks,
    judge_checks,
    lora_checks,
    model_checks,
    name_checks,
    pydantic_errors,
    report_checks,
    task_checks,
    tokenizer_checks,
    tuning_checks,
)
from workflow.config.config_file import ConfigError, key_of, value_faults
from workflow.config.merging import merge
from workflow.config.repair import repaired
from workflow.config.trials import values_to_try, with_trial

LONG_WORD = re.compile(r"(\S{100})\S{200,}")
PASSES = 4  # over the configuration: a key inside a misspelt one is seen in the next

# fields of a method that a row may override, beside hyperparameters
OVERRIDABLE = {field.name for field in fields(Method)} & set(MethodChoice.model_fields)
OVERRIDABLE -= set(FIELDS.values())  # parts, which come with hyperparameters


def validate(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a parsed configuration.

    Raises: ConfigError with key path, value and what is allowed, for each fault.
    """
    faults = list(value_faults(config))
    if faults:
        raise _error(faults)
    values: Mapping[str, Any] = dict(config)
    for _ in range(PASSES):
        try:
            experiment = Experiment.model_validate(values)
        except ValidationError as error:
            faults += _unrelated(pydantic_errors.lines(error, Experiment, values), faults)
            values = repaired(error, Experiment, values)
            continue
        faults += _unrelated(_other_faults(experiment, faults), faults)
        if not faults:
            return experiment
        break
    raise _error(faults)


def _error(faults: list[str]) -> ConfigError:
    """One short line for each fault, whatever a value holds."""
    one_line = (fault.replace("\n", "\\n").replace("\r", "\\r") for fault in faults)
    short = (LONG_WORD.sub(r"\1...", fault) for fault in one_line)
    return ConfigError("\n".join(dict.fromkeys(short)))


def _unrelated(faults: Iterable[str], earlier: Iterable[str]) -> list[str]:
    """Faults of other keys: what holds or is held by a faulty key looks faulty without it."""
    keys = [f"{key_of(fault)}." for fault in earlier]
    return [
        fault
        for fault in faults
        if not any(
            f"{key_of(fault)}.".startswith(key) or key.startswith(f"{key_of(fault)}.")
            for key in keys
        )
    ]


def _other_faults(experiment: Experiment, earlier: list[str]) -> Iterator[str]:
    """What pydantic can't see: one key against another, and against what there is.

    With earlier faults it is an experiment whose faulty keys are left out or renamed.
    """
    left_out = {key_of(fault).rpartition(".")[2] for fault in earlier}
    unknown = list(name_checks.reference_faults(experiment, left_out))
    yield from name_checks.name_faults(experiment)
    yield from unknown
    yield from name_checks.filled_in_faults(experiment)
    methods, faults = _resolved_methods(experiment)
    yield from faults
    for row, method in methods.items():
        yield from _missing_input_faults(experiment, f"methods.{row}", method)
    yield from _training_faults(experiment)
    yield from _cache_faults(experiment, methods)
    if not unknown:
        yield from tokenizer_checks.faults(experiment, methods)
        yield from combination_checks.faults(experiment, methods)
    yield from _grid_faults(experiment)
    yield from data_checks.faults(experiment)
    yield from task_checks.faults(experiment.evaluation)
    yield from judge_checks.faults(experiment)
    yield from endpoint_checks.faults(experiment, methods)
    yield from report_checks.faults(experiment)
    search_faults = list(tuning_checks.faults(experiment))
    yield from search_faults
    if not search_faults:
        yield from _trial_faults(experiment)
    if not unknown and not earlier:
        yield from _protocol_faults(experiment)
        yield from lora_checks.faults(experiment)
        yield from model_checks.faults(experiment, list(methods.values()))


def _resolved_methods(experiment: Experiment) -> tuple[dict[str, Method], list[str]]:
    """The methods behind the rows, and what is wrong with the other rows."""
    methods: dict[str, Method] = {}
    faults: list[str] = []
    for row, choice in experiment.methods.items():
        name = choice.method if choice and choice.method else row
        if name not in METHODS and needs_catalogue(row, choice or MethodChoice()):
            near = difflib.get_close_matches(name, METHODS, n=1)
            meant = f"did you mean {near[0]}?; " if near else ""
            faults.append(
                f"methods.{row}: unknown method {name!r}; {meant}allowed: a `loss` of its own, or "
                f"one of {', '.join(METHODS)}"
            )
            continue
        try:
            methods[row] = resolved_method(row, choice).method
        except ValueError as error:
            faults.append(f"methods.{row}.{error}")
    return methods, faults


def _missing_input_faults(experiment: Experiment, key: str, method: Method) -> Iterator[str]:
    """What a method needs that the experiment doesn't provide."""
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


def _training_faults(experiment: Experiment) -> Iterator[str]:
    for key, values in _training_overrides(experiment).items():
        try:
            training = merge(experiment.training, values)
        except ValidationError as error:
            yield from pydantic_errors.lines(error, Training, values, key)
            continue
        is_set = key == "training" or "optimizer_states" in values
        if is_set and training.optimizer_states == "8bit" and not find_spec("bitsandbytes"):
            yield (
                f"{key}.optimizer_states: '8bit' needs bitsandbytes, which is not installed here: "
                "pip install 'distilbench[bitsandbytes]', or float32"
            )


def _training_overrides(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """How trainings differ from the experiment's, by the path of the key; `training` by nothing."""
    overrides = {"training": {}, "initial_sft": experiment.initial_sft}
    for role in ("teachers", "students", "methods"):
        for name, block in getattr(experiment, role).items():
            overrides[f"{role}.{name}.training"] = block.training if block else None
    for name, choice in experiment.methods.items():
        overrides[f"methods.{name}.initial_sft"] = choice.initial_sft if choice else None
    return {key: values for key, values in overrides.items() if values or key == "training"}


def _trial_faults(experiment: Experiment) -> Iterator[str]:
    """Values to try that a method or its training refuses, and trials that aren't measured."""
    if (tuning := experiment.tuning) is None:
        return
    rows = {
        row: choice
        for row, choice in experiment.methods.items()
        if not _row_faults(experiment, row, choice)  # said where it stands
    }
    for row, choice in rows.items():
        for key, values in values_to_try(experiment, row).items():
            for value in values:
                for fault in _row_faults(experiment, row, with_trial(choice, {key: value})):
                    place = fault.removeprefix(f"methods.{row}.").removeprefix("training.")
                    own = f"methods.{row}." if key in tuning.methods.get(row, {}) else ""
                    yield f"tuning.{own}{place}"
    trainings = {row: _trainings(experiment, choice) for row, choice in rows.items()}
    yield from tuning_checks.measure_faults(tuning, trainings)


def _row_faults(experiment: Experiment, row: str, choice: MethodChoice | None) -> list[str]:
    alone = experiment.model_copy(update={"methods": {row: choice}})
    return [*_resolved_methods(alone)[1], *_training_faults(alone)]


def _trainings(experiment: Experiment, choice: MethodChoice | None) -> Iterator[Training]:
    """How a row trains each student."""
    own = choice.training if choice else {}
    for student in experiment.students.values():
        with contextlib.suppress(ValidationError):  # `_training_faults` reports it
            yield merge(experiment.training, student.training, own)


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
    teachers = _hub_names(
        experiment, [teacher.model for teacher in experiment.local_teachers.values()]
    )
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


def resolved_method(name: str, choice: MethodChoice | None) -> ResolvedMethod:
    """The method of a row with all its settings. Raises ValueError for settings it doesn't have."""
    choice = choice or MethodChoice()
    parts = choice.parts
    base = METHODS[choice.method or name] if needs_catalogue(name, choice) else None
    method = compose(base, {kind: part.name for kind, part in parts.items()})
    method = apply_overrides(method, choice.model_dump(include=OVERRIDABLE))
    of_parts: dict[Kind, dict[str, object]] = {
        kind: part.hyperparameters for kind, part in parts.items()
    }
    resolved = resolve(method, choice.hyperparameters, of_parts)
    composition.check(resolved)
    return resolved


def needs_catalogue(name: str, choice: MethodChoice) -> bool:
    """Whether a row starts from a method of the catalogue: the one it names, or its namesake."""
    return choice.method is not None or choice.loss is None or name in METHODS
