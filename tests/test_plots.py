"""What figures look like once they are drawn."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import synthetic
from drawn_texts import drawn_texts, faults
from matplotlib.colors import to_rgb
from reports import ONE_SEED, SMALL, Made

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.metrics import Measure, metric_named
from pipeline.reporting.analysis.ranking import mean_ranking
from pipeline.reporting.analysis.scores import Results, assemble
from pipeline.reporting.costs.attribution import collect_costs
from pipeline.reporting.plots.costs import pareto_front
from pipeline.reporting.plots.figures import Plot, cost_ticks, power_text
from pipeline.reporting.plots.intervals import Estimate, interval_plot
from pipeline.reporting.plots.looks import (
    COLOURS,
    COLUMN,
    INK,
    LOOKS,
    PAGE,
    shortened,
    style_number,
    styles_of,
    text_width,
)
from pipeline.reporting.plots.scores import scores_by_method, scores_by_teacher_size
from pipeline.reporting.sections.contents import sections
from pipeline.settings.report import ReportSettings

WHITE, DARK = "#ffffff", "#14171c"  # the page's papers
TWO = synthetic.Experiment(
    teachers=("large",),
    students=("small",),
    methods=("sft", "jsd"),
    seeds=(1, 2),
    items=6,
    steps=20,
)
MANY = synthetic.Experiment(
    methods=(
        *tuple(METHODS)[:24],
        "a_name_that_is_far_longer_than_any_panel_of_these_figures_is_wide",
    ),
    students=("small",),
    seeds=(1,),
    items=6,
    steps=20,
)
EXPERIMENTS = {"small": SMALL, "one seed": ONE_SEED, "two methods": TWO, "25 methods": MANY}


class Report:
    """All that the figures of a made-up experiment are drawn from."""

    def __init__(self, results: Path, experiment: synthetic.Experiment) -> None:
        self.settings = ReportSettings.model_validate(synthetic.settings(experiment))
        grid = read_grid(synthetic.write(results, experiment))
        self.inputs: ReportInputs = read_inputs(results, grid, self.settings.data_id)
        self.results: Results = assemble(self.inputs)
        self.comparisons: Comparisons = compare(self.results, self.settings)

    def plots(self) -> Iterator[Plot]:
        for section in sections(
            self.settings, self.comparisons, collect_costs(self.inputs, self.comparisons.results)
        ):
            yield from section.plots


@pytest.fixture(scope="module", params=EXPERIMENTS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return Report(tmp_path_factory.mktemp("results"), EXPERIMENTS[request.param])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return Report(tmp_path_factory.mktemp("small"), SMALL)


@pytest.mark.slow
def test_no_text_of_a_plot_is_cut_or_overlaps_and_none_is_too_small(report: Report) -> None:
    names = []
    for plot in report.plots():
        for width in (PAGE, COLUMN):
            if figure := plot.figure(width):
                assert faults(figure) == [], f"{plot.name} at {width} inches"
                sizes = {text.get_fontsize() for text in figure.findobj(mpl.text.Text)}
                assert min(sizes) >= 7
                assert figure.get_figwidth() == width
        names.append(plot.name)
    assert {"scores_by_method", "ranks", "quality_by_cost", "training_loss"} <= set(names)
    assert len(set(names)) == len(names)


def test_texts_that_are_cut_or_overlap_are_found() -> None:
    figure = mpl.figure.Figure(figsize=(2, 2))
    figure.text(0.5, 0.5, "one")
    figure.text(0.52, 0.5, "other")
    figure.text(0.9, 0.1, "too long for this figure")
    assert len(drawn_texts(figure)) == 3
    assert faults(figure) == ["cut: 'too long for this figure'", "overlap: 'one', 'other'"]


@pytest.mark.slow
def test_a_method_looks_the_same_in_all_figures(small: Report) -> None:
    styles = styles_of(small.results)
    seen = 0
    for plot in small.plots():
        figure = plot.figure()
        assert figure is not None
        for legend in figure.legends:
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
                if style := styles.get(text.get_text()):
                    assert (handle.get_color(), handle.get_marker()) == (style.colour, style.marker)
                    seen += 1
    assert seen >= 3 * len(styles)


def relabelled(results: Results, names: list[str]) -> Results:
    """The results of one pair under methods of other names."""
    pair = results.pairs[0]
    row = results.methods[pair][0]
    rows = tuple(replace(row, method=name) for name in names)
    return replace(results, pairs=(pair,), methods={pair: rows})


def test_all_methods_look_different_and_a_longer_grid_changes_no_look(small: Report) -> None:
    names = [*METHODS, *(f"own_{place}" for place in range(LOOKS - len(METHODS)))]
    styles = styles_of(relabelled(small.results, names))
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(names) == LOOKS
    own = [f"method_{place}" for place in range(28)]
    longer = styles_of(relabelled(small.results, [*own, *METHODS]))
    assert styles_of(relabelled(small.results, own[:5])).items() <= longer.items()
    assert styles_of(relabelled(small.results, ["jsd", "sft"])).items() <= styles.items()


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("paper", [WHITE, DARK])
@pytest.mark.parametrize("colour", COLOURS)
def test_thin_marks_stand_out_from_both_papers(colour: str, paper: str) -> None:
    lighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


@pytest.mark.xdist_group("report")
@pytest.mark.slow
def test_files_suit_a_page_and_a_paper(made: Made) -> None:
    plots = made.folder / "plots"
    for folder, width in ((plots, PAGE), (plots / "column", COLUMN)):
        names = {path.stem for path in folder.glob("*.svg")}
        assert "overview" in names
        for name in names:
            pdf = (folder / f"{name}.pdf").read_bytes()
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
            assert box
            assert float(box[1]) == pytest.approx(72 * width, abs=0.5)
            assert b"/FontFile2" in pdf  # TrueType, embedded
            assert b"/Type3" not in pdf
            svg = (folder / f"{name}.svg").read_text()
            assert "currentColor" in svg
            assert "prefers-color-scheme:dark" in svg
            assert svg.count(INK) == 1  # as the colour where nothing around it has one
    assert {path.stem for path in plots.glob("*.png")} == {
        path.stem for path in plots.glob("*.svg")
    }


def test_no_axis_of_scores_leaves_a_method_out(small: Report) -> None:
    plot = scores_by_method(small.comparisons)
    assert plot is not None
    figure = plot.figure()
    assert figure is not None
    for axes in figure.axes:
        low, high = axes.get_xlim()
        values = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        assert values or not axes.axison
        assert all(low <= value <= high for value in values)


def test_an_axis_has_room_for_usual_intervals_and_not_for_one_that_is_far_longer() -> None:
    nll, style = Measure("heldout", metric_named("nll_nats")), style_number(0)
    ends = {"a": 0.2, "b": 0.3, "c": 0.25, "d": 9.0, "e": math.inf}
    estimates = [
        Estimate("row", nll, line, "", value=0.01, low=0.01 - end, high=0.01 + end)
        for line, end in ends.items()
    ]
    styles = dict.fromkeys(ends, style)
    plot = interval_plot("name", "title", "caption", estimates, styles, list(ends), zeros=(0.0,))
    assert plot is not None
    figure = plot.figure()
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    assert -1.0 < low < 0.01 - 0.3
    assert 0.01 + 0.3 < high < 1.0


def test_a_single_teacher_gives_no_plot_against_teacher_size(tmp_path: Path) -> None:
    report = Report(tmp_path, ONE_SEED)
    assert scores_by_teacher_size(report.comparisons) is None


def test_ranks_are_means_over_pairs_and_tasks(small: Report) -> None:
    ranked = mean_ranking(small.comparisons)
    assert ranked is not None
    assert ranked.ranks.sum() == pytest.approx(sum(range(1, len(ranked.methods) + 1)))
    assert list(ranked.ranks) == sorted(ranked.ranks)
    assert ((ranked.best <= ranked.ranks) & (ranked.ranks <= ranked.worst)).all()
    assert {measure.task for measure in ranked.measures} == {
        measure.task for measure in small.results.ranked_measures
    }
    assert ranked.critical_difference is None  # of two tasks


@pytest.mark.parametrize(("low", "high"), [(1, 1e6), (3e11, 4e12), (4e13, 9e13), (95, 105), (7, 7)])
def test_ticks_of_costs_are_few_and_apart(low: float, high: float) -> None:
    low, high = low / 1.1, high * 1.1
    ticks = cost_ticks(low, high)
    assert 1 <= len(ticks) <= 4
    gaps = np.diff(np.log(ticks)) / np.log(high / low)
    assert (gaps > 0.2).all()
    texts = [power_text(tick) for tick in ticks]
    assert len(set(texts)) == len(texts)


def test_large_numbers_have_a_power_of_ten() -> None:
    numbers = [0, 0.25, 1000, 1e11, 3e11, 2.5e12, 1e-5]
    texts = ["0", "0.25", "1000", "10¹¹", "3×10¹¹", "2.5×10¹²", "10⁻⁵"]
    assert list(map(power_text, numbers)) == texts


def test_a_long_name_loses_its_middle() -> None:
    assert shortened("sft") == "sft"
    short = shortened("a_name_that_is_much_too_long_for_its_place", 1.0)
    assert text_width(short) <= 1.0
    assert re.fullmatch(r"a_name.*….*lace", short)


def test_the_pareto_front_leaves_out_what_costs_more_and_is_no_better() -> None:
    points = [(1.0, 3.0), (2.0, 3.5), (3.0, 2.0), (3.0, 1.9), (4.0, 2.0)]
    assert pareto_front(points, higher_is_better=False) == [(1.0, 3.0), (3.0, 1.9)]
    assert pareto_front(points, higher_is_better=True) == [(1.0, 3.0), (2.0, 3.5)]
