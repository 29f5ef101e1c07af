"""What a report says where its scores are measured in other units, or named or listed otherwise."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparing import MEANS, compared, letters_of, only
from made_up import Cell, drawn, made

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.load import ReportInputs

Values = Mapping[Cell, np.ndarray]
NAMES = {"plain": "zinc", "jsd": "plain", "gkd": "akl", "akl": "jsd"}
TESTS = ("p_value", "adjusted_p_value", "checkpoint_p_value", "effect_size", "degrees_of_freedom")


def comparisons_of(values: Values, grid: Callable[[pd.DataFrame], pd.DataFrame]) -> Comparisons:
    """What is said of negative log-likelihoods, whose scale has no upper end."""
    inputs: ReportInputs = made(values, metric="nll_nats")
    return compared(replace(inputs, grid=grid(inputs.grid)))[1]


def in_order(grid: pd.DataFrame) -> pd.DataFrame:
    return grid


def backwards(grid: pd.DataFrame) -> pd.DataFrame:
    return grid.iloc[::-1]


def oriented(differences: Mapping[tuple[str, str], Difference]) -> dict[str, Difference]:
    """Differences by their methods in the order of the alphabet."""
    return {
        " - ".join(sorted(pair)): each if pair[0] < pair[1] else each.swapped()
        for pair, each in differences.items()
    }


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("scale", "shift", "renamed_seeds", "copies", "grid"),
    [
        (4.0, 0.0, 1, 1, in_order),
        (1.0, 30.0, 1, 1, in_order),
        (1.0, 0.0, -1, 1, in_order),
        (1.0, 0.0, 1, 3, in_order),
        (1.0, 0.0, 1, 1, backwards),
    ],
    ids=["scaled", "shifted", "seeds renamed", "each response three times", "grid backwards"],
)
def test_differences_change_with_the_unit_alone(
    seeds: int,
    scale: float,
    shift: float,
    renamed_seeds: int,
    copies: int,
    grid: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    values = drawn(MEANS, seeds)
    changed = {
        replace(cell, seed=10 + renamed_seeds * cell.seed): np.repeat(
            scale * value[:, None] + shift, copies, axis=1
        )
        for cell, value in values.items()
    }
    before, after = comparisons_of(values, in_order), comparisons_of(changed, grid)
    assert letters_of(after) == letters_of(before)
    pairs = oriented(only(before)), oriented(only(after))
    assert pairs[0].keys() == pairs[1].keys()
    for name, first in pairs[0].items():
        second = pairs[1][name]
        assert second.value == pytest.approx(scale * first.value)
        assert second.interval.low == pytest.approx(scale * first.interval.low)
        assert second.interval.high == pytest.approx(scale * first.interval.high)
        for attribute in TESTS:
            assert getattr(second, attribute) == pytest.approx(getattr(first, attribute), rel=1e-6)


@pytest.mark.parametrize("seeds", [1, 3])
def test_names_of_methods_mean_nothing(seeds: int) -> None:
    values = drawn(MEANS, seeds)
    renamed = {replace(cell, method=NAMES[cell.method]): value for cell, value in values.items()}
    before, after = (comparisons_of(each, in_order) for each in (values, renamed))
    letters = letters_of(before).items()
    assert letters_of(after) == {NAMES[method]: text for method, text in letters}
    for (first, second), difference in only(before).items():
        other = only(after)[NAMES[first], NAMES[second]]
        assert (other.value, other.interval) == (difference.value, difference.interval)
        assert other.adjusted_p_value == difference.adjusted_p_value
