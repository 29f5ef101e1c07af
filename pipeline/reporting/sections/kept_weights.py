"""Table of the steps whose weights were kept, for trainings that end with their best validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.artifacts.validations import MEASURES, ValidationMeasure, kept_position
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.render.table import Column, Table, method_column, pair_table, text_column

CAPTION = (
    "The optimizer step whose weights were kept and evaluated, for each training seed: the best of "
    "the validations on the way. A step that is the last of all says that a longer training might "
    "have been better still."
)


@dataclass(frozen=True)
class Kept:
    """The step that one training seed kept."""

    row: Row
    measure: ValidationMeasure
    step: int
    steps: int
    value: float


COLUMNS: tuple[Column[Sequence[Kept]], ...] = (
    method_column(lambda seeds: seeds[0].row),
    text_column("Steps kept", lambda seeds: _steps(seeds), "a seed each"),
    text_column("Chosen by", lambda seeds: seeds[0].measure.title),
)


def kept_weights_table(inputs: ReportInputs, results: Results) -> Table | None:
    """The kept steps; None where every training ended with its last weights."""
    kept = {row: list(_kept(inputs, row)) for row in results.trained}
    items = {
        pair: [kept[row] for row in results.methods[pair] if kept[row]] for pair in results.pairs
    }
    data = pd.DataFrame(
        {
            **seed.row.columns,
            "metric": seed.measure.column,
            "unit": seed.measure.unit,
            "step": seed.step,
            "steps": seed.steps,
            "value": seed.value,
        }
        for seeds in kept.values()
        for seed in seeds
    )
    return pair_table("kept_weights", CAPTION, COLUMNS, items, results, data)


def _kept(inputs: ReportInputs, row: Row) -> Iterator[Kept]:
    for id in inputs.students[row.cell]:
        training = inputs.manifests[inputs.model_folders[id]]["settings"]["training"]
        if training.get("keep") == "best":
            measure, steps = MEASURES[training["keep_by"]], inputs.training_steps[id]
            best = kept_position(steps, training["keep_by"])
            value = float(steps[measure.column][best])
            yield Kept(row, measure, int(steps["step"][best]), len(steps["step"]), value)


def _steps(seeds: Sequence[Kept]) -> str:
    return f"{', '.join(f'{seed.step:,}' for seed in seeds)} of {seeds[0].steps:,}"
