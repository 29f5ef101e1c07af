"""How much of the way from plain fine-tuning to the teacher each method has gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.method import READING, Method
from pipeline.reporting.analysis.differences import runs_of, stacked
from pipeline.reporting.analysis.findings import Comparisons, Interval, ShareClosed, Shares
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.plot_style import INK, Look, Panel, Plot, looks_of, measure_panels
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, named, pair_title
from pipeline.statistics.items import Contributions
from pipeline.statistics.ratio import ratios


def baseline_of(methods: Mapping[str, Method]) -> str:
    """The first method that is plain fine-tuning, by its recipe; empty where none is."""
    plain = (
        name
        for name, method in methods.items()
        if (method.loss, method.text, method.teacher) == ("cross_entropy", "gold", "none")
        and (method.policy, method.relabelling_stages) == (READING, 0)
    )
    return next(plain, "")


@dataclass(frozen=True)
class Ways:
    """What a cell's methods have gained on the baseline, and what the teacher is ahead of it."""

    rows: tuple[Row, ...]
    scores: np.ndarray  # [methods, 2, seeds]
    influences: np.ndarray  # [methods, 2, seeds, items]


def shares(results: Results, methods: Mapping[str, Method]) -> Shares:
    """Of every method and measure; a measure that is relative to the teacher has no such gap."""
    baseline = baseline_of(methods)
    closed: list[ShareClosed] = []
    without: list[tuple[Pair, Measure]] = []
    label = ""
    for pair in results.pairs:
        for measure in results.judged:
            if measure.metric.relative:
                continue
            for ways in _ways(results, pair, measure, baseline):
                found = list(_shares(ways, measure))
                closed += found
                if not found:
                    without.append((pair, measure))
        label = next((r.label for r in results.methods[pair] if r.method == baseline), label)
    return Shares(label, tuple(closed), tuple(dict.fromkeys(without)))


def _ways(results: Results, pair: Pair, measure: Measure, baseline: str) -> Iterator[Ways]:
    """Methods by the seeds that they share with the baseline."""
    runs = runs_of(results, results.methods[pair], measure)
    base = next((row for row in runs if row.method == baseline), None)
    ceilings = [row for row in results.references[pair] if row.kind == "teacher"]
    teachers = runs_of(results, ceilings, measure)
    if base is None or not teachers:
        return
    teacher = next(iter(teachers))
    goal = stacked(teachers, [teacher], list(teachers[teacher])[:1])
    by_seeds: dict[tuple[int, ...], list[Row]] = {}
    for row in runs:
        shared = tuple(sorted(set(runs[row]) & set(runs[base])))
        if row != base and shared:
            by_seeds.setdefault(shared, []).append(row)
    for seeds, rows in by_seeds.items():
        items = stacked(runs, [base, *rows], seeds)
        if items.shares.shape[-1] > 1:
            yield _from_baseline(rows, items, goal)


def _from_baseline(rows: Sequence[Row], items: Contributions, goal: Contributions) -> Ways:
    def ways(of_methods: np.ndarray, of_teacher: np.ndarray) -> np.ndarray:
        gained = of_methods[1:] - of_methods[:1]
        ahead = np.broadcast_to(of_teacher - of_methods[:1], gained.shape)
        return np.stack([gained, ahead], axis=1)

    return Ways(
        tuple(rows), ways(items.scores, goal.scores), ways(items.influences, goal.influences)
    )


def _shares(ways: Ways, measure: Measure) -> Iterator[ShareClosed]:
    """None where the teacher may be no better than the baseline."""
    sign = 1 if measure.metric.higher_is_better else -1
    seeds = ways.scores.shape[2]
    ahead = sign * ways.scores[:, 1].mean(axis=1)
    for row, gap, found in zip(ways.rows, ahead, ratios(ways.scores, ways.influences), strict=True):
        if found and gap > 0:
            yield ShareClosed(measure, row, found.value, Interval(found.low, found.high), seeds)


def share_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    found = {(one.row, one.measure): one for one in comparisons.shares.closed}
    measures = list(dict.fromkeys(one.measure for one in comparisons.shares.closed))
    if not found:
        return None
    headings = [Heading(one.metric.title, f"{one.task}, % (95 % interval)") for one in measures]
    return Table(
        name="gap_closed",
        caption=(
            f"Share of the way from {comparisons.shares.baseline} to the teacher: (method − "
            f"{comparisons.shares.baseline}) / (teacher − {comparisons.shares.baseline}), paired "
            "over seeds and items, with Fieller's interval; the teacher is the one at hand, not a "
            f"draw of teachers. {MISSING}: not measured, or the teacher may be no better (the "
            "interval of the way holds zero)."
        ),
        group_headings=("Teacher", "Student"),
        headings=(Heading("Method", numeric=False), Heading("Seeds"), *headings),
        groups=tuple(
            Group(pair_title(pair, sizes), (pair.teacher, pair.student), (), rows)
            for pair in results.pairs
            if (rows := tuple(_share_rows(results.methods[pair], measures, found)))
        ),
    )


def _share_rows(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    found: Mapping[tuple[Row, Measure], ShareClosed],
) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        of_row = [found.get((row, measure)) for measure in measures]
        if known := [one for one in of_row if one]:
            seeds = max(one.seeds for one in known)
            yield (named(row), Cell(str(seeds), seeds), *map(_share_cell, of_row))


def _share_cell(one: ShareClosed | None) -> Cell:
    if one is None:
        return Cell(MISSING)
    low, high = 100 * one.interval.low, 100 * one.interval.high
    text = f"{100 * one.value:.0f} ({low:.0f} to {high:.0f})"
    return Cell(text, 100 * one.value, beside=(("low", low), ("high", high)))


def share_plot(comparisons: Comparisons, results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method with its interval, a panel for each measure of each pair."""
    found = [one for one in comparisons.shares.closed if one.pair in results.pairs]
    pairs = list(dict.fromkeys(one.pair for one in found))
    measures = list(dict.fromkeys(one.measure for one in found))
    if not found:
        return None
    labels = list(dict.fromkeys(one.row.label for one in found))
    height = 0.8 + 0.17 * len(labels)
    figure, panels = measure_panels(pairs, measures, height, legend=0.0)
    looks = looks_of(results.labels)
    for panel in panels:
        here = [one for one in found if (one.pair, one.measure) == (panel.key, panel.measure)]
        _share_panel(panel, here, labels, looks)
        if panel.first:
            panel.axis.set_ylabel(pair_title(panel.key, sizes).replace(", ", "\n"))
    return Plot(
        "gap_closed",
        "Share of the gap closed",
        f"0 % is {comparisons.shares.baseline}, 100 % the teacher. Bars are 95 % intervals over "
        "seeds and items (items alone where there is one seed); one that ends in an arrow goes on. "
        "An empty panel: the teacher may be no better.",
        figure,
    )


def _share_panel(
    panel: Panel[Pair], found: list[ShareClosed], labels: list[str], looks: Mapping[str, Look]
) -> None:
    axis = panel.axis
    low = min([0.0, *(100 * one.value for one in found)])
    high = max([100.0, *(100 * one.value for one in found)])
    margin = 0.35 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    for one in found:
        height, colour = labels.index(one.row.label), looks[one.row.label].colour
        ends = [100 * one.interval.low, 100 * one.interval.high]
        axis.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.7)
        axis.plot(100 * one.value, height, marker="o", markersize=4, color=colour)
        for end, sign, edge in ((ends[0], "<", low - margin), (ends[1], ">", high + margin)):
            if not low - margin <= end <= high + margin:
                axis.plot(edge, height, marker=sign, markersize=4, color=colour, clip_on=False)
    for place in (0, 100):
        axis.axvline(place, color=INK, linestyle="--", linewidth=0.8, zorder=0)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_yticks(range(len(labels)), labels if panel.first else [""] * len(labels))
    axis.tick_params(axis="y", length=0)
    axis.set_title(panel.measure.metric.title)
    axis.set_xlabel(f"% of the gap, {panel.measure.task}")
