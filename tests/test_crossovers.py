"""Where the order of methods changes with the budget, and how sure that is."""

import numpy as np
import pytest

from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.costs.attribution import (
    OWN,
)
from pipeline.reporting.costs.crossovers import crossover_point, crossovers
from pipeline.reporting.costs.quality_vs_cost import (
    SECONDS,
    CostComparison,
    QualityCurve,
)


def curve(costs: list[float], nll_nats: list[float]) -> QualityCurve:
    return QualityCurve(np.array(costs), np.array(nll_nats))


def comparison(**curves: list[QualityCurve]) -> CostComparison:
    """Methods by name, each with a curve for the seeds 0, 1 ..."""
    rows = {name: Row("method", "t", "s", name) for name in curves}
    by_row = {rows[name]: dict(enumerate(of_name)) for name, of_name in curves.items()}
    return CostComparison(Pair("t", "s"), OWN, SECONDS, by_row)


def test_a_curve_is_linear_between_measurements_and_ends_as_it_was() -> None:
    line = curve([10, 20], [4.0, 3.0])
    assert line.at(np.array([9.0, 10, 15, 20, 99]))[1:].tolist() == [4.0, 3.5, 3.0, 3.0]
    assert np.isnan(line.at(np.array([9.0])))[0]


def test_the_order_changes_where_the_lines_cross() -> None:
    # 3 - x/10 and 2.5: equal at 5; from there on the first is lower
    crossings = crossovers(
        comparison(late=[curve([0, 10], [3.0, 2.0])], early=[curve([0, 10], [2.5, 2.5])])
    )
    assert [(crossover.first.method, crossover.later.method) for crossover in crossings] == [
        ("early", "late")
    ]
    assert crossings[0].point.budget == pytest.approx(5.0)
    assert crossings[0].lead_before == pytest.approx(0.5)
    assert crossings[0].lead_after == pytest.approx(0.5)
    assert np.isnan([crossings[0].point.low, crossings[0].point.high]).all()  # one seed
    assert (crossings[0].point.agreeing_seeds, crossings[0].point.seeds) == (1, 1)


def test_lines_that_never_cross_have_no_crossover() -> None:
    assert not crossovers(
        comparison(a=[curve([0, 10], [3.0, 2.0])], b=[curve([0, 10], [3.1, 2.1])])
    )


def test_of_several_crossings_the_last_counts() -> None:
    budgets = np.arange(6.0)
    differences = np.array([[1.0, -1.0, 1.0, -3.0, 1.0, 2.0]])
    point = crossover_point(budgets, differences)
    assert point is not None
    assert point.budget == pytest.approx(3.75)  # from -3 at 3 to 1 at 4


def test_seeds_that_agree_closely_bound_the_crossover() -> None:
    late = [curve([0, 2, 4, 6, 8, 10], list(np.linspace(3, 2, 6) + shift)) for shift in (0, 0.01)]
    early = [curve([0, 10], [2.5, 2.5]), curve([0, 10], [2.5, 2.5])]
    (crossover,) = crossovers(comparison(late=late, early=early))
    assert crossover.point.budget == pytest.approx(5.05)  # 0.005 nats at 0.1 nats in 10
    assert (crossover.point.low, crossover.point.high) == (4.0, 6.0)


def test_the_interval_of_a_crossover_covers_it_as_often_as_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lines that truly cross at 5, each seed shifted by a normal draw."""
    rng, covered, trials = np.random.default_rng(0), 0, 2000
    budgets = np.linspace(0, 10, 101)
    for _ in range(trials):
        shifts = rng.normal(0, 0.15, (4, 1))
        point = crossover_point(budgets, (budgets - 5) / 10 + shifts)
        assert point is not None
        low = -np.inf if np.isnan(point.low) else point.low
        high = np.inf if np.isnan(point.high) else point.high
        covered += low < 5.0 < high
    with capsys.disabled():
        print(f"\ncrossovers: {covered / trials:.1%} of intervals at 95 % cover the true budget")
    # of 2000 draws at 95 %, the share has a standard deviation of 0.5 %; ends lie on measurements,
    # so an interval may be wider than it need be
    assert 0.935 <= covered / trials <= 0.985
