"""Figures of training: held-out NLL and each method's loss against the step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.plots.figures import Panel, Plot, draw_line, fit_settled, multiples_plot
from pipeline.reporting.plots.looks import COLOURS, GREY, LINES, Style, handles_of, styles_of

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
    tables = [inputs.training_steps[id] for id in inputs.students[row.cell]]
    seeds = pd.concat([pd.Series(table[column], index=table["step"]) for table in tables], axis=1)
    smooth = pd.DataFrame(seeds.rolling(window).mean()).dropna().sort_index()
    kept = np.unique(np.linspace(0, len(smooth) - 1, POINTS).astype(int)) if len(smooth) else []
    shown = smooth.iloc[kept]
    over_seeds = (shown.mean(axis=1), shown.min(axis=1), shown.max(axis=1))
    return Curve(shown.index.to_numpy(), *(values.to_numpy() for values in over_seeds))


def validation_curves(inputs: ReportInputs, results: Results) -> Plot | None:
    """Held-out NLL against the step; None where it was never measured."""
    curves: dict[Pair, dict[str, Curve]] = {}
    for row in results.trained:
        if len((curve := curve_of(inputs, row, NLL)).steps):
            curves.setdefault(row.pair, {})[row.label] = curve
    if not curves:
        return None
    together = len(results.labels) <= TOGETHER
    more = "" if together else " A panel for each method, with all others in grey."
    caption = (
        f"Means over training seeds, not smoothed, in a band from the lowest to the highest seed."
        f"{more} Axes don't begin at zero; values above them occur only in the first "
        f"{100 * SETTLED:.0f} % of the steps."
    )
    styles = styles_of(results)
    about = ("training_curves", "Held-out NLL during training", caption)
    if together:
        return multiples_plot(
            *about,
            lambda panel: _draw_together(panel.axes, curves[panel.column], styles),
            {"": ""},
            {pair: results.title(pair) for pair in curves},
            1.9,
            legend=lambda: handles_of(styles),
            narrowest=2.4,
            label="nats/token",
        )
    pairs = list(curves)[: max(1, PANELS // len(styles))]
    return multiples_plot(
        *about,
        lambda panel: _draw_apart(panel, curves[panel.row], styles),
        {pair: f"{results.title(pair)}, nats/token" for pair in pairs},
        {label: label for label in styles},
        0.75,
        narrowest=1.6,
    )


def _draw_together(axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    for label, curve in curves.items():
        _draw_curve(axes, curve, styles[label])
    _finish(axes, curves.values())
    axes.set_xlabel("step")


def _draw_apart(
    panel: Panel[Pair, str], curves: Mapping[str, Curve], styles: Mapping[str, Style]
) -> None:
    """A method, with all others of its pair behind it in grey."""
    for curve in curves.values():
        panel.axes.plot(curve.steps, curve.means, color=GREY, linewidth=0.5, alpha=0.5)
    if curve := curves.get(panel.column):
        _draw_curve(panel.axes, curve, styles[panel.column])
    _finish(panel.axes, curves.values())
    panel.axes.tick_params(labelleft=panel.is_first)


def _draw_curve(axes: Axes, curve: Curve, style: Style) -> None:
    axes.fill_between(
        curve.steps, curve.lowest, curve.highest, color=style.colour, alpha=0.18, linewidth=0
    )
    draw_line(axes, curve.steps, curve.means, style)


def _finish(axes: Axes, curves: Iterable[Curve]) -> None:
    fit_settled(axes, [(curve.steps, curve.means) for curve in curves], SETTLED)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def loss_curves(inputs: ReportInputs, results: Results) -> Plot:
    """Each method's own loss against the step: a line for each pair, of few pairs, else a panel."""
    steps = inputs.training_steps
    trained = (steps[id] for row in results.trained for id in inputs.students[row.cell])
    window = max(1, max(len(table["step"]) for table in trained) // 20)
    together = len(results.pairs) <= MOST_LINES
    titles = [pair.short_title if together else results.title(pair) for pair in results.pairs]
    styles = {
        title: Style(COLOURS[number % len(COLOURS)], "", LINES[number % len(LINES)])
        for number, title in enumerate(titles)
    }
    curves: dict[str, dict[str, Curve]] = {label: {} for label in results.labels}
    for pair, title in zip(results.pairs, titles, strict=True):
        for row in results.methods[pair]:
            curves[row.label][title] = curve_of(inputs, row, "loss_nats", window)
    few, own = len(results.labels) <= TOGETHER, styles_of(results)
    smoothing = f"each value the mean of {window} steps" if window > 1 else "not smoothed"
    return multiples_plot(
        "training_loss",
        "Training loss",
        f"Means over training seeds in nats/token, {smoothing}. Each method has a loss, and so an "
        "axis, of its own: heights can't be compared.",
        lambda panel: _draw_losses(
            panel, curves[panel.column], styles if together else {panel.row: own[panel.column]}
        ),
        {"": ""} if together else {title: title for title in titles},
        {label: label for label in results.labels},
        1.2 if few else 0.75,
        legend=lambda: handles_of(styles, markers=False) if together and len(titles) > 1 else [],
        narrowest=2.0 if few else 1.6,
    )


def _draw_losses(
    panel: Panel[str, str], curves: Mapping[str, Curve], styles: Mapping[str, Style]
) -> None:
    """The curves of a method under the pairs that have a style."""
    for title, curve in curves.items():
        if style := styles.get(title):
            panel.axes.plot(curve.steps, curve.means, color=style.colour, linestyle=style.line)
    panel.axes.set_xlabel("step")
    panel.axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panel.axes.yaxis.set_major_locator(MaxNLocator(3))
