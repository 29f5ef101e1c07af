"""The records of an evaluation: a row for each item and metric, as columns, for there are many."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import artifact, schemas

ITEMS, OUTPUTS, CALIBRATION = "items.parquet", "outputs.parquet", "calibration.parquet"
RESULTS = "results.json"


@dataclass(frozen=True)
class EvaluationRecords:
    """Rows of ITEMS, OUTPUTS and CALIBRATION, and results in lm-eval's format."""

    items: pa.Table
    outputs: pa.Table = field(default_factory=schemas.OUTPUTS.empty_table)
    calibration: pa.Table = field(default_factory=schemas.CALIBRATION.empty_table)
    results: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes the tables and the results, a file each."""
        tables = {ITEMS: self.items, OUTPUTS: self.outputs, CALIBRATION: self.calibration}
        for name, table in tables.items():
            schemas.write(folder / name, table, table.schema)
        text = json.dumps(self.results, indent=1, default=str)  # it holds torch dtypes
        (folder / RESULTS).write_text(text, encoding="utf-8")


def read(folder: Path) -> EvaluationRecords:
    """The records that were written to a folder."""
    return EvaluationRecords(
        schemas.read(folder / ITEMS, schemas.ITEMS),
        schemas.read(folder / OUTPUTS, schemas.OUTPUTS),
        schemas.read(folder / CALIBRATION, schemas.CALIBRATION),
        artifact.read_json(folder / RESULTS),
    )


def concatenate(parts: Sequence[EvaluationRecords]) -> EvaluationRecords:
    """The records of all parts; results of the same kind are merged."""
    results: dict[str, Any] = {}
    for part in parts:
        for kind, values in part.results.items():
            results[kind] = {**results.get(kind, {}), **values}
    return EvaluationRecords(
        pa.concat_tables([part.items for part in parts]),
        pa.concat_tables([part.outputs for part in parts], promote_options="default"),
        pa.concat_tables([part.calibration for part in parts]),
        results,
    )


@dataclass(frozen=True)
class Metric:
    """The metric that some rows of ITEMS hold the values of."""

    task: str
    name: str
    slice: str = ""
    decoding_seed: int = 0
    teacher: str = ""


def item_rows(
    metric: Metric, example_ids: Sequence[str], values: np.ndarray, weights: np.ndarray | float
) -> pa.Table:
    """A row of ITEMS for each value; one weight may be that of all."""
    count = len(example_ids)
    columns = {
        "task": pa.repeat(metric.task, count),
        "slice": pa.repeat(metric.slice, count),
        "decoding_seed": pa.repeat(pa.scalar(metric.decoding_seed, pa.int32()), count),
        "example_id": pa.array(example_ids, pa.string()),
        "metric": pa.repeat(metric.name, count),
        "teacher": pa.repeat(metric.teacher, count),
        "value": pa.array(np.asarray(values, dtype=np.float64)),
        "weight": pa.array(np.broadcast_to(np.asarray(weights, dtype=np.float64), (count,))),
    }
    return pa.table(columns, schema=schemas.ITEMS)
