"""Experiments whose every item is given: for tests of what is concluded from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.item_sums import sum_by_item
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.runtime.costs import Cost, JobCost

ITEMS = 60
MIDDLE = 50.0  # of ROUGE-L's scale, which ends at 0 and 100
COST = JobCost(
    Cost(seconds=1.0, device_seconds=1.0, host_memory_bytes=1, energy_joules=None, flops=None),
    device="cpu",
    parameters=100,
)


@dataclass(frozen=True)
class Cell:
    """A model that was evaluated."""

    method: str
    seed: int
    teacher: str = "large"
    kind: str = "method"


Values = Mapping[Cell, np.ndarray]  # items, or items by decoding seed


def made(values: Values, metric: str = "rouge_l", part: str = "") -> ReportInputs:
    """The inputs of an experiment with these values of its items."""
    grid = pd.DataFrame([_grid_row(cell) for cell in values])
    items = [_items(cell, value, metric, part) for cell, value in values.items()]
    return ReportInputs(
        grid=grid,
        item_sums=sum_by_item(pd.concat(items, ignore_index=True)),
        shown_items={},
        shown_outputs={},
        evaluation_manifests={},
        model_folders={},
        training_steps={},
        costs={"student-1": COST},
        manifests={},
        data_card={},
    )


def _id(cell: Cell) -> str:
    return f"{cell.teacher}.{cell.method}.{cell.seed}"


def _grid_row(cell: Cell) -> dict[str, object]:
    return {
        "kind": cell.kind,
        "teacher": cell.teacher,
        "student": cell.teacher if cell.kind == "teacher" else "student",
        "method": cell.method,
        "seed": cell.seed,
        "student_id": "student-1",
        "eval_id": _id(cell),
        "teacher_id": f"teacher-{cell.teacher}",
        "cache_id": "",
    }


def _items(cell: Cell, values: np.ndarray, metric: str, part: str) -> pd.DataFrame:
    by_seed = values.reshape(len(values), -1)
    relative = metric == "kl_to_teacher_nats"
    rows = [
        ("t", part, seed, f"item {n}", metric, f"teacher-{cell.teacher}" * relative, value, 1.0)
        for n, of_item in enumerate(by_seed)
        for seed, value in enumerate(of_item)
    ]
    return pd.DataFrame(rows, columns=schemas.ITEMS.names).assign(eval_id=_id(cell))


def drawn(
    means: Mapping[str, float],
    count: int,
    spread: float = 0.05,
    teacher: str = "large",
    items: int = ITEMS,
) -> dict[Cell, np.ndarray]:
    """Values of methods so far from the middle in truth, for seeds 1 … count."""
    rng = np.random.default_rng([len(means), count, len(teacher)])
    difficulty = np.random.default_rng(0).normal(size=items)
    return {
        Cell(method, seed, teacher): (
            MIDDLE + mean + difficulty + spread * rng.normal() + 0.3 * rng.normal(size=items)
        )
        for method, mean in means.items()
        for seed in range(1, count + 1)
    }
