"""The tables of a paper: the primary measures together, every measure alone, and gaps closed."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from pipeline.methods.method import Method
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.analysis.standings import best_rows, is_balanced
from pipeline.reporting.analysis.texts import percent
from pipeline.reporting.analysis.verdict import not_worse_than_best
from pipeline.reporting.paper.layout import (
    INDEX,
    NARROW,
    UPPER,
    Column,
    ColumnGroup,
    PaperTable,
    TexCell,
    width_of,
)
from pipeline.reporting.render.latex import escape_latex
from pipeline.reporting.sections.score_tables import is_narrow

LONGEST = 28  # letters of a method's title; the name of one with a longer title stands for it
WIDEST = 120.0  # points of a teacher and its student on one line
BOLDER = 1.16  # width of bold digits


def paper_tables(comparisons: Comparisons, methods: Mapping[str, Method]) -> Iterator[PaperTable]:
    """The tables of scores, and that of the gaps closed where there is any."""
    titles = method_titles(comparisons.results, methods)
    yield _main_table(comparisons, titles)
    for measure in comparisons.results.measures:
        yield _measure_table(comparisons, titles, measure)
    if comparisons.gaps_closed:
        yield _gap_table(comparisons, titles)


def method_titles(results: Results, methods: Mapping[str, Method]) -> dict[str, str]:
    """A title for each method: the shortest of the catalogue's that no other method has.

    It is without what explains it, as far as it is short. The name of a method that has none but
    long titles stands for itself.
    """
    titles = {}
    for name in results.method_names:
        if name in methods:
            title = methods[name].title
            shorter = (title.partition(":")[0], title.rpartition(", ")[0] or title, title)
            titles[name] = [text for text in shorter if len(text) <= LONGEST]
    shown = Counter(title for of_method in titles.values() for title in set(of_method))
    return {
        name: next((title for title in titles.get(name, ()) if shown[title] == 1), name)
        for name in results.method_names
    }


def _main_table(comparisons: Comparisons, titles: Mapping[str, str]) -> PaperTable:
    results, measures = comparisons.results, comparisons.results.primary_measures
    groups = tuple(
        ColumnGroup(
            _pair_heading(pair),
            tuple(_score_column(comparisons, pair, each, each.heading) for each in measures),
        )
        for pair in results.pairs
    )
    units = "; ".join(f"{measure.metric.title}: {measure.detail}" for measure in measures)
    notes = f"{escape_latex(units)}. {_about_intervals(results, measures)}"
    caption = "Scores by teacher and student."
    return PaperTable("main", caption, notes, *_rows(results, titles), groups)


def _measure_table(
    comparisons: Comparisons, titles: Mapping[str, str], measure: Measure
) -> PaperTable:
    results = comparisons.results
    groups = tuple(
        ColumnGroup(
            _text_cell(f"Teacher {teacher}"),
            tuple(_score_column(comparisons, pair, measure, pair.student) for pair in pairs),
        )
        for teacher, pairs in groupby(results.pairs, key=lambda pair: pair.teacher)
    )
    name = re.sub(r"\W+", "_", measure.key, flags=re.ASCII)  # a file's
    caption = escape_latex(f"{measure.heading} ({measure.detail}).")
    notes = _about_intervals(results, [measure])
    return PaperTable(name, caption, notes, *_rows(results, titles), groups)


def _gap_table(comparisons: Comparisons, titles: Mapping[str, str]) -> PaperTable:
    results, gaps = comparisons.results, comparisons.gaps_closed
    shares: dict[tuple[Pair, Measure], dict[str, TexCell]] = {}
    for gap in gaps:
        ends = f"[{percent(gap.interval.low)},{percent(gap.interval.high)}]"
        cells = shares.setdefault((gap.row.pair, gap.measure), {})
        cells[gap.row.method] = _number(percent(gap.share), ends)
    measures = dict.fromkeys(gap.measure for gap in gaps)
    with_gaps = {gap.row.pair for gap in gaps}
    groups = tuple(
        ColumnGroup(
            _pair_heading(pair),
            tuple(
                Column(_text_cell(measure.metric.title), shares.get((pair, measure), {}))
                for measure in measures
            ),
        )
        for pair in results.pairs
        if pair in with_gaps
    )
    baseline = escape_latex(titles[comparisons.gap_baseline])
    notes = (
        rf"(Method $-$ {baseline}) / (teacher $-$ {baseline}), with Fieller's 95\,\% interval over "
        "seeds and items, of each share alone. ---: the teacher is not significantly better, or "
        "not measured."
    )
    caption = r"Share of the gap to the teacher closed (\%)."
    shown = {gap.row.method for gap in gaps}
    rows = {name: _text_cell(titles[name]) for name in results.method_names if name in shown}
    return PaperTable("gap_closed", caption, notes, rows, 0, groups)


def _rows(results: Results, titles: Mapping[str, str]) -> tuple[dict[str, TexCell], int]:
    """The teacher and every method, by name, and how many of them are references."""
    teachers = {
        row.method: TexCell(
            rf"\emph{{{escape_latex(row.method.capitalize())}}}", width_of(row.method)
        )
        for pair in results.pairs
        for row in results.teachers(pair)
    }
    methods = {name: _text_cell(titles[name]) for name in results.method_names}
    return teachers | methods, len(teachers)


def _score_column(comparisons: Comparisons, pair: Pair, measure: Measure, heading: str) -> Column:
    results = comparisons.results
    best = best_rows(results, pair, measure)
    is_compared = best and comparisons.differences.get((pair, measure))
    tied = not_worse_than_best(comparisons, pair, measure) if is_compared else []
    cells = {}
    rows = (*results.teachers(pair), *results.methods[pair])
    for row, mean in results.means_by_row(rows, measure).items():
        if row.kind == "teacher" and results.is_over_other_tokens(row.teacher, measure):
            continue
        spread = ""
        if interval := comparisons.intervals.get((row, measure)):
            low, high = measure.format(interval.low), measure.format(interval.high)
            is_half_enough = is_narrow(measure, mean.value, interval)
            spread = measure.format(interval.half_width) if is_half_enough else f"[{low},{high}]"
        text = measure.format(mean.value)
        cells[row.method] = _number(text, spread, bold=row in best, tied=row in tied)
    return Column(_text_cell(heading), cells)


def _number(value: str, spread: str, *, bold: bool = False, tied: bool = False) -> TexCell:
    """A number in mathematics, which has a minus sign, and its uncertainty as a subscript."""
    shown = rf"\mathbf{{{value}}}" if bold else rf"\underline{{{value}}}" if tied else value
    below = f"_{{{spread}}}" if spread else ""
    width = width_of(value) * (BOLDER if bold else 1.0) + INDEX * width_of(spread)
    return TexCell(f"${shown}{below}$", width + NARROW)


def _text_cell(text: str) -> TexCell:
    return TexCell(escape_latex(text), width_of(text))


def _pair_heading(pair: Pair) -> TexCell:
    """Teacher and student, in two lines where the names are long."""
    teacher, student = _text_cell(pair.teacher), _text_cell(pair.student)
    teacher = TexCell(rf"{teacher.latex} $\rightarrow$", teacher.width + 2 * UPPER)
    if teacher.width + student.width <= WIDEST:
        return TexCell(f"{teacher.latex} {student.latex}", teacher.width + student.width)
    latex = rf"\shortstack{{{teacher.latex}\\{student.latex}}}"
    return TexCell(latex, max(teacher.width, student.width))


def _about_intervals(results: Results, measures: Sequence[Measure]) -> str:
    """What means, subscripts, bold and underlined numbers say."""
    counts = sorted(
        {mean.seed_count for (row, _), mean in results.means.items() if row.kind == "method"}
    )
    over = "items (of these checkpoints)" if counts == [1] else "seeds and items"
    seeds = f"{' or '.join(map(str, counts))} training seed{'' if counts == [1] else 's'}"
    text = (
        rf"Means over {seeds}; subscripts: half the width of the 95\,\% interval over {over}, or "
        "both of its ends where the end of the scale cuts it or it covers more than half the scale."
    )
    teachers = [pair.teacher for pair in results.pairs]
    if any(results.is_over_other_tokens(name, each) for name in teachers for each in measures):
        text += (
            " A teacher of another vocabulary has no value here that is a mean over its own tokens."
        )
    if any(measure in results.ranked_measures for measure in measures):
        text += (
            r" Bold: the best mean; underlined: not significantly worse (paired tests, 5\,\% "
            "after Holm)."
        )
        if not is_balanced(results):
            text += (
                " Where methods have unequal seeds, both are as if all had the same ones, and not "
                "those of the means shown."
            )
    return text
