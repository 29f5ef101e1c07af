"""Everything the report reads: found, checked, and refused by name where it is damaged."""

from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.artifacts import artifact as artifacts
from pipeline.artifacts import checksums, schemas
from pipeline.reporting.analysis import calibration, item_sums, provenance
from pipeline.reporting.analysis.item_sums import Key, Sums
from pipeline.runtime import costs
from pipeline.runtime.costs import JobCost

PAID = ("students/", "starts/", "teachers/", "texts/", "caches/", "evals/")
KINDS = ("teacher", "untrained", "start", "method")
NAMES = ("teacher", "student", "method", "student_id", "eval_id", "teacher_id", "cache_id")
COLUMNS = (*NAMES, "seed", "kind")
CELL = ["teacher", "student", "method"]
# of STEPS: what curves and costs are made of
STEP_COLUMNS = (
    "step",
    "loss_nats",
    "gradient_norm",
    "validation_nll_nats",
    "seconds",
    "flops",
)
TOGETHER = 50  # files that a process is given at a time
Read = TypeVar("Read")
StepColumns = Mapping[str, np.ndarray]  # columns, NaN where nothing was measured


@dataclass(frozen=True)
class ReportInputs:
    """All that a report is made of; everything but grid and card by id."""

    grid: pd.DataFrame
    sums: Mapping[str, Mapping[Key, Sums]]  # of what each evaluation measured
    shown_items: Mapping[str, pd.DataFrame]  # of the first seed of each cell: what the page shows
    shown_outputs: Mapping[str, pd.DataFrame]  # of the same
    evaluation_manifests: Mapping[str, dict]  # manifests
    model_folders: Mapping[str, str]  # of every model, under results
    training_steps: Mapping[str, StepColumns]  # of what was trained
    costs: Mapping[str, JobCost]  # of everything that took a model: PAID
    manifests: provenance.Manifests  # of everything behind the evaluations, by "stage/id"
    data_card: Mapping[str, object]


def read_grid(path: Path) -> pd.DataFrame:
    """The grid in `path`, a row for each cell, its order kept."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; run the workflow again")
    try:
        grid = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is no table ({error}); delete it and run again") from None
    if missing := [name for name in COLUMNS if name not in grid]:
        raise ValueError(f"{path} lacks the columns {missing}; delete it and run again")
    if not grid["seed"].str.fullmatch(r"\d+").all():
        raise ValueError(f"{path} has a seed that is no whole number: {sorted(set(grid['seed']))}")

    grid = grid.astype({"seed": "int64"})
    if "label" not in grid:
        grid["label"] = grid["method"]
    _check_grid(grid, path)
    return grid


def _check_grid(grid: pd.DataFrame, path: Path) -> None:
    if unknown := sorted(set(grid["kind"]) - set(KINDS)):
        raise ValueError(f"{path} has the kinds {unknown}; there are {', '.join(KINDS)}")
    if not (grid["kind"] == "method").any():
        raise ValueError(f"{path} has no row of kind 'method': there is nothing to report")
    cells = ["teacher", "student", "method", "seed"]
    if (twice := grid.duplicated(cells)).any():
        raise ValueError(f"{path} has a cell twice: {grid.loc[twice, cells].iloc[0].to_dict()}")


def read_inputs(results: Path, grid: pd.DataFrame, data_id: str, helpers: Executor) -> ReportInputs:
    """What the cells of `grid` have left under `results`. Raises ValueError naming a bad file."""
    evals = {id: results / "evals" / id for id in _distinct(grid["eval_id"])}
    folders = _folders(results, grid)
    trained = {id: results / at for id, at in folders.items() if not at.startswith("models/")}
    caches = {f"caches/{id}" for id in _distinct(grid["cache_id"])}
    manifests = _manifests(results, evals, caches | {folders[id] for id in trained})
    shown = grid.sort_values("seed", kind="stable").drop_duplicates(CELL)
    speaking = {id: evals[id] for id in _distinct(shown["eval_id"])}
    paid = {path.partition("/")[2]: results / path for path in manifests if path.startswith(PAID)}
    return ReportInputs(
        grid=grid,
        sums=_each(_sums, evals, helpers),
        shown_items=_each(_items, speaking, helpers),
        shown_outputs=_each(_outputs, speaking, helpers),
        evaluation_manifests={id: manifests[f"evals/{id}"] for id in evals},
        model_folders=folders,
        training_steps=_each(_steps, trained, helpers),
        costs=_each(_cost, paid, helpers),
        manifests=manifests,
        data_card=_read(artifacts.read_json, results / f"data/{data_id}/card.json"),
    )


def _folders(results: Path, grid: pd.DataFrame) -> dict[str, str]:
    """Where each model is; a teacher that was not fine-tuned is a model as it came."""
    places = {"untrained": "models", "start": "starts", "method": "students"}
    found = {}
    for id in _distinct(grid["teacher_id"]):
        as_it_came = (results / "models" / id).is_dir()
        found[id] = f"models/{id}" if as_it_came else f"teachers/{id}"
    for kind, place in places.items():
        for id in _distinct(grid.loc[grid["kind"] == kind, "student_id"]):
            found[id] = f"{place}/{id}"
    return found


def _distinct(ids: Iterable[str]) -> list[str]:
    return [id for id in dict.fromkeys(ids) if id]


def _each(
    reader: Callable[[Path], Read], folders: Mapping[str, Path], helpers: Executor
) -> dict[str, Read]:
    found = helpers.map(partial(_read, reader), folders.values(), chunksize=TOGETHER)
    return dict(zip(folders, found, strict=True))


def _read(reader: Callable[[Path], Read], path: Path) -> Read:
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename or path} is missing; run the workflow again") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error}); delete it and run again") from None


def _sums(evaluation: Path) -> dict[Key, Sums]:
    """Added up where they are read: the items themselves are many."""
    path = evaluation / "items.parquet"
    measured = item_sums.sums_of(schemas.read(path, schemas.ITEMS), str(path))
    calibrated = schemas.read(evaluation / "calibration.parquet", schemas.CALIBRATION)
    return {**measured, **calibration.sums_of(calibrated)}


def _items(evaluation: Path) -> pd.DataFrame:
    return schemas.read(evaluation / "items.parquet", schemas.ITEMS).to_pandas()


def _outputs(evaluation: Path) -> pd.DataFrame:
    return schemas.read(evaluation / "outputs.parquet", schemas.OUTPUTS).to_pandas()


def _steps(training: Path) -> StepColumns:
    table = schemas.read(training / "steps.parquet", schemas.STEPS)
    return {name: table[name].to_numpy() for name in STEP_COLUMNS}


def _cost(artifact: Path) -> JobCost:
    return costs.read(artifact / costs.FILE)


def _manifests(
    results: Path, evaluations: Iterable[str], needed: Set[str]
) -> dict[str, Mapping[str, object]]:
    found = _read(lambda at: provenance.behind(at, evaluations), results)
    others = sorted(needed - found.keys())  # of which the evaluations don't tell
    return found | {path: _read(checksums.read_manifest, results / path) for path in others}
