"""Everything the report reads: found, checked, and refused by name where it is damaged."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa

from pipeline import artifacts, costs, schemas
from pipeline.costs import Cost
from pipeline.reporting import provenance

PAID = ("students/", "starts/", "teachers/", "texts/", "caches/", "evals/")
KINDS = ("teacher", "untrained", "start", "method")
NAMES = ("teacher", "student", "method", "student_id", "eval_id", "teacher_id", "cache_id")
COLUMNS = (*NAMES, "seed", "kind")
CELL = ["teacher", "student", "method"]
Read = TypeVar("Read")


@dataclass(frozen=True)
class Inputs:
    """All that a report is made of; everything but grid and card by id."""

    grid: pd.DataFrame
    items: Mapping[str, pd.DataFrame]
    outputs: Mapping[str, pd.DataFrame]  # of the first seed of each cell: what the page shows
    calibration: Mapping[str, pd.DataFrame]
    evaluations: Mapping[str, dict]  # manifests
    folders: Mapping[str, str]  # of every model, under results
    steps: Mapping[str, pd.DataFrame]  # of what was trained
    costs: Mapping[str, Cost]  # of everything that took a model: PAID
    manifests: provenance.Manifests  # of everything behind the evaluations, by "stage/id"
    card: Mapping[str, object]


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


def read_inputs(results: Path, grid: pd.DataFrame, data_id: str) -> Inputs:
    """What the cells of `grid` have left under `results`. Raises ValueError naming a bad file."""
    evals = {id: results / "evals" / id for id in _distinct(grid["eval_id"])}
    folders = _folders(results, grid)
    trained = {id: results / at for id, at in folders.items() if not at.startswith("models/")}
    caches = {f"caches/{id}" for id in _distinct(grid["cache_id"])}
    manifests = _manifests(results, evals, caches | {folders[id] for id in trained})
    shown = grid.sort_values("seed", kind="stable").drop_duplicates(CELL)
    speaking = {id: evals[id] for id in _distinct(shown["eval_id"])}
    return Inputs(
        grid=grid,
        items=_tables(evals, "items.parquet", schemas.ITEMS),
        outputs=_tables(speaking, "outputs.parquet", schemas.OUTPUTS),
        calibration=_tables(evals, "calibration.parquet", schemas.CALIBRATION),
        evaluations={id: manifests[f"evals/{id}"] for id in evals},
        folders=folders,
        steps=_tables(trained, "steps.parquet", schemas.STEPS),
        costs=_costs(results, manifests),
        manifests=manifests,
        card=_json(results / f"data/{data_id}/card.json"),
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


def _read(path: Path, reader: Callable[[Path], Read]) -> Read:
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename or path} is missing; run the workflow again") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error}); delete it and run again") from None


def _tables(folders: Mapping[str, Path], name: str, schema: pa.Schema) -> dict[str, pd.DataFrame]:
    """The file of that name in each folder. They are so small that threads only get in the way."""
    return {id: _table(at / name, schema) for id, at in folders.items()}


def _table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    return _read(path, lambda path: schemas.read(path, schema).to_pandas(use_threads=False))


def _json(path: Path) -> dict:
    return _read(path, artifacts.read_json)


def _manifests(
    results: Path, evaluations: Iterable[str], needed: Set[str]
) -> dict[str, Mapping[str, object]]:
    found = _read(results, lambda at: provenance.behind(at, evaluations))
    others = sorted(needed - found.keys())  # of which the evaluations don't tell
    return found | {path: _json(results / path / artifacts.MANIFEST) for path in others}


def _costs(results: Path, manifests: Iterable[str]) -> dict[str, Cost]:
    paid = [path.split("/") for path in manifests if path.startswith(PAID)]
    return {id: _read(results / stage / id / costs.FILE, costs.read) for stage, id in paid}
