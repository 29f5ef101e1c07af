"""Figures of training: held-out NLL and each method's loss against the step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.model_sizes import student_ids
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.plots.figures import Plot, draw_line, fit_settled, small_multiples
from pipeline.reporting.plots.looks import (
    COLOURS,
    GREY,
    LINES,
    Style,
    handles_of,
    styles_of,
)
from pipeline.reporting.render.units import pair_title, short_title

TOGETHER = 8  # methods that one panel can hold and still be read
PANELS = 48  # of a figure, about
MOST_LINES = len(LINES)  # in a panel of losses
POINTS = 100  # of a line, at most
SETTLED = 0.3  # share of the steps after which a curve must fit on the axis
NLL = "validation_nll_nats"


@dataclass(frozen=True)
class Curve:
    """Means over training seeds against the optimizer step, and the lowest and highest seed."""

    steps: np.ndarray
    means: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def curve_of(inputs: ReportInputs, row: Row, column: str, window: int = 1) -> Curve:
    """A row's curve at the steps that all seeds have, over a running window; may be empty."""
    tables = [inputs.training_steps[id] for id in student_ids(inputs, row)]
    seeds = pd.concat([pd.Series(table[column], index=table["step"]) for table in tables], axis=1)
    smooth = pd.DataFrame(seeds.rolling(window).mean()).dropna().sort_index()
    kept = np.unique(np.linspace(0, len(smooth) - 1, POINTS).astype(int)) if len(smooth) else []
    shown = smooth.iloc[kept]
    over_seeds = (shown.mean(axis=1), shown.min(axis=1), shown.max(axis=1))
    return Curve(shown.index.to_numpy(), *(values.to_numpy() for values in over_seeds))


def validation_curves(
    inputs: ReportInputs, results: Results, sizes: Mapping[str, int]
) -> Plot | None:
    """Held-out NLL against the step; None where it was never measured."""
    curves = {
        pair: {
            row.label: curve
            for row in results.methods[pair]
            if len((curve := curve_of(inputs, row, NLL)).steps)
        }
        for pair in results.pairs
    }
    measured = {pair: found for pair, found in curves.items() if found}
    if not measured:
        return None
    together = len(results.labels) <= TOGETHER
    draw = _methods_together if together else _methods_apart
    more = "" if together else " A panel for each method, with all others in grey."
    caption = (
        f"Means over training seeds, not smoothed, in a band from the lowest to the highest seed."
        f"{more} Axes don't begin at zero; values above them occur only in the first "
        f"{100 * SETTLED:.0f} % of the steps."
    )
    title = "Held-out NLL during training"
    return Plot(
        "training_curves", title, caption, lambda width: draw(width, results, measured, sizes)
    )


Curves = Mapping[Pair, Mapping[str, Curve]]


def _methods_together(
    width: float, results: Results, curves: Curves, sizes: Mapping[str, int]
) -> Figure:
    styles = styles_of(results)
    titles = {pair: pair_title(pair, sizes) for pair in curves}
    figure, panels = small_multiples({"": ""}, titles, (width, 1.9), handles_of(styles), 2.4)
    for panel in panels:
        for label, curve in curves[panel.column].items():
            _draw_curve(panel.axes, curve, styles[label])
        _finish(panel.axes, curves[panel.column].values())
        panel.axes.set_xlabel("step")
        if panel.is_first:
            panel.axes.set_ylabel("nats/token")
    return figure


def _methods_apart(
    width: float, results: Results, curves: Curves, sizes: Mapping[str, int]
) -> Figure:
    """A panel for each method of each pair, with all others behind it in grey."""
    styles = styles_of(results)
    pairs = list(curves)[: max(1, PANELS // len(styles))]
    rows = {pair: f"{pair_title(pair, sizes)}, nats/token" for pair in pairs}
    columns = {label: label for label in styles}
    figure, panels = small_multiples(rows, columns, (width, 0.75), (), 1.6)
    for panel in panels:
        for curve in curves[panel.row].values():
            panel.axes.plot(curve.steps, curve.means, color=GREY, linewidth=0.5, alpha=0.5)
        if curve := curves[panel.row].get(panel.column):
            _draw_curve(panel.axes, curve, styles[panel.column])
        _finish(panel.axes, curves[panel.row].values())
        panel.axes.tick_params(labelleft=panel.is_first)
    return figure


def _draw_curve(axes: Axes, curve: Curve, style: Style) -> None:
    axes.fill_between(
        curve.steps, curve.lowest, curve.highest, color=style.colour, alpha=0.18, linewidth=0
    )
    draw_line(axes, curve.steps, curve.means, style)


def _finish(axes: Axes, curves: Iterable[Curve]) -> None:
    fit_settled(axes, [(curve.steps, curve.means) for curve in curves], SETTLED)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def loss_curves(inputs: ReportInputs, results: Results, sizes: Mapping[str, int]) -> Plot:
    """Each method's own loss against the step: a line for each pair, of few pairs, else a panel."""
    rows = [row for pair in results.pairs for row in results.methods[pair]]
    trained = (inputs.training_steps[id] for row in rows for id in student_ids(inputs, row))
    window = max(1, max(len(table["step"]) for table in trained) // 20)
    together = len(results.pairs) <= MOST_LINES
    titles = {
        pair: short_title(pair) if together else pair_title(pair, sizes) for pair in results.pairs
    }
    headings = {"": ""} if together else {title: title for title in titles.values()}
    styles = {
        title: Style(COLOURS[number % len(COLOURS)], "", LINES[number % len(LINES)])
        for number, title in enumerate(titles.values())
    }
    curves = {
        (title, row.label): curve_of(inputs, row, "loss_nats", window)
        for pair, title in titles.items()
        for row in results.methods[pair]
    }

    def draw(width: float) -> Figure:
        columns = {label: label for label in results.labels}
        legend = handles_of(styles, markers=False) if 1 < len(titles) <= MOST_LINES else ()
        few = len(results.labels) <= TOGETHER
        figure, panels = small_multiples(
            headings, columns, (width, 1.2 if few else 0.75), legend, 2.0 if few else 1.6
        )
        of_methods = styles_of(results)
        for panel in panels:
            for (title, label), curve in curves.items():
                if label == panel.column and panel.row in ("", title):
                    style = styles[title] if together else of_methods[label]
                    axes = panel.axes
                    axes.plot(curve.steps, curve.means, color=style.colour, linestyle=style.line)
            panel.axes.set_xlabel("step")
            panel.axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            panel.axes.yaxis.set_major_locator(MaxNLocator(3))
        return figure

    smoothing = f"each value the mean of {window} steps" if window > 1 else "not smoothed"
    caption = (
        f"Means over training seeds in nats/token, {smoothing}. Each method has a loss, and so an "
        "axis, of its own: heights can't be compared."
    )
    return Plot("training_loss", "Training loss", caption, draw)
