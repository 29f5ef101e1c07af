"""Reads all inputs of a report, and refuses damaged files by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.artifacts import checksums, schemas
from pipeline.artifacts.artifact import read_json
from pipeline.reporting.analysis import provenance, token_examples
from pipeline.reporting.analysis.item_sums import ITEM, sum_by_item, sum_calibration
from pipeline.reporting.analysis.token_examples import TokenExample
from pipeline.runtime.costs import FILE as COST
from pipeline.runtime.costs import JobCost
from pipeline.runtime.costs import read as read_cost
from pipeline.runtime.inert import inert_line
from pipeline.settings.tuning import Choice, read_choice

WITH_COSTS = ("students/", "starts/", "teachers/", "texts/", "caches/", "evals/")
KINDS = ("teacher", "untrained", "start", "method")
NAMES = ("teacher", "student", "method", "student_id", "eval_id", "teacher_id", "cache_id")
COLUMNS = (*NAMES, "seed", "kind")
CELL = ["teacher", "student", "method"]
# columns of schemas.STEPS that curves and costs are computed from
STEP_COLUMNS = (
    "step",
    "loss_nats",
    "gradient_norm",
    "validation_nll_nats",
    "validation_rouge_l",
    "seconds",
    "flops",
)
# of schemas.MEASURED_STEPS, which earlier jobs did not write
MEASURED_COLUMNS = schemas.MEASURED_STEPS.names[len(schemas.STEPS) :]
JOINED = 250  # evaluations whose items are in memory together
Content = TypeVar("Content")
StepColumns = Mapping[str, np.ndarray]  # NaN where nothing was measured
AlignmentCounts = Mapping[str, int]
AlignmentCard = Mapping[str, AlignmentCounts]  # of each split, the vocabularies, span lengths


@dataclass(frozen=True)
class ReportInputs:
    """All inputs of a report; mappings are by artifact id unless noted."""

    grid: pd.DataFrame
    item_sums: pd.DataFrame  # of all evaluations, see `item_sums.sum_by_item`
    shown_items: Mapping[str, pd.DataFrame]  # of the first seed of each cell, shown in the page
    shown_outputs: Mapping[str, pd.DataFrame]  # of the same evaluations
    evaluation_manifests: provenance.Manifests
    model_folders: Mapping[str, str]  # of every model, relative to results
    training_steps: Mapping[str, StepColumns]
    costs: Mapping[str, JobCost]  # of every artifact in WITH_COSTS
    manifests: provenance.Manifests  # of the evaluations and all their inputs, by "stage/id"
    data_card: Mapping[str, object]
    token_examples: Sequence[TokenExample] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)  # of settings, by "stage/id"
    alignments: Mapping[str, AlignmentCard] = field(default_factory=dict)  # by teacher

    @property
    def sizes(self) -> dict[str, int]:
        """Parameters of each teacher by name, where they were counted."""
        # of a teacher that was not fine-tuned: from its pass over texts
        return self._sizes(self.grid, "teacher", "teacher_id", "cache_id")

    @property
    def student_sizes(self) -> dict[str, int]:
        """Parameters of each student by name, where they were counted."""
        return self._sizes(self.grid.query("kind == 'method'"), "student", "student_id")

    def _sizes(self, rows: pd.DataFrame, name: str, *ids: str) -> dict[str, int]:
        """Parameters by name, of the first of an artifact's columns that they are known from."""
        sizes = {}
        for named, *artifacts in rows[[name, *ids]].itertuples(index=False, name=None):
            counts = (self.costs[id].parameters for id in artifacts if id in self.costs)
            if count := next(filter(None, counts), None):
                sizes[named] = int(count)
        return sizes

    @cached_property
    def students(self) -> dict[tuple[str, ...], list[str]]:
        """Artifact ids of each cell's trained students, by seed."""
        ordered = self.grid.sort_values("seed", kind="stable")
        trained = ordered.drop_duplicates([*CELL, "student_id"])
        return trained.groupby(CELL, sort=False)["student_id"].agg(list).to_dict()


def read_grid(path: Path) -> pd.DataFrame:
    """The grid in `path`, a row for each cell in its order."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; run the workflow again")
    try:
        grid = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is not a CSV table ({error}); delete it and run again") from None
    if missing := [name for name in COLUMNS if name not in grid]:
        raise ValueError(f"{path} lacks the columns {missing}; delete it and run again")
    if not grid["seed"].str.fullmatch(r"\d+").all():
        raise ValueError(f"{path} has a seed that isn't an integer: {sorted(set(grid['seed']))}")

    grid = grid.astype({"seed": "int64"})
    _check_grid(grid, path)
    return grid


def _check_grid(grid: pd.DataFrame, path: Path) -> None:
    if unknown := sorted(set(grid["kind"]) - set(KINDS)):
        raise ValueError(f"{path} has unknown kinds {unknown}; allowed: {', '.join(KINDS)}")
    if "method" not in set(grid["kind"]):
        raise ValueError(f"{path} has no row of kind 'method': there is nothing to report")
    cells = [*CELL, "seed"]
    for cell in grid.loc[grid.duplicated(cells), cells].to_dict("records"):
        raise ValueError(f"{path} has a cell twice: {cell}")


def read_inputs(
    results: Path, grid: pd.DataFrame, data_id: str, tokens_id: str = ""
) -> ReportInputs:
    """The artifacts of the grid's cells under `results`. Raises ValueError naming a bad file."""
    evals = {id: results / "evals" / id for id in _distinct(grid["eval_id"])}
    folders = _model_folders(results, grid)
    trained = {id: results / path for id, path in folders.items() if not path.startswith("models/")}
    caches = {f"caches/{id}" for id in _distinct(grid["cache_id"])}
    manifests = _manifests(results, evals, caches | {folders[id] for id in trained})
    first_seeds = grid.sort_values("seed", kind="stable").drop_duplicates(CELL)
    shown = {id: evals[id] for id in _distinct(first_seeds["eval_id"])}

    def of_stages(*stages: str) -> dict[str, Path]:
        return {path: results / path for path in manifests if path.startswith(stages)}

    costs = _read_each(lambda artifact: read_cost(artifact / COST), of_stages(*WITH_COSTS))
    cards = _read_each(_card, of_stages("alignments/"))
    return ReportInputs(
        grid=grid,
        item_sums=_item_sums(evals),
        shown_items={id: items.to_pandas() for id, items in _read_each(_items, shown).items()},
        shown_outputs=_read_each(_outputs, shown),
        evaluation_manifests={id: manifests[f"evals/{id}"] for id in evals},
        model_folders=folders,
        training_steps=_read_each(_steps, trained),
        costs={path.partition("/")[2]: cost for path, cost in costs.items()},
        manifests=manifests,
        data_card=_read(_card, results / "data" / data_id),
        token_examples=token_examples.read(results / "tokens" / tokens_id) if tokens_id else (),
        choices=_read_each(read_choice, of_stages("choices/")),
        alignments={
            path.partition("/")[2].rpartition("-")[0]: card for path, card in cards.items()
        },
    )


def _model_folders(results: Path, grid: pd.DataFrame) -> dict[str, str]:
    """The folder of each model; a teacher that was not fine-tuned is one of the models."""
    folders = {}
    for id in _distinct(grid["teacher_id"]):
        is_prepared = (results / "models" / id).is_dir()
        folders[id] = f"models/{id}" if is_prepared else f"teachers/{id}"
    for kind, stage in (("untrained", "models"), ("start", "starts"), ("method", "students")):
        for id in _distinct(grid.loc[grid["kind"] == kind, "student_id"]):
            folders[id] = f"{stage}/{id}"
    return folders


def _distinct(ids: Iterable[str]) -> list[str]:
    return [id for id in dict.fromkeys(ids) if id]


def _read_each(
    reader: Callable[[Path], Content], folders: Mapping[str, Path]
) -> dict[str, Content]:
    return {id: _read(reader, folder) for id, folder in folders.items()}


def _read(reader: Callable[[Path], Content], path: Path) -> Content:
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename or path} is missing; run the workflow again") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error}); delete it and run again") from None


def _items(evaluation: Path) -> pa.Table:
    path = evaluation / "items.parquet"
    table = schemas.read(path, schemas.ITEMS)
    if not len(table):
        raise ValueError(f"{path} has no items; evaluate again")
    return table


def _calibration(evaluation: Path) -> pa.Table:
    return schemas.read(evaluation / "calibration.parquet", schemas.CALIBRATION)


def _card(artifact: Path) -> dict:
    return read_json(artifact / "card.json")


def _item_sums(evaluations: Mapping[str, Path]) -> pd.DataFrame:
    """Sums by item of all evaluations.

    Their tables are many and small: as many are joined as memory easily holds. Equal texts are
    stored once.
    """
    ids = sorted(evaluations)
    items, calibration = [], []
    for start in range(0, len(ids), JOINED):
        folders = {id: evaluations[id] for id in ids[start : start + JOINED]}
        items.append(sum_by_item(_joined(_read_each(_items, folders))))
        calibration.append(sum_calibration(_joined(_read_each(_calibration, folders))))
    sums = pd.concat([*items, *calibration], ignore_index=True)
    # a part is named by the task that it is of, and a task may be from anywhere
    sums["slice"] = sums["slice"].astype("category").map(inert_line)
    return sums.astype(dict.fromkeys(ITEM, "category"))


def _joined(tables: Mapping[str, pa.Table]) -> pd.DataFrame:
    """One frame of the tables of several evaluations, with the column `eval_id`."""
    whole = pa.concat_tables(tables.values())
    positions = np.repeat(np.arange(len(tables)), [len(table) for table in tables.values()])
    ids = pa.array(list(tables)).take(positions)
    return whole.append_column("eval_id", ids).to_pandas()


def _outputs(evaluation: Path) -> pd.DataFrame:
    return schemas.read(evaluation / "outputs.parquet", schemas.OUTPUTS).to_pandas()


def _steps(training: Path) -> StepColumns:
    table = schemas.read(training / "steps.parquet", schemas.STEPS)
    nothing = np.full(len(table), np.nan)
    return {
        name: table[name].to_numpy() if name in table.column_names else nothing
        for name in (*STEP_COLUMNS, *MEASURED_COLUMNS)
    }


def _manifests(
    results: Path, evaluations: Iterable[str], needed: Set[str]
) -> dict[str, provenance.Manifest]:
    """Manifests of the evaluations, of all their inputs, and of `needed`, by "stage/id"."""
    manifests = _read(lambda root: provenance.read_with_inputs(root, evaluations), results)
    others = sorted(needed - manifests.keys())  # that the evaluations' inputs don't lead to
    return manifests | {path: _read(checksums.read_manifest, results / path) for path in others}
