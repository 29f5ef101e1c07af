"""Forest plot of one teacher and student: each method's difference to plain fine-tuning."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.render.figures import (
    INK,
    Plot,
    draw_interval,
    label_lines,
    small_multiples,
    styles_of,
)
from pipeline.reporting.render.units import pair_title

PREFERRED = ("heldout/kl_to_teacher_nats", "heldout/nll_nats")  # measures; then the first ranked
FEWEST = 2  # methods beside the baseline; of a single one the main table says as much


def overview_plot(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Plot | None:
    """A line for each method, the best on top; None without baseline or two other methods."""
    pairs = sorted(results.pairs, key=lambda pair: _widest_first(pair, sizes))
    measures = sorted(results.ranked_measures, key=_preference)
    for pair, measure in ((pair, measure) for pair in pairs for measure in measures):
        differences = differences_to_baseline(comparisons, pair, measure)
        if len(differences) >= FEWEST:
            return _draw(differences, results, pair_title(pair, sizes), comparisons.gap_baseline)
    return None


def _widest_first(pair: Pair, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Sorts by largest teacher, then smallest student; equal pairs stay in the grid's order."""
    return -sizes.get(pair.teacher, 0), sizes.get(pair.student, 0)


def _preference(measure: Measure) -> int:
    return PREFERRED.index(measure.key) if measure.key in PREFERRED else len(PREFERRED)


def differences_to_baseline(
    comparisons: Comparisons, pair: Pair, measure: Measure
) -> list[Difference]:
    """Each method minus plain fine-tuning, from best to worst."""
    differences = [
        one.swapped() if one.first.label == comparisons.gap_baseline else one
        for one in comparisons.differences.get((pair, measure), ())
        if comparisons.gap_baseline in (one.first.label, one.second.label)
    ]
    higher = bool(measure.metric.higher_is_better)
    return sorted(differences, key=lambda one: one.value, reverse=higher)


def _draw(differences: Sequence[Difference], results: Results, title: str, baseline: str) -> Plot:
    measure, styles = differences[0].measure, styles_of(results.labels)
    height = 0.85 + 0.17 * len(differences)
    figure, (panel,) = small_multiples({"": ""}, {"": title}, height)
    for line, one in enumerate(differences):
        colour, ends = styles[one.first.label].colour, (one.interval.low, one.interval.high)
        face = colour if one.significantly_different else "white"
        draw_interval(panel.axes, line, one.value, ends, colour, face)
    panel.axes.axvline(0, color=INK, linestyle="--", linewidth=0.8, zorder=1)
    label_lines(panel, [one.first.label for one in differences])
    panel.axes.xaxis.set_major_locator(MaxNLocator(8))
    better = "higher" if measure.metric.higher_is_better else "lower"
    difference = f"{measure.metric.title} minus that of {baseline}"
    panel.axes.set_xlabel(f"{difference} ({measure.detail}); {better} is better")
    caption = (
        f"Each method minus {baseline}, paired over seeds and items, with 95 % intervals corrected "
        "for all comparisons. Filled: significant after Holm."
    )
    return Plot("overview", f"{measure.metric.title}: difference to {baseline}", caption, figure)
