"""Figures of training: held-out NLL and each method's loss against the step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.load import ReportInputs, StepColumns
from pipeline.reporting.analysis.model_sizes import student_ids
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.figures import (
    LINES,
    RC,
    Plot,
    Style,
    draw_line,
    fit_settled,
    fix_layout,
    handles_of,
    small_multiples,
    styles_of,
    svg_of,
)
from pipeline.reporting.render.units import pair_title

TOGETHER = 8  # methods that one panel can hold and still be read
PANELS = 48  # of a figure, about
SETTLED = 0.3  # share of the steps after which a curve must fit on the axis
POINTS = 48  # of a line on a cell's page, at most
SIDE_BY_SIDE = 6  # panels of single methods
TITLE = "Held-out NLL during training"
SETTLED_CELL = 0.1  # the same on the page of a cell or method
OF_CELL = {
    "validation_nll_nats": "Held-out NLL (nats/token)",
    "loss_nats": "Training loss (nats/token)",
    "gradient_norm": "Gradient norm",
}


@dataclass(frozen=True)
class Curve:
    """A line over the optimizer steps."""

    label: str
    steps: np.ndarray
    values: np.ndarray


def validation_curves(
    inputs: ReportInputs, results: Results, sizes: Mapping[str, int]
) -> Plot | None:
    """Held-out NLL against the step; None where it was never measured."""
    curves = {
        pair: [
            curve
            for row in results.methods[pair]
            if len((curve := validation_curve(inputs, row)).steps)
        ]
        for pair in results.pairs
    }
    if not any(curves.values()):
        return None
    if len(results.labels) <= TOGETHER:
        return _methods_together(results, curves, sizes)
    return _methods_apart(results, curves, sizes)


def validation_curve(inputs: ReportInputs, row: Row) -> Curve:
    """Held-out NLL of a method, the mean over seeds; empty where it was never measured."""
    return _mean_curve(inputs, row, "validation_nll_nats")


def _mean_curve(inputs: ReportInputs, row: Row, column: str, window: int = 1) -> Curve:
    """The mean over the seeds of a method at the steps that all have, over a running window."""
    tables = [inputs.training_steps[id] for id in student_ids(inputs, row)]
    seeds = pd.concat([pd.Series(table[column], index=table["step"]) for table in tables], axis=1)
    smooth = pd.DataFrame(seeds.rolling(window).mean()).dropna()
    mean = smooth.mean(axis=1).sort_index()
    return Curve(row.label, mean.index.to_numpy(), mean.to_numpy())


def _methods_together(
    results: Results, curves: Mapping[Pair, list[Curve]], sizes: Mapping[str, int]
) -> Plot:
    styles = styles_of(results.labels)
    measured = {pair: pair_title(pair, sizes) for pair in curves if curves[pair]}
    columns = min(2, len(measured))
    figure, panels = small_multiples(
        {"": "held-out NLL (nats/token)"}, measured, 2.6, handles_of(styles), columns
    )
    for panel in panels:
        for curve in curves[panel.column]:
            draw_line(panel.axes, curve.steps, curve.values, styles[curve.label])
        _finish(panel.axes, curves[panel.column])
        panel.axes.set_xlabel("step")
    return Plot("training_curves", TITLE, _caption(""), figure)


def _methods_apart(
    results: Results, curves: Mapping[Pair, list[Curve]], sizes: Mapping[str, int]
) -> Plot:
    """A panel for each method of each pair, with all others behind it in grey."""
    styles = styles_of(results.labels)
    pairs = list(curves)[: max(1, PANELS // len(styles))]
    rows = {pair: f"{pair_title(pair, sizes)}\nNLL" for pair in pairs}
    columns = {label: label for label in styles}
    figure, panels = small_multiples(rows, columns, 1.45, per_line=SIDE_BY_SIDE)
    for panel in panels:
        for curve in curves[panel.row]:
            panel.axes.plot(curve.steps, curve.values, color="#D0D0D0", linewidth=0.6)
        for curve in curves[panel.row]:
            if curve.label == panel.column:
                draw_line(panel.axes, curve.steps, curve.values, styles[curve.label])
        _finish(panel.axes, curves[panel.row])
        panel.axes.tick_params(labelleft=panel.is_first)
    more = " A panel for each method, with all others in grey; against the step."
    return Plot("training_curves", TITLE, _caption(more), figure)


def _caption(more: str) -> str:
    return (
        f"Means over training seeds, not smoothed.{more} Axes don't begin at zero; values above "
        f"them occur only in the first {SETTLED:.0%} of the steps."
    )


def loss_curves(inputs: ReportInputs, results: Results, sizes: Mapping[str, int]) -> Plot:
    """Each method's own loss against the step, a panel for each method, a line for each pair."""
    titles = {pair: pair_title(pair, sizes) for pair in results.pairs}
    styles = styles_of(list(titles.values()))
    window = max(1, max(len(table["step"]) for table in inputs.training_steps.values()) // 20)
    legend = handles_of(styles, markers=False) if len(titles) > 1 else ()
    many = len(results.labels) > TOGETHER
    figure, panels = small_multiples(
        {"": "loss"},
        {label: label for label in results.labels},
        1.45 if many else 1.9,
        legend,
        SIDE_BY_SIDE if many else 3,
    )
    for panel in panels:
        for pair, title in titles.items():
            for row in results.methods[pair]:
                if row.label == panel.column:
                    curve = _mean_curve(inputs, row, "loss_nats", window)
                    style = replace(styles[title], marker="")
                    draw_line(panel.axes, curve.steps, curve.values, style)
        panel.axes.set_xlabel("step")
        panel.axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        panel.axes.yaxis.set_major_locator(MaxNLocator(4))
    smoothing = f"each value the mean of {window} steps" if window > 1 else "not smoothed"
    caption = (
        f"Means over training seeds, {smoothing}; against the step. Each method has a loss, and so "
        "an axis, of its own: heights can't be compared."
    )
    return Plot("training_loss", "Training loss", caption, figure)


def cell_svg(steps: Mapping[str, StepColumns], colour: str) -> bytes | None:
    """The training curves of a cell, a line a seed; None where nothing was trained."""
    curves = {
        title: [
            _thinned(Curve(seed, table["step"][measured], table[column][measured]))
            for seed, table in steps.items()
            if (measured := ~np.isnan(table[column])).any()
        ]
        for column, title in OF_CELL.items()
    }
    styles = {
        seed: Style(colour, "", LINES[index % len(LINES)]) for index, seed in enumerate(steps)
    }
    return _curves_svg({title: lines for title, lines in curves.items() if lines}, styles)


def method_svg(curves: Sequence[Curve], colour: str) -> bytes | None:
    """Held-out NLL of a method, a line for each teacher and student; None where it's unknown."""
    styles = {
        curve.label: Style(colour, "", LINES[index % len(LINES)])
        for index, curve in enumerate(curves)
    }
    measured = [curve for curve in curves if len(curve.steps)]
    title = "Held-out NLL (nats/token), means over seeds"
    return _curves_svg({title: measured} if measured else {}, styles)


def _curves_svg(curves: Mapping[str, Sequence[Curve]], styles: Mapping[str, Style]) -> bytes | None:
    if not curves:
        return None
    legend = handles_of(styles, markers=False) if len(styles) > 1 else ()
    titles = {title: title for title in curves}
    with rc_context(RC):
        figure, panels = small_multiples({"": ""}, titles, 2.0, legend, len(OF_CELL))
        for panel in panels:
            for curve in curves[panel.column]:
                draw_line(panel.axes, curve.steps, curve.values, styles[curve.label])
            _finish(panel.axes, curves[panel.column], SETTLED_CELL)
            panel.axes.set_xlabel("step")
        fix_layout(figure)
        return svg_of(figure)


def _thinned(curve: Curve) -> Curve:
    """Means of neighbours, where there are more points than a line needs."""
    if len(curve.steps) <= POINTS:
        return curve
    parts = np.array_split(np.arange(len(curve.steps)), POINTS)
    steps = np.array([curve.steps[part][-1] for part in parts])
    return replace(
        curve, steps=steps, values=np.array([curve.values[part].mean() for part in parts])
    )


def _finish(axes: Axes, curves: Iterable[Curve], settled: float = SETTLED) -> None:
    fit_settled(axes, [(curve.steps, curve.values) for curve in curves], settled)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
