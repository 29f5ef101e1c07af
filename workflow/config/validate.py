"""Reads a configuration, or says in a line what is wrong with it, before any job starts."""

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from pipeline.settings.experiment import Experiment
from workflow.config import (
    data_checks,
    evaluation_checks,
    method_checks,
    model_checks,
    name_checks,
    pydantic_errors,
    report_checks,
    row_checks,
    teacher_checks,
    training_checks,
    tuning_checks,
)
from workflow.config.config_file import ConfigError, key_of, value_faults
from workflow.config.repair import repaired

LONG_WORD = re.compile(r"(\S{100})\S{200,}")
PASSES = 4  # over the configuration: a key inside a misspelt one is seen in the next


def validate(config: Mapping[str, object]) -> Experiment:
    """The experiment in a parsed configuration.

    Raises: ConfigError with key path, value and what is allowed, for each fault.
    """
    faults = list(value_faults(config))
    if faults:
        raise _error(faults)
    values: Mapping[str, object] = dict(config)
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
    methods, unknown_methods = method_checks.resolved_methods(experiment)
    yield from name_checks.name_faults(experiment)
    yield from unknown
    yield from name_checks.filled_in_faults(experiment)
    yield from unknown_methods
    yield from method_checks.input_faults(experiment, methods)
    yield from training_checks.faults(experiment)
    of_rows = [] if earlier else list(row_checks.faults(experiment))
    of_files = [*data_checks.faults(experiment), *evaluation_checks.faults(experiment)]
    yield from [*of_rows, *_unrelated(of_files, of_rows)]
    yield from teacher_checks.endpoint_faults(experiment, methods)
    yield from report_checks.faults(experiment)
    yield from tuning_checks.faults(experiment)
    if not unknown:
        yield from teacher_checks.tokenizer_faults(experiment, methods)
        yield from teacher_checks.combination_faults(experiment, methods)
    if not unknown and not earlier:
        yield from report_checks.protocol_faults(experiment)
        of_models = list(model_checks.faults(experiment, list(methods.values())))
        yield from of_models or training_checks.model_faults(experiment)  # reads their weights
