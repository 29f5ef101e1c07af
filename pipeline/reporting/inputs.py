"""Everything the report reads: found, checked, and refused by name where it is damaged."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa

from pipeline import artifacts, schemas

KINDS = ("teacher", "untrained", "start", "method")
NAMES = ("teacher", "student", "method", "student_id", "eval_id", "teacher_id", "cache_id")
COLUMNS = (*NAMES, "seed", "kind", "label")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Cost:
    """What a training took."""

    seconds: float
    trained_tokens: int
    written_tokens: int
    teacher_tokens: int
    parameters: int
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Inputs:
    """All that a report is made of; everything but grid and card by id."""

    grid: pd.DataFrame
    items: Mapping[str, pd.DataFrame]
    outputs: Mapping[str, pd.DataFrame]
    evaluations: Mapping[str, dict]  # manifests
    steps: Mapping[str, pd.DataFrame]
    costs: Mapping[str, Cost]  # of students, teachers and starts
    caches: Mapping[str, dict]  # manifests
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
    trained = grid[grid["kind"] == "method"]
    for pair, rows in trained.groupby(["teacher", "student"]):
        seeds = rows.groupby("method")["seed"].apply(frozenset)
        if seeds.nunique() > 1:
            raise ValueError(f"{path}: methods of {pair} have unequal seeds: {seeds.to_dict()}")


def read_inputs(results: Path, grid: pd.DataFrame, data_id: str) -> Inputs:
    """What the cells of `grid` have left under `results`. Raises ValueError naming a bad file."""
    evaluations = _distinct(grid["eval_id"])
    trained = trained_folders(grid)
    return Inputs(
        grid=grid,
        items={
            id: _table(results / f"evals/{id}/items.parquet", schemas.ITEMS) for id in evaluations
        },
        outputs={
            id: _table(results / f"evals/{id}/outputs.parquet", schemas.OUTPUTS)
            for id in evaluations
        },
        evaluations={id: _json(results / f"evals/{id}/manifest.json") for id in evaluations},
        steps={
            id: _table(results / folder / "steps.parquet", schemas.STEPS)
            for id, folder in trained.items()
        },
        costs={id: _cost(results / folder / "cost.json") for id, folder in trained.items()},
        caches={
            id: _json(results / f"caches/{id}/manifest.json") for id in _distinct(grid["cache_id"])
        },
        card=_json(results / f"data/{data_id}/card.json"),
    )


def trained_folders(grid: pd.DataFrame) -> dict[str, str]:
    """The folder, under results, of everything that was trained, by its id."""
    students = grid.loc[grid["kind"] == "method", "student_id"]
    starts = grid.loc[grid["kind"] == "start", "student_id"]
    return (
        {id: f"teachers/{id}" for id in _distinct(grid["teacher_id"])}
        | {id: f"starts/{id}" for id in _distinct(starts)}
        | {id: f"students/{id}" for id in _distinct(students)}
    )


def _distinct(ids: Iterable[str]) -> list[str]:
    return [id for id in dict.fromkeys(ids) if id]


def _read(path: Path, reader: Callable[[Path], Read]) -> Read:
    try:
        return reader(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run the workflow again") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error}); delete it and run again") from None


def _table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    return _read(path, lambda path: schemas.read(path, schema).to_pandas())


def _json(path: Path) -> dict:
    return _read(path, artifacts.read_json)


def _cost(path: Path) -> Cost:
    value = _json(path)
    names = [field.name for field in fields(Cost)]
    if missing := [name for name in names if name not in value]:
        raise ValueError(f"{path} lacks {missing}; delete it and run again")
    return Cost(**{name: value[name] for name in names})
