"""Checks of a search: equally many trials for all methods, chosen without their final seeds."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.training import Training
from pipeline.settings.tuning import Tuning, Value
from workflow.config import training_checks
from workflow.config.method_checks import resolved_methods
from workflow.config.trials import RATE, merge, values_to_try, with_trial
from workflow.config.wording import did_you_mean, repeated

# keys of `training` that say how long and how a trial is measured, or are no single value
FIXED = {
    *("steps", "epochs", "validations", "validation_texts", "keep", "keep_by", "precision"),
    "betas",
}
TUNABLE = tuple(key for key in Training.model_fields if key not in FIXED)
OWN_FIELDS = {"gold_weight"}  # of a row, that are tuned like hyperparameters
EXAMPLE = "such as `learning_rate: [1e-4, 3e-4, 1e-3]`"


def faults(experiment: Experiment) -> Iterator[str]:
    """Everything that is wrong with a search, a line each."""
    tuning = experiment.tuning
    if tuning is None:
        return
    of_search = [
        *_unknown_keys(experiment, tuning),
        *_repeated_values(tuning),
        *_named_values(tuning),
        *_shared_seeds(experiment, tuning),
        *_keys_set_twice(experiment, tuning),
        *_unequal_numbers(experiment, tuning),
    ]
    yield from of_search or _trial_faults(experiment, tuning)


def _unknown_keys(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    for key in tuning.common:
        if key not in TUNABLE:
            yield f"tuning.{key}: {_no_key(key)}; hyperparameters stand in `tuning.methods.ROW`"
    for row, lists in tuning.methods.items():
        if row not in experiment.methods:
            rows = ", ".join(experiment.methods)
            yield f"tuning.methods.{row}: {row!r} is not defined; there are {rows}"
        for key in lists:
            if key in FIXED or (key in MethodChoice.model_fields and key not in OWN_FIELDS):
                yield f"tuning.methods.{row}.{key}: {_no_key(key)}; or a hyperparameter"


def _no_key(key: str) -> str:
    meant = did_you_mean(key, TUNABLE)
    return f"no key that is tuned; {meant}allowed: {', '.join(TUNABLE)}"


def _repeated_values(tuning: Tuning) -> Iterator[str]:
    lists: dict[str, list[Value]] = {f"tuning.{key}": each for key, each in tuning.common.items()}
    lists["tuning.seeds"] = [*tuning.seeds]
    for row, own in tuning.methods.items():
        lists |= {f"tuning.methods.{row}.{key}": values for key, values in own.items()}
    for key, values in lists.items():
        yield from (f"{key}: {value!r} is listed twice" for value in repeated(values))


def _named_values(tuning: Tuning) -> Iterator[str]:
    """Hyperparameters that are names: they say which code runs, so they make another method."""
    for row, own in tuning.methods.items():
        for key, values in own.items():
            if key not in TUNABLE and any(isinstance(value, str) for value in values):
                yield f"tuning.methods.{row}.{key}: a name makes another method; write a row each"


def _shared_seeds(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    for index, block in enumerate(experiment.grid):
        if shared := sorted(set(tuning.seeds) & set(block.seeds)):
            yield (
                f"tuning.seeds = {tuning.seeds}: grid.{index} trains with seed {shared[0]}, too; a "
                "setting must not be judged by the training that it was chosen by; allowed: other "
                "seeds"
            )
            return


def _keys_set_twice(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    for row, choice in experiment.rows.items():
        own = tuning.methods.get(row, {})
        for key in {**tuning.common, **own}:
            place = _place(choice, key, is_own=key in own)
            if place is not None:
                where = f"tuning.methods.{row}.{key}" if key in own else f"tuning.{key}"
                yield f"{where}: methods.{row}{place} sets this key as well; keep one of the two"


def _place(choice: MethodChoice, key: str, is_own: bool) -> str | None:
    """Where a row sets a tuned key; its rate is one of its trials, unless it lists its own."""
    if key in choice.training:
        return f".training.{key}" if key != RATE or is_own else None
    if key in choice.hyperparameters or (key in OWN_FIELDS and getattr(choice, key) is not None):
        return f".{key}"
    parts = [part.name for part in choice.parts.values() if key in part.hyperparameters]
    return f", for {parts[0]}," if parts else None


def _unequal_numbers(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    numbers = {
        row: math.prod(map(len, values_to_try(experiment, row).values()))
        for row in experiment.methods
    }
    most = max(numbers.values())
    common = [n for row, n in numbers.items() if row not in tuning.methods]
    expected = common[0] if common else most
    if most == 1:
        yield f"tuning: one setting in all, and nothing to choose from; add a list, {EXAMPLE}"
        return
    for row, number in numbers.items():
        if number != expected:
            yield (
                f"tuning.methods.{row}: {number} settings to try, where other methods have "
                f"{expected}; every method has the same number of trials"
            )


def _trial_faults(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    """Values to try that a method or its training refuses, and trials that aren't measured."""
    rows = {
        row: choice
        for row, choice in experiment.rows.items()
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
    yield from _measure_faults(tuning, trainings)


def _row_faults(experiment: Experiment, row: str, choice: MethodChoice) -> list[str]:
    alone = experiment.model_copy(update={"methods": {row: choice}})
    return [*resolved_methods(alone)[1], *training_checks.faults(alone)]


def _trainings(experiment: Experiment, choice: MethodChoice) -> Iterator[Training]:
    """How a row trains each student."""
    for student in experiment.students.values():
        with contextlib.suppress(ValidationError):  # `training_checks` reports it
            yield merge(experiment.training, student.training, choice.training)


def _measure_faults(tuning: Tuning, trainings: Mapping[str, Iterable[Training]]) -> Iterator[str]:
    """Rows whose trainings don't take the measure by which their settings are chosen."""
    rows_by_fault: dict[tuple[str, str], dict[str, None]] = {}
    for row, of_row in trainings.items():
        sizes = (tuning.common | tuning.methods.get(row, {})).get("batch_size", [])
        for training in of_row:
            if fault := _measure_fault(tuning, training, len(sizes)):
                rows_by_fault.setdefault(fault, {})[row] = None
    for (fault, way_out), rows in rows_by_fault.items():
        first, *others = rows
        more = f" and of {len(others)} more" if others else ""
        yield f"{fault} the training of {first}{more}; {way_out}"


def _measure_fault(tuning: Tuning, training: Training, sizes: int) -> tuple[str, str] | None:
    """What is wrong, up to the rows that it is wrong with, and the way out."""
    if not training.validations:
        return "tuning: nothing is measured to choose by in", "give training.validations"
    if tuning.choose_by == "rouge_l" and not training.validates_text:
        return (
            "tuning.choose_by = 'rouge_l': it isn't measured in",
            "allowed: 'nll', or training.keep = 'best' and training.keep_by = 'rouge_l'",
        )
    if training.steps and sizes > 1:
        return (
            "tuning.batch_size: a larger batch would be more text for the number of steps of",
            "allowed: training.epochs",
        )
    return None
