"""Chooses among the trials of one method and student by their validations; no test data is read."""

import math
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from pipeline.artifacts import artifact, checksums, schemas
from pipeline.artifacts.validations import MEASURES, kept_position
from pipeline.methods import components
from pipeline.runtime.progress import log
from pipeline.settings.base import Settings
from pipeline.settings.distill import DistillSettings
from pipeline.settings.tuning import (
    FILE,
    Choice,
    ChoiceSettings,
    TriedSetting,
    ValidationMeasure,
    Value,
)
from pipeline.stages import command_line
from pipeline.stages.options import ChooseOptions


def run(options: ChooseOptions) -> None:
    """Writes the validation scores of all trials, and the setting with the best mean."""
    settings = ChoiceSettings.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    choice = choose(settings, options.trial)
    chosen = choice.tried[choice.chosen]
    log(f"of {len(choice.tried)} settings: {chosen.values}, {choice.choose_by} {chosen.mean:.4f}")
    with artifact.create(options.out, options.job, inputs) as (folder, _):
        artifact.write_json(folder / FILE, choice.model_dump(mode="json"))


def choose(settings: ChoiceSettings, trials: Sequence[Path]) -> Choice:
    """The choice among trained students.

    Of equal scores the setting that comes first wins: that of the smallest values.

    Raises: ValueError if no setting has a finite score for each seed.
    """
    scores: dict[tuple[Value, ...], dict[int, float | None]] = defaultdict(dict)
    for folder in trials:
        job = DistillSettings.model_validate(checksums.read_manifest(folder)["settings"])
        values = tuple(value_at(job, places[0]) for places in settings.keys.values())
        scores[values][job.seed] = validation_score(folder, settings.choose_by)
    tried = [
        TriedSetting(
            values=dict(zip(settings.keys, values, strict=True)),
            scores=dict(sorted(of_seeds.items())),
            mean=_mean(list(of_seeds.values())),
        )
        for values, of_seeds in sorted(scores.items(), key=lambda item: _in_order(item[0]))
    ]
    best = _best(tried, settings.choose_by)
    chosen = tried[best].values
    places = {place: chosen[key] for key, places in settings.keys.items() for place in places}
    return Choice(choose_by=settings.choose_by, tried=tried, chosen=best, settings=places)


def value_at(job: DistillSettings, place: str) -> Value:
    """The value at a dotted place in the settings of a training job.

    A policy's keys that came later are not there where they have their defaults.
    """
    path, _, key = place.rpartition(".")
    block = attrgetter(path)(job)
    if isinstance(block, Settings):
        return getattr(block, key)
    if key in block:
        return block[key]
    default = components.hyperparameters("data_policies", job.method.policy)[key].default
    assert isinstance(default, Value)
    return default


def _in_order(values: tuple[Value, ...]) -> list[tuple[bool, Value]]:
    """What settings are sorted by: a number, such as a dropout, comes before a text, `own`."""
    return [(isinstance(value, str), value) for value in values]


def validation_score(trial: Path, measure: ValidationMeasure) -> float | None:
    """The validation score of the weights that a trial kept; None if it diverged."""
    manifest = checksums.read_manifest(trial)
    if "diverged" in manifest:
        return None
    training = manifest["settings"]["training"]
    table = schemas.read(trial / "steps.parquet", schemas.STEPS)
    steps = {entry.column: table[entry.column].to_numpy() for entry in MEASURES.values()}
    is_best_kept = training.get("keep") == "best"
    position = kept_position(steps, training["keep_by"]) if is_best_kept else -1
    score = float(steps[MEASURES[measure].column][position])
    return score if math.isfinite(score) else None


def _mean(scores: list[float | None]) -> float | None:
    finite = [score for score in scores if score is not None]
    return sum(finite) / len(finite) if len(finite) == len(scores) else None


def _best(tried: list[TriedSetting], measure: ValidationMeasure) -> int:
    sign = 1 if MEASURES[measure].higher_is_better else -1
    means = [(sign * entry.mean, -i) for i, entry in enumerate(tried) if entry.mean is not None]
    if not means:
        raise ValueError(
            "no trial has a finite validation score: try lower values of tuning.learning_rate"
        )
    return -max(means)[1]
