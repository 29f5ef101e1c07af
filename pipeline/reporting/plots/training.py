"""Figures of training: held-out NLL and losses by step, validation scores by learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.searches import Search
from pipeline.reporting.plots.figures import (
    Panel,
    Plot,
    cost_axis,
    draw_line,
    fit_settled,
    multiples_plot,
)
from pipeline.reporting.plots.looks import COLOURS, GREY, LINES, Style, handles_of, styles_of

TOGETHER = 8  # methods that one panel can hold and still be read
PANELS = 48  # of a figure, about
POINTS = 100  # of a line, at most
SETTLED = 0.3  # share of the steps after which a curve must fit on the axis
NLL = "validation_nll_nats"
RATE = "learning_rate"
ABOUT_RATES = (
    "Validation score of the trials against their learning rate: means over tuning seeds, at the "
    "best values of all other tuned keys. A ring marks the chosen rate. The axis has room for the "
    "better half of each method's rates; worse scores lie outside, and a trial that diverged has "
    "none. The flatter a line, the less its method depends on the rate."
)


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
            curves.setdefault(row.pair, {})[row.method] = curve
    if not curves:
        return None
    together = len(results.method_names) <= TOGETHER
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
        {method: method for method in styles},
        0.75,
        narrowest=1.6,
    )


def _draw_together(axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    _draw_curves(axes, curves, styles)
    axes.set_xlabel("step")


def _draw_apart(
    panel: Panel[Pair, str], curves: Mapping[str, Curve], styles: Mapping[str, Style]
) -> None:
    """A method, with all others of its pair behind it in grey."""
    for curve in curves.values():
        panel.axes.plot(curve.steps, curve.means, color=GREY, linewidth=0.5, alpha=0.5)
    _draw_curves(panel.axes, curves, {panel.column: styles[panel.column]})
    panel.axes.tick_params(labelleft=panel.is_first)


def _draw_curves(axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    """The curves that have a style; the axis fits all of them."""
    for method, curve in curves.items():
        if style := styles.get(method):
            band = (curve.steps, curve.lowest, curve.highest)
            axes.fill_between(*band, color=style.colour, alpha=0.18, linewidth=0)
            draw_line(axes, curve.steps, curve.means, style)
    fit_settled(axes, [(curve.steps, curve.means) for curve in curves.values()], SETTLED)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def loss_curves(inputs: ReportInputs, results: Results) -> Plot:
    """Each method's own loss against the step: a line for each pair, of few pairs, else a panel."""
    steps = inputs.training_steps
    trained = (steps[id] for row in results.trained for id in inputs.students[row.cell])
    window = max(1, max(len(table["step"]) for table in trained) // 20)
    together = len(results.pairs) <= len(LINES)  # as many lines are in a panel
    titles = {pair: pair.short_title if together else results.title(pair) for pair in results.pairs}
    curves: dict[str, dict[str, Curve]] = {method: {} for method in results.method_names}
    for row in results.trained:
        curve = curve_of(inputs, row, "loss_nats", window)
        curves[row.method][titles[row.pair]] = curve
    of_pairs = {
        title: Style(COLOURS[number % len(COLOURS)], "", LINES[number % len(LINES)])
        for number, title in enumerate(titles.values())
    }
    few, own = len(results.method_names) <= TOGETHER, styles_of(results)

    def draw(panel: Panel[str, str]) -> None:
        """Draws the loss curves of a panel, in the style of the pair or of the method."""
        axes, shown = panel.axes, of_pairs if together else {panel.row: own[panel.column]}
        for title, curve in curves[panel.column].items():
            if style := shown.get(title):
                axes.plot(curve.steps, curve.means, color=style.colour, linestyle=style.line)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))

    smoothing = f"each value the mean of {window} steps" if window > 1 else "not smoothed"
    students = [tuple(inputs.students[row.cell]) for row in results.trained]
    is_shared = together and len(set(students)) < len(students)
    coincide = " Lines of one student under several teachers coincide." if is_shared else ""
    return multiples_plot(
        "training_loss",
        "Training loss",
        f"Means over training seeds, {smoothing}. Each method has a loss, and so an "
        f"axis, of its own: heights can't be compared.{coincide}",
        draw,
        {"": ""} if together else {title: title for title in titles.values()},
        {method: method for method in results.method_names},
        1.2 if few else 0.75,
        legend=lambda: handles_of(of_pairs, markers=False) if together and len(titles) > 1 else [],
        narrowest=2.0 if few else 1.6,
        label="nats/token",
    )


@dataclass(frozen=True)
class RateCurve:
    """The best score at each rate."""

    scores: Mapping[float, float]  # by rate; without a finite score there is none
    chosen: float  # the rate
    better_half: Sequence[float]  # of the scores

    @classmethod
    def of(cls, search: Search) -> "RateCurve":
        """The curve of a search."""
        higher = search.measure.higher_is_better
        scores: dict[float, float] = {}
        for setting in search.choice.tried:
            if setting.mean is not None:
                rate = float(setting.values[RATE])
                best = max if higher else min
                scores[rate] = best(setting.mean, scores.get(rate, setting.mean))
        ordered = sorted(scores.values(), reverse=higher)
        better_half = ordered[: max(2, (len(ordered) + 1) // 2)]
        return cls(dict(sorted(scores.items())), float(search.chosen.values[RATE]), better_half)


def sensitivity_plot(searches: Sequence[Search], results: Results) -> Plot | None:
    """Validation scores against rates; None where no rate was tuned."""
    curves: dict[Pair, dict[str, RateCurve]] = {}
    for search in searches:
        if search.row.pair in results.pairs and RATE in search.chosen.values:
            curves.setdefault(search.row.pair, {})[search.row.method] = RateCurve.of(search)
    if not any(len(curve.scores) > 1 for of_pair in curves.values() for curve in of_pair.values()):
        return None
    measure, styles = searches[0].measure, styles_of(results)
    return multiples_plot(
        "tuning",
        "Sensitivity to the learning rate",
        ABOUT_RATES,
        lambda panel: _draw_rates(panel.axes, curves[panel.column], styles),
        {"": ""},
        {pair: results.title(pair) for pair in curves},
        1.9,
        legend=lambda: handles_of(styles),
        narrowest=2.4,
        label=f"{measure.title}, {measure.unit}",
    )


def _draw_rates(axes: Axes, curves: Mapping[str, RateCurve], styles: Mapping[str, Style]) -> None:
    for method, curve in curves.items():
        style, score = styles[method], curve.scores[curve.chosen]
        draw_line(axes, list(curve.scores), list(curve.scores.values()), style)
        axes.plot([curve.chosen], [score], "o", markersize=8, mfc="none", color=style.colour)
    good = [score for curve in curves.values() for score in curve.better_half]
    margin = 0.1 * (max(good) - min(good) or 0.1 * abs(max(good)) or 1.0)
    axes.set_ylim(min(good) - margin, max(good) + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    cost_axis(axes, [rate for curve in curves.values() for rate in curve.scores])
    axes.set_xlabel("learning rate")
