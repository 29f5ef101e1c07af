"""Charts of training curves that the page draws itself."""

from collections.abc import Mapping

import numpy as np

from pipeline.reporting.analysis.load import StepColumns

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
Line = tuple[np.ndarray, np.ndarray]  # steps and values; NaN where nothing was measured


def cell_charts(steps: Mapping[str, StepColumns], colour: str) -> list[Chart]:
    """The training curves of a cell, a line for each seed; none where nothing was trained."""
    return [
        chart
        for column, title in OF_CELL.items()
        for chart in charts(
            title, colour, {seed: (table["step"], table[column]) for seed, table in steps.items()}
        )
    ]


def charts(title: str, colour: str, lines: Mapping[str, Line]) -> list[Chart]:
    """A chart of these lines by their labels; none where nothing was measured.

    A line has few points, each the mean of its neighbours.
    """
    drawn = []
    for label, (steps, values) in lines.items():
        if (measured := ~np.isnan(values)).any():
            count = min(POINTS, int(measured.sum()))
            parts = [np.array_split(each[measured], count) for each in (steps, values)]
            means = [float(f"{part.mean():.{DIGITS}g}") for part in parts[1]]
            drawn.append({"label": label, "x": [int(part[-1]) for part in parts[0]], "y": means})
    return [{"title": title, "colour": colour, "lines": drawn}] if drawn else []
