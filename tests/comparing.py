"""Comparisons of methods whose items are made up, and what they say of two of them."""

from dataclasses import replace

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results, assemble
from pipeline.reporting.sections.contents import comparison_tables
from pipeline.settings.report import ReportSettings

SIZES = {"small": 1000, "large": 5000, "student": 100}
RECIPES = {"plain": METHODS["sft"], **dict.fromkeys(("jsd", "gkd", "akl"), METHODS["jsd"])}

SETTINGS = ReportSettings(experiment="made", data_id="d", methods=RECIPES)


def sized(inputs: ReportInputs) -> Results:
    return replace(assemble(inputs), sizes=SIZES)


def compared(inputs: ReportInputs) -> tuple[Results, Comparisons]:
    results = sized(inputs)
    return results, compare(results, SETTINGS)


MEANS = {"plain": 0.0, "jsd": 1.0, "gkd": 1.0, "akl": 2.0}
PAIR = Pair("large", "student")


def only(comparisons: Comparisons) -> dict[tuple[str, str], Difference]:
    """The differences of the only pair and measure, by their methods."""
    (differences,) = comparisons.differences.values()
    return {(pair.first.method, pair.second.method): pair for pair in differences}


def letters_of(comparisons: Comparisons) -> dict[str, str]:
    return {row.method: letters for (row, _), letters in comparisons.letters.items()}


def rows_of(comparisons: Comparisons) -> dict[tuple[str, str], list[str]]:
    """What the table of differences says from p (Holm) on, by the methods of a row."""
    tables = comparison_tables(comparisons)
    rows = tables["Differences between methods"].groups[0].rows
    return {(row[1].text, row[2].text): [cell.text for cell in row[-3:]] for row in rows}
