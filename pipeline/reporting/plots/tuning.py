"""Figure of the validation score against the learning rate that was tried, for each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.analysis.searches import Search
from pipeline.reporting.plots.figures import Plot, cost_axis, draw_line, multiples_plot
from pipeline.reporting.plots.looks import Style, handles_of, styles_of

RATE = "learning_rate"
CAPTION = (
    "Validation score of the trials against their learning rate: means over tuning seeds, at the "
    "best values of all other tuned keys. A ring marks the chosen rate. The axis has room for the "
    "better half of each method's rates; worse scores lie outside, and a trial that diverged has "
    "none. The flatter a line, the less its method depends on the rate."
)


@dataclass(frozen=True)
class Curve:
    """The best score at each rate."""

    rates: list[float]
    scores: list[float]
    chosen: float  # the rate

    @classmethod
    def of(cls, search: Search) -> "Curve":
        """The curve of a search; rates without a finite score are left out."""
        best = max if search.measure.higher_is_better else min
        at: dict[float, list[float]] = {}
        for setting in search.choice.tried:
            if setting.mean is not None:
                at.setdefault(float(setting.values[RATE]), []).append(setting.mean)
        rates = sorted(at)
        chosen = float(search.chosen.values[RATE])
        return cls(rates, [best(at[rate]) for rate in rates], chosen)

    def better_half(self, higher_is_better: bool) -> list[float]:
        """The better half of its scores."""
        ordered = sorted(self.scores, reverse=higher_is_better)
        return ordered[: max(2, (len(ordered) + 1) // 2)]


def sensitivity_plot(searches: Sequence[Search], results: Results) -> Plot | None:
    """Validation scores against rates; None where no rate was tuned."""
    curves: dict[Pair, dict[str, Curve]] = {}
    for search in searches:
        if search.row.pair in results.pairs and RATE in search.chosen.values:
            curves.setdefault(search.row.pair, {})[search.row.label] = Curve.of(search)
    if not any(len(curve.rates) > 1 for of_pair in curves.values() for curve in of_pair.values()):
        return None
    measure, styles = searches[0].measure, styles_of(results)
    return multiples_plot(
        "tuning",
        "Sensitivity to the learning rate",
        CAPTION,
        lambda panel: _draw_curves(
            panel.axes, curves[panel.column], styles, measure.higher_is_better
        ),
        {"": ""},
        {pair: results.title(pair) for pair in curves},
        1.9,
        legend=lambda: handles_of(styles),
        narrowest=2.4,
        label=f"{measure.title}, {measure.unit}",
    )


def _draw_curves(
    axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style], higher_is_better: bool
) -> None:
    for label, curve in curves.items():
        style, score = styles[label], curve.scores[curve.rates.index(curve.chosen)]
        draw_line(axes, curve.rates, curve.scores, style)
        axes.plot([curve.chosen], [score], "o", markersize=8, mfc="none", color=style.colour)
    good = [score for curve in curves.values() for score in curve.better_half(higher_is_better)]
    margin = 0.1 * (max(good) - min(good) or 0.1 * abs(max(good)) or 1.0)
    axes.set_ylim(min(good) - margin, max(good) + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    cost_axis(axes, [rate for curve in curves.values() for rate in curve.rates])
    axes.set_xlabel("learning rate")
