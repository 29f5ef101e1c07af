"""Table of the steps whose weights were kept, for trainings that end with their best validation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.artifacts.validations import MEASURES, ValidationMeasure, kept_position
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.model_sizes import student_ids
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.render.table import (
    Cell,
    Heading,
    Table,
    method_cell,
    pair_table,
    text_cell,
)

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


def kept_weights_table(
    inputs: ReportInputs, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The kept steps; None where every training ended with its last weights."""
    kept = [
        seed for pair in results.pairs for row in results.methods[pair] for seed in _of(inputs, row)
    ]
    rows = {
        pair: (_cells([seed for seed in kept if seed.row == row]) for row in results.methods[pair])
        for pair in results.pairs
    }
    headings = (
        Heading("Method", numeric=False),
        Heading("Steps kept", "a seed each", numeric=False),
        Heading("Chosen by", numeric=False),
    )
    data = pd.DataFrame(map(_record, kept))
    shown = {pair: [cells for cells in of_pair if cells] for pair, of_pair in rows.items()}
    return pair_table("kept_weights", CAPTION, headings, shown, sizes, data)


def _of(inputs: ReportInputs, row: Row) -> Iterator[Kept]:
    for id in student_ids(inputs, row):
        training = inputs.manifests[inputs.model_folders[id]]["settings"]["training"]
        if training.get("keep") == "best":
            measure, steps = MEASURES[training["keep_by"]], inputs.training_steps[id]
            best = kept_position(steps, training["keep_by"])
            value = float(steps[measure.column][best])
            yield Kept(row, measure, int(steps["step"][best]), len(steps["step"]), value)


def _cells(seeds: list[Kept]) -> tuple[Cell, ...]:
    if not seeds:
        return ()
    steps = ", ".join(f"{seed.step:,}" for seed in seeds)
    return (
        method_cell(seeds[0].row),
        text_cell(f"{steps} of {seeds[0].steps:,}"),
        text_cell(seeds[0].measure.title),
    )


def _record(seed: Kept) -> dict[str, object]:
    return {
        **seed.row.columns,
        "metric": seed.measure.column,
        "unit": seed.measure.unit,
        "step": seed.step,
        "steps": seed.steps,
        "value": seed.value,
    }
