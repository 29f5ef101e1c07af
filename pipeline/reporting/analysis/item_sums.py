"""Item-level results of evaluations, summed over decoding seeds, and scores of these sums.

A score is a ratio of sums over items, Σ weight · value / Σ weight; so is the expected calibration
error (Guo et al., 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3),

    ECE = Σ_b |C_b - F_b| / N = Σ_i Σ_b s_b (c_ib - f_ib) / Σ_i n_i

for N tokens, of which bin b of confidence has C_b correct predictions and F_b as the sum of their
confidence; s_b is the sign of C_b - F_b, which small changes of the items leave alone. It is biased
upwards by about the bins' noise, so few tokens make it large.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

SCORE = ["task", "slice", "metric"]
MEASURED = ["eval_id", *SCORE, "reference"]  # reference: the teacher compared with, or empty
ITEM = [*MEASURED, "example_id"]
ScoreKey = tuple[str, str, str, str]  # teacher, task, slice, metric


def sum_by_item(items: pd.DataFrame) -> pd.DataFrame:
    """Σ weight · value and Σ weight of each item over its decoding seeds, sorted by item.

    `items` has the columns of `schemas.ITEMS` and `eval_id`. A metric that is defined on no item of
    an evaluation is left out. Raises ValueError naming the evaluation of bad items.
    """
    items = items.rename(columns={"teacher": "reference"})
    undefined = items["value"].isna() & (items["weight"] == 0)
    items["value"] = items["value"].mask(undefined, 0.0)
    _check(items)
    items["weighted"] = items["weight"] * items["value"]
    items["undefined"] = undefined.astype(float)

    sums = _summed(items, ITEM, ["weighted", "weight", "undefined"])
    totals = sums.groupby(MEASURED)[["weight", "undefined"]].transform("sum")
    weightless = totals["weight"] == 0
    _refuse(sums.loc[weightless & (totals["undefined"] == 0)], "has only weights of zero")
    return sums.loc[~weightless].drop(columns="undefined")


def sum_calibration(bins: pd.DataFrame) -> pd.DataFrame:
    """The calibration error's sums by item, with the columns that `sum_by_item` gives.

    `bins` has the columns of `schemas.CALIBRATION` and `eval_id`.
    """
    gaps = bins["correct"] - bins["confidence"]
    signs = np.sign(gaps.groupby([bins["eval_id"], bins["bin"]]).transform("sum"))
    names = {"task": "heldout", "slice": "", "metric": "ece", "reference": ""}
    bins = bins.rename(columns={"tokens": "weight"}).assign(weighted=signs * gaps, **names)
    return _summed(bins, ITEM, ["weighted", "weight"])


def _check(items: pd.DataFrame) -> None:
    finite = np.isfinite(items["value"]) & np.isfinite(items["weight"])
    _refuse(items.loc[~finite], "has a value or weight that is not finite")
    _refuse(items.loc[items["weight"] < 0], "has a negative weight")
    _refuse(items.loc[items.duplicated([*ITEM, "decoding_seed"])], "has an item twice")


def _refuse(rows: pd.DataFrame, fault: str) -> None:
    """Raises ValueError naming the first of `rows`, if there is any."""
    for row in rows.head(1).to_dict("records"):
        measure = " ".join(filter(None, (row[name] for name in SCORE)))
        raise ValueError(
            f"{row['eval_id']} {fault}: {measure} of {row['example_id']}; evaluate again"
        )


def _summed(rows: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Sums of `columns`, a row for each combination of `by` in sorted order.

    Added up in the order of the rows: the last bit of a score shouldn't depend on pandas' version.
    """
    groups = rows.groupby(by).ngroup().to_numpy()
    _, first = np.unique(groups, return_index=True)
    sums = {name: np.bincount(groups, weights=rows[name]) for name in columns}
    return rows[by].iloc[first].reset_index(drop=True).assign(**sums)


@dataclass(frozen=True)
class ItemMatrix:
    """Sums of evaluations that scored the same items: arrays [evaluations, items]."""

    evaluations: pd.Index
    items: pd.Index
    reference: str  # the teacher compared with, or empty
    weighted: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_rows(cls, sums: pd.DataFrame) -> "ItemMatrix":
        """The matrix of one measure's rows, items in the order of their ids."""
        table = sums.pivot(index="eval_id", columns="example_id", values=["weighted", "weight"])
        weighted, weights = (np.ascontiguousarray(table[name]) for name in ("weighted", "weight"))
        items = table["weight"].columns
        return cls(table.index, items, sums["reference"].iloc[0], weighted, weights)

    @property
    def values(self) -> np.ndarray:
        """Each evaluation's score."""
        return self.weighted.sum(axis=1) / self.weights.sum(axis=1)

    @property
    def standard_errors(self) -> np.ndarray:
        """Standard error of a ratio of two sums over a sample of items; NaN for a single item."""
        n = self.weights.shape[1]
        if n == 1:
            return np.full(len(self.evaluations), np.nan)
        # both sums vary: deviations from the ratio
        deviations = self.weighted - self.values[:, None] * self.weights
        scatter = np.sqrt(n / (n - 1) * (deviations**2).sum(axis=1))
        return scatter / self.weights.sum(axis=1)

    def scores(self) -> pd.DataFrame:
        """Value, standard error and number of items by evaluation."""
        return pd.DataFrame(
            {
                "eval_id": self.evaluations,
                "value": self.values,
                "stderr": self.standard_errors,
                "n": self.weights.shape[1],
                "reference": self.reference,
            }
        )


def item_matrices(grid: pd.DataFrame, sums: pd.DataFrame) -> dict[ScoreKey, ItemMatrix]:
    """The items of each teacher's evaluations, by teacher, task, slice and metric.

    Of metrics that compare with a teacher, a cell has only the comparison with its own.
    """
    evaluations = grid[["teacher", "teacher_id", "eval_id"]].drop_duplicates()
    matrices = {}
    for _, of_metric in sums.groupby(SCORE, sort=False):
        task, part, metric = (str(of_metric[name].iloc[0]) for name in SCORE)
        rows = evaluations.merge(of_metric, on="eval_id")
        rows = rows.loc[rows["reference"].eq("") | rows["reference"].eq(rows["teacher_id"])]
        teachers = {str(name): rows.loc[rows["teacher"].eq(name)] for name in set(rows["teacher"])}
        # a slice may be a teacher's own, such as the tokens that it finds hard
        for comparable in teachers.values() if part else [rows]:
            _check_same_items(comparable, f"{task} {part} {metric}")
        for teacher, of_teacher in teachers.items():
            matrices[teacher, task, part, metric] = ItemMatrix.from_rows(of_teacher)
    return matrices


def _check_same_items(rows: pd.DataFrame, measure: str) -> None:
    """Raises ValueError if an evaluation lacks an item that another one has."""
    evaluations = rows[["teacher", "eval_id"]].drop_duplicates()
    counts = rows.groupby("example_id", observed=True).size()
    for item in counts.loc[counts < len(evaluations)].index[:1]:
        scored = set(rows.loc[rows["example_id"] == item, "eval_id"])
        missing = next(id for id in evaluations["eval_id"] if id not in scored)
        raise ValueError(
            f"{measure} was not measured on the same items everywhere, so it can't be compared: "
            f"{item} is in {min(scored)}, not in {missing}; evaluate again"
        )
