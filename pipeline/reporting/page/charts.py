"""Charts of training curves that the page draws itself."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.reporting.analysis.load import StepColumns
from pipeline.reporting.plots.training import Curve

POINTS = 40  # of a line, at most
DIGITS = 4
OF_CELL = {
    "validation_nll_nats": "Held-out NLL (nats/token)",
    "loss_nats": "Training loss (nats/token)",
    "gradient_norm": "Gradient norm",
    "rollout_length": "Length of generated texts (tokens)",
    "reward": "Mean reward of generated texts",
    "top_overlap": "Share of both models' top 16 tokens that is common to them",
    "student_mass": "Student's probability of the teacher's top 16 tokens",
    "teacher_mass": "Teacher's probability of the student's top 16 tokens",
    "student_entropy_nats": "Student's entropy (nats/token)",
    "teacher_entropy_nats": "Teacher's entropy (nats/token)",
}
Chart = Mapping[str, object]  # title, colour, and lines: label, x and y


def cell_charts(steps: Mapping[str, StepColumns], colour: str) -> list[Chart]:
    """The training curves of a cell, a line for each seed; none where nothing was trained."""
    charts = []
    for column, title in OF_CELL.items():
        measured = {seed: ~np.isnan(table[column]) for seed, table in steps.items()}
        lines = [
            _line(seed, steps[seed]["step"][kept], steps[seed][column][kept])
            for seed, kept in measured.items()
            if kept.any()
        ]
        if lines:
            charts.append({"title": title, "colour": colour, "lines": lines})
    return charts


def method_charts(curves: Mapping[str, Curve], colour: str) -> list[Chart]:
    """Held-out NLL of a method, a line for each teacher and student; none where it's unknown."""
    lines = [
        _line(label, curve.steps, curve.means)
        for label, curve in curves.items()
        if len(curve.steps)
    ]
    title = "Held-out NLL (nats/token), means over seeds"
    return [{"title": title, "colour": colour, "lines": lines}] if lines else []


def _line(label: str, steps: np.ndarray, values: np.ndarray) -> dict[str, object]:
    """A line of few points, each the mean of its neighbours."""
    parts = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
    return {
        "label": label,
        "x": [int(steps[part[-1]]) for part in parts],
        "y": _rounded([values[part].mean() for part in parts]),
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
