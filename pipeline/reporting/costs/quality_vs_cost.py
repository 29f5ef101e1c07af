"""Quality against cost: held-out NLL of each training at each point of its budget."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.analysis.texts import duration, operations
from pipeline.reporting.costs.attribution import ACCOUNTS, OWN, CostData

NAMES = ("Teacher", "Student", "Accounting")  # headings of a comparison
CONFIDENCE = 0.95  # of intervals over seeds
VISIBLE = 0.08  # of a logarithmic axis of costs: a curve that takes less is a vertical line


@dataclass(frozen=True)
class Unit:
    """A unit of budget."""

    name: str
    title: str
    column: str  # of VALIDATION: what the student's own training had used by then
    text: Callable[[float], str]


SECONDS = Unit("seconds", "seconds", "seconds", duration)
FLOPS = Unit("flops", "FLOPs", "flops", operations)
STEPS = Unit("steps", "steps", "step", "{:.0f}".format)  # of the student's training alone


@dataclass(frozen=True)
class QualityCurve:
    """Held-out NLL of one training, and its cost by the time that it was measured."""

    costs: np.ndarray
    nll_nats: np.ndarray

    def at(self, budgets: np.ndarray) -> np.ndarray:
        """NLL at some budgets: linear between two measurements, NaN before the first one.

        A finished training keeps its last value.
        """
        return np.interp(budgets, self.costs, self.nll_nats, left=np.nan)


@dataclass(frozen=True)
class CostComparison:
    """The methods of a pair on one scale of cost, each with a curve for every seed."""

    pair: Pair
    account: str
    unit: Unit
    curves: Mapping[Row, Mapping[int, QualityCurve]]

    @property
    def title(self) -> str:
        """The unit of the budget, and its accounting."""
        return STEPS.title if self.unit is STEPS else f"{self.unit.title}, {self.account}"

    @property
    def names(self) -> tuple[str, str, str]:
        """What distinguishes it from other comparisons: values of NAMES."""
        return (self.pair.teacher, self.pair.student, self.title)

    def at(self, row: Row, budgets: np.ndarray) -> np.ndarray:
        """NLL of a method's seeds at some budgets: [seeds, budgets]."""
        return np.stack([curve.at(budgets) for curve in self.curves[row].values()])

    def differences(self, method: Row, baseline: Row, budgets: np.ndarray) -> np.ndarray:
        """NLL of a method minus that of another, for the seeds of both: [seeds, budgets]."""
        curves, others = self.curves[method], self.curves[baseline]
        both = [(curve, others[seed]) for seed, curve in curves.items() if seed in others]
        differences = [curve.at(budgets) - other.at(budgets) for curve, other in both]
        return np.array(differences).reshape(len(both), len(budgets))

    def mean_curve(self, row: Row) -> QualityCurve:
        """The means over seeds of cost and NLL at each measurement that all seeds have."""
        curves = list(self.curves[row].values())
        count = min(len(curve.costs) for curve in curves)
        costs = np.mean([curve.costs[:count] for curve in curves], axis=0)
        return QualityCurve(costs, np.mean([curve.nll_nats[:count] for curve in curves], axis=0))

    def final_costs(self) -> np.ndarray:
        """The cost by which each method has finished: the highest of its seeds."""
        last = ([curve.costs[-1] for curve in seeds.values()] for seeds in self.curves.values())
        return np.array([max(costs) for costs in last])


def has_visible_budgets(comparison: CostComparison) -> bool:
    """Whether two methods' curves or more have a width that can be seen on an axis of all costs.

    In full they may have none: next to a teacher's training that of a student costs nothing.
    """
    curves = [comparison.mean_curve(row).costs for row in comparison.curves]
    axis = math.log(max(costs[-1] for costs in curves) / min(costs[0] for costs in curves))
    wide = [costs for costs in curves if math.log(costs[-1] / costs[0]) > VISIBLE * axis]
    return len(wide) > 1


def mean_costs(data: CostData, unit: Unit, account: str) -> dict[Row, float]:
    """The mean cost of each method's trainings; NaN where one is not known."""
    costs = data.costs[unit.column].loc[account].to_dict()
    return {
        row: float(np.mean([costs[path] for path in data.trained(row).values()]))
        for row in data.results.trained
    }


def cost_comparisons(data: CostData, unit: Unit) -> Iterator[CostComparison]:
    """A comparison for each pair and accounting under which at least two methods have curves."""
    accounts = (OWN,) if unit is STEPS else ACCOUNTS
    shared = {account: _shared_costs(data, unit, account) for account in accounts}
    for (pair, rows), account in product(data.results.methods.items(), accounts):
        curves = {row: _curves(data, row, unit, shared[account]) for row in rows}
        measured = {row: seeds for row, seeds in curves.items() if seeds}
        if len(measured) > 1:
            yield CostComparison(pair, account, unit, measured)


def _shared_costs(data: CostData, unit: Unit, account: str) -> Mapping[str, float]:
    """The cost of each training before its first step, due to other jobs; NaN if not known."""
    if unit is STEPS:
        return dict.fromkeys(data.validations, 0.0)
    costs = data.costs[unit.column]
    return (costs.loc[account] - costs.loc[OWN]).to_dict()


def _curves(
    data: CostData, row: Row, unit: Unit, shared: Mapping[str, float]
) -> dict[int, QualityCurve]:
    """A curve for each seed; empty where the cost or the NLL of one is not known."""
    curves = {}
    for seed, path in data.trained(row).items():
        measured = data.validations[path]
        costs = shared[path] + measured[unit.column]
        if np.isnan(costs).any() or not len(costs):
            return {}
        curves[seed] = QualityCurve(costs, measured["validation_nll_nats"])
    return curves


def margin(differences: np.ndarray) -> np.ndarray:
    """Half-width of the interval of a mean over seeds, of [seeds, budgets]; infinite for one."""
    seeds = len(differences)
    if seeds < 2:
        return np.full(differences.shape[1], np.inf)
    error = differences.std(axis=0, ddof=1) / np.sqrt(seeds)
    return stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1) * error
