"""How training went: held-out NLL on the way, and each method's own loss."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.load import ReportInputs, StepColumns
from pipeline.reporting.analysis.model_sizes import student_ids
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.plot_style import (
    INK,
    LINES,
    Look,
    Plot,
    handles_of,
    legend_below,
    legend_height,
    looks_of,
    panels,
    wrapped,
)
from pipeline.reporting.render.table import pair_title

TOGETHER = 8  # methods that one panel can hold and still be read
BESIDE = 6  # small panels beside each other
PANELS = 48  # small panels in a figure, about
SETTLED = 0.3  # share of the steps after which a curve must fit on the axis


@dataclass(frozen=True)
class Curve:
    """The mean over training seeds, where all of them were measured."""

    row: Row
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
            if len((curve := held_out(inputs, row, student_ids(inputs, row))).steps)
        ]
        for pair in results.pairs
    }
    if not any(curves.values()):
        return None
    draw = _together if len(results.labels) <= TOGETHER else _one_by_one
    return draw(results, curves, sizes)


def held_out(inputs: ReportInputs, row: Row, ids: Iterable[str]) -> Curve:
    """Held-out NLL on the way of the trainings `ids`; no point where it was never measured."""
    return _mean_curve(row, [inputs.training_steps[id] for id in ids], "validation_nll_nats")


def _mean_curve(row: Row, tables: Iterable[StepColumns], column: str, width: int = 1) -> Curve:
    """The mean of a column at the steps that all tables have, each value that of `width` rows."""
    frames = _side_by_side(tables, column)
    if width > 1:
        frames = [frame.rolling(width, min_periods=width).mean() for frame in frames]
    mean = pd.concat(frames, axis=1).dropna().mean(axis=1).sort_index()
    return Curve(row, mean.index.to_numpy(), mean.to_numpy())


def _side_by_side(tables: Iterable[StepColumns], column: str) -> list[pd.DataFrame]:
    """A column of many tables by step: those of the same steps in one frame, mostly all."""
    values: dict[bytes, list[np.ndarray]] = {}
    steps = {}
    for table in tables:
        own = table["step"]
        steps[own.tobytes()] = own
        values.setdefault(own.tobytes(), []).append(table[column])
    return [pd.DataFrame(np.stack(found, 1), index=steps[key]) for key, found in values.items()]


def _together(
    results: Results, curves: Mapping[Pair, list[Curve]], sizes: Mapping[str, int]
) -> Plot:
    """A panel for each pair, with all methods in it."""
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    looks = looks_of(results.labels)
    figure, axes = panels(rows, columns, 2.6 * rows + legend_height(results.labels))
    flat = [axis for row in axes for axis in row]
    for axis, (pair, found) in zip(flat, curves.items(), strict=False):
        for curve in found:
            _draw(axis, curve, looks[curve.row.label])
        _finish(axis, found, pair_title(pair, sizes))
        axis.set_ylabel("held-out NLL (nats/token)")
        axis.set_xlabel("step")
    _blank(flat[len(curves) :])
    legend_below(figure, handles_of(looks, lines=True))
    return Plot("training_curves", "Held-out NLL during training", _caption(""), figure)


def _caption(more: str) -> str:
    return (
        f"Means over training seeds, not smoothed.{more} Axes don't begin at zero; what lies above "
        f"them was passed in the first {SETTLED:.0%} of the steps."
    )


def _one_by_one(
    results: Results, curves: Mapping[Pair, list[Curve]], sizes: Mapping[str, int]
) -> Plot:
    """A panel for each method of each pair, before all others in grey."""
    looks = looks_of(results.labels)
    room = max(1, PANELS // len(looks))
    curves = dict(list(curves.items())[:room])
    lines = {pair: -(-len(found) // BESIDE) for pair, found in curves.items()}
    figure, axes = panels(sum(lines.values()), BESIDE, 1.3 * sum(lines.values()) + 0.3)
    for pair, found in curves.items():
        rows, axes = axes[: lines[pair]], axes[lines[pair] :]
        flat = [axis for row in rows for axis in row]
        for axis, curve in zip(flat, found, strict=False):
            _behind(axis, found)
            _draw(axis, curve, looks[curve.row.label])
            _finish(axis, found, wrapped(curve.row.label))
        for first, *others in rows:
            first.set_ylabel("NLL")
            for axis in others:
                axis.tick_params(labelleft=False)
        _blank(flat[len(found) :])
        if len(curves) > 1:
            flat[0].annotate(
                pair_title(pair, sizes), (0, 1.25), xycoords="axes fraction", fontsize=8.5
            )
    more = " A panel for each method, before all others in grey; against the step."
    return Plot("training_curves", "Held-out NLL during training", _caption(more), figure)


def _behind(axis: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axis.plot(curve.steps, curve.values, color="#D0D0D0", linewidth=0.6)


def _draw(axis: Axes, curve: Curve, look: Look) -> None:
    axis.plot(
        curve.steps,
        curve.values,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=3,
        markevery=max(1, len(curve.steps) // 8),
        linewidth=1.2,
    )


def _finish(axis: Axes, curves: Sequence[Curve], title: str) -> None:
    last = max(curve.steps[-1] for curve in curves)
    late = [curve.values[curve.steps >= SETTLED * last] for curve in curves]
    settled = [values for values in late if len(values)]  # a shorter budget has none
    low, high = min(map(np.min, settled)), max(map(np.max, settled))
    axis.set_ylim(low - 0.06 * (high - low) - 1e-9, high + 0.12 * (high - low) + 1e-9)
    axis.set_title(title)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(5))


def _blank(axes: Sequence[Axes]) -> None:
    for axis in axes:
        axis.set_axis_off()


def loss_curves(inputs: ReportInputs, results: Results, sizes: Mapping[str, int]) -> Plot:
    """Each method's own loss against the step, a panel for each method."""
    looks = looks_of(results.labels)
    many = len(looks) > TOGETHER
    columns = BESIDE if many else min(3, len(looks))
    rows = -(-len(looks) // columns)
    height = (1.35 if many else 1.9) * rows + 0.2 + 0.16 * len(results.pairs)
    figure, axes = panels(rows, columns, height)
    flat = [axis for row in axes for axis in row]
    width = _window(inputs)
    for axis, (label, look) in zip(flat, looks.items(), strict=False):
        _loss_panel(axis, inputs, results, label, look.colour, width)
    for row in axes:
        row[0].set_ylabel("loss")
    _blank(flat[len(looks) :])
    if len(results.pairs) > 1:
        legend_below(figure, _pair_handles(results.pairs, sizes))
    smoothing = f"each value the mean of {width} steps" if width > 1 else "not smoothed"
    caption = (
        f"Means over training seeds, {smoothing}; against the "
        "step. Each method has a loss, and so an axis, of its own: heights can't be compared."
    )
    return Plot("training_loss", "Training loss", caption, figure)


def _window(inputs: ReportInputs) -> int:
    return max(1, max(len(table["step"]) for table in inputs.training_steps.values()) // 20)


def _loss_panel(
    axis: Axes, inputs: ReportInputs, results: Results, label: str, colour: str, width: int
) -> None:
    for place, pair in enumerate(results.pairs):
        for row in results.methods[pair]:
            if row.label != label:
                continue
            tables = [inputs.training_steps[id] for id in student_ids(inputs, row)]
            curve = _mean_curve(row, tables, "loss_nats", width)
            line = LINES[place % len(LINES)]
            axis.plot(curve.steps, curve.values, color=colour, linestyle=line, linewidth=1)
    axis.set_title(wrapped(label))
    axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(4))


def _pair_handles(pairs: Sequence[Pair], sizes: Mapping[str, int]) -> list[Line2D]:
    return [
        Line2D(
            [], [], color=INK, linestyle=LINES[place % len(LINES)], label=pair_title(pair, sizes)
        )
        for place, pair in enumerate(pairs)
    ]
