"""The expected calibration error and its standard error, from sums of each item."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.calibration import KEY, sums_of
from pipeline.reporting.analysis.item_sums import Key, Sums

BINS = 5


def table(items: int, seed: int) -> pd.DataFrame:
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


def summed(rows: pd.DataFrame) -> dict[Key, Sums]:
    return sums_of(pa.Table.from_pandas(rows, schemas.CALIBRATION, preserve_index=False))


def error(rows: pd.DataFrame) -> float:
    sums = rows.groupby("bin")[["tokens", "confidence", "correct"]].sum()
    return float((sums["correct"] - sums["confidence"]).abs().sum() / sums["tokens"].sum())


def test_by_hand():
    rows = pd.DataFrame(
        {
            "example_id": ["a", "a", "b"],
            "bin": [0, 4, 4],
            "tokens": [10, 10, 20],
            "confidence": [1.0, 9.0, 18.0],
            "correct": [2, 8, 12],
        }
    )
    # bin 0: 2 of 10 are right at a confidence of 0.1; bin 4: 20 of 30 at 0.9; so (1 + 7) / 40
    assert summed(rows)[KEY].value == pytest.approx(8 / 40)
    assert list(summed(rows)[KEY].weights) == [20, 20]


def test_it_is_the_definition_on_many_items():
    rows = table(60, seed=1)
    assert summed(rows)[KEY].value == pytest.approx(error(rows))


def test_the_standard_error_is_that_of_leaving_out_each_item():
    rows = table(200, seed=2)
    names = rows["example_id"].unique()
    left = [error(rows[rows["example_id"] != name]) for name in names]
    n = len(names)
    jackknife = np.sqrt((n - 1) / n * ((left - np.mean(left)) ** 2).sum())
    # both are first-order: they differ by terms of the order 1 / n
    assert summed(rows)[KEY].error == pytest.approx(jackknife, rel=0.05)


def test_an_evaluation_without_held_out_measures_has_none():
    assert summed(table(1, seed=0).iloc[:0]) == {}
