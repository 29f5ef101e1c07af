"""From items to scores: sums by item, their standard error, calibration, and what is undefined."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_reporting import ONE_SEED, compared, read

from pipeline.reporting.analysis.item_sums import ItemMatrix, sum_by_item, sum_calibration
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.score_tables import main_table

EVALUATION = "sft.small.s3.eval-0a1b2c3d"
BINS = 5


def matrix(values: np.ndarray, weights: np.ndarray) -> ItemMatrix:
    """One evaluation's items with these values and weights."""
    items = pd.RangeIndex(len(values))
    return ItemMatrix(pd.Index(["e"]), items, "", (values * weights)[None], weights[None])


def jackknife(left_out: list[float]) -> float:
    """The standard error from the scores without each item."""
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((np.array(left_out) - np.mean(left_out)) ** 2).sum()))


def test_the_standard_error_is_the_jackknifes_where_items_are_many() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(5, 60, 400).astype(float)
    values = rng.normal(2, 0.5, 400)
    without_one = [
        float(np.average(np.delete(values, i), weights=np.delete(weights, i))) for i in range(400)
    ]
    scored = matrix(values, weights)
    assert scored.values[0] == pytest.approx(np.average(values, weights=weights))
    # they differ in order 1/n
    assert scored.standard_errors[0] == pytest.approx(jackknife(without_one), rel=0.01)


def test_with_equal_weights_the_standard_error_is_that_of_a_mean() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    scored = matrix(values, np.full(4, 3.0))
    assert scored.standard_errors[0] == pytest.approx(values.std(ddof=1) / 2)
    assert np.isnan(matrix(values[:1], np.ones(1)).standard_errors[0])


def items_of(inputs: ReportInputs) -> pd.DataFrame:
    return inputs.shown_items[EVALUATION].assign(eval_id=EVALUATION)


@pytest.mark.parametrize(
    ("column", "value"), [("value", float("nan")), ("weight", 0.0), ("weight", -1.0)]
)
def test_a_value_that_is_no_number_or_items_without_weight_are_refused(
    tmp_path: Path, column: str, value: float
) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    with pytest.raises(ValueError, match=re.escape(EVALUATION)):
        sum_by_item(items_of(inputs).assign(**{column: value}))


def test_an_item_given_twice_is_refused_by_its_name(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    items = items_of(inputs)
    with pytest.raises(ValueError, match=re.escape(items["example_id"].iloc[-1])):
        sum_by_item(pd.concat([items, items.iloc[-1:]]))


def test_a_measure_that_is_not_defined_for_a_student_costs_one_cell(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    items = items_of(inputs)
    undefined = (items["metric"] == "rouge_l") & (items["slice"] == "")
    items.loc[undefined, ["value", "weight"]] = [np.nan, 0.0]
    before = inputs.item_sums
    kept = (before["eval_id"] != EVALUATION) | (before["metric"] == "ece")
    sums = pd.concat([before[kept], sum_by_item(items)])
    results = assemble(replace(inputs, item_sums=sums))
    rows = main_table(compared(results)).groups[0].rows
    column = 2 + [measure.metric.name for measure in results.measures].index("rouge_l")
    shown = {row[0].text: row[column].text for row in rows}
    assert shown.pop("sft") == MISSING
    assert MISSING not in shown.values()
    assert MISSING not in [cell.text for cell in rows[0][2:column]]


def test_an_item_on_which_a_measure_is_not_defined_has_no_part_in_its_mean(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    items = items_of(inputs)
    rouge = (items["metric"] == "rouge_l") & (items["slice"] == "")
    first = items.index[rouge & (items["example_id"] == items["example_id"].iloc[0])]
    items.loc[first, ["value", "weight"]] = [np.nan, 0.0]
    sums = sum_by_item(items).query("metric == 'rouge_l' and slice == ''")
    mean = sums["weighted"].sum() / sums["weight"].sum()
    assert mean == pytest.approx(items.loc[rouge, "value"].mean())


def overconfident(items: int, seed: int) -> pd.DataFrame:
    """Items of some tokens each, too confident by 0.2 where confidence is high."""
    draw = np.random.default_rng(seed)
    rows = []
    for item in range(items):
        tokens = draw.integers(5, 40)
        confidence = draw.uniform(0.05, 0.95, tokens)
        correct = draw.random(tokens) < confidence - 0.2 * (confidence > 0.6)
        for bin in range(BINS):
            inside = (confidence * BINS).astype(int) == bin
            if inside.any():
                sums = (inside.sum(), confidence[inside].sum(), correct[inside].sum())
                rows.append((f"item-{item}", bin, *sums))
    return pd.DataFrame(rows, columns=["example_id", "bin", "tokens", "confidence", "correct"])


def calibration(bins: pd.DataFrame) -> ItemMatrix:
    return ItemMatrix.from_rows(sum_calibration(bins.assign(eval_id="e")))


def calibration_error(bins: pd.DataFrame) -> float:
    """The definition."""
    sums = bins.groupby("bin")[["tokens", "confidence", "correct"]].sum()
    return float((sums["correct"] - sums["confidence"]).abs().sum() / sums["tokens"].sum())


def test_the_calibration_error_of_three_bins_by_hand() -> None:
    bins = pd.DataFrame(
        {
            "example_id": ["a", "a", "b"],
            "bin": [0, 4, 4],
            "tokens": [10, 10, 20],
            "confidence": [1.0, 9.0, 18.0],
            "correct": [2, 8, 12],
        }
    )
    # bin 0: 2 of 10 are right at a confidence of 0.1; bin 4: 20 of 30 at 0.9; so (1 + 7) / 40
    assert calibration(bins).values[0] == pytest.approx(8 / 40)
    assert calibration(bins).weights[0].tolist() == [20, 20]


def test_the_calibration_error_is_its_definition_for_each_of_several_evaluations() -> None:
    tables = [overconfident(60, seed) for seed in (1, 2)]
    together = pd.concat(bins.assign(eval_id=f"e{n}") for n, bins in enumerate(tables))
    scored = ItemMatrix.from_rows(sum_calibration(together))
    assert scored.values == pytest.approx([calibration_error(bins) for bins in tables])


def test_the_standard_error_of_the_calibration_error_is_that_of_leaving_out_each_item() -> None:
    bins = overconfident(200, seed=2)
    left_out = [
        calibration_error(bins[bins["example_id"] != name]) for name in bins["example_id"].unique()
    ]
    # both are first-order: they differ by terms of the order 1 / n
    assert calibration(bins).standard_errors[0] == pytest.approx(jackknife(left_out), rel=0.05)


def test_an_evaluation_without_held_out_measures_has_no_calibration_error() -> None:
    assert sum_calibration(overconfident(1, seed=0).iloc[:0].assign(eval_id="e")).empty
