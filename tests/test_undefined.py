"""A measure that is not defined on some items, or on none: what the report makes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_reporting import ONE_SEED, compared, read, summed

from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.main_table import main_table


def test_a_measure_that_is_not_defined_for_a_student_costs_one_cell(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    name = "sft.small.s3.eval-0a1b2c3d"
    items = inputs.shown_items[name]
    undefined = (items["metric"] == "rouge_l") & (items["slice"] == "")
    items.loc[undefined, ["value", "weight"]] = [np.nan, 0.0]
    calibration = {key: own for key, own in inputs.sums[name].items() if key.metric == "ece"}
    measured = {**calibration, **summed(items, name)}
    results = assemble(replace(inputs, sums={**inputs.sums, name: measured}), {})
    rows = main_table(results, {}, compared(inputs, results)).groups[0].rows
    column = 2 + [one.metric.name for one in results.measures].index("rouge_l")
    shown = {row[0].text: row[column].text for row in rows}
    assert shown.pop("sft") == MISSING
    assert MISSING not in shown.values()
    assert MISSING not in [cell.text for cell in rows[0][2:column]]


def test_an_item_on_which_a_measure_is_not_defined_has_no_part_in_its_mean(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    name = "sft.small.s3.eval-0a1b2c3d"
    items = inputs.shown_items[name]
    rouge = (items["metric"] == "rouge_l") & (items["slice"] == "")
    first = items.index[rouge & (items["example_id"] == items["example_id"].iloc[0])]
    items.loc[first, ["value", "weight"]] = [np.nan, 0.0]
    found = {key.metric: own for key, own in summed(items, name).items() if not key.slice}
    assert found["rouge_l"].value == pytest.approx(items.loc[rouge, "value"].mean())
