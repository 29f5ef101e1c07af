"""What was paid for each score: tables and plots of cost, for the page."""

from collections.abc import Iterator
from functools import partial

from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.crossovers import flip_table
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.plots import courses_by_cost, scores_by_cost
from pipeline.reporting.costs.quality_vs_cost import FLOPS, SECONDS
from pipeline.reporting.costs.shared_costs import shared_table
from pipeline.reporting.costs.tables import price_table, token_table
from pipeline.reporting.render.plot_style import Plot
from pipeline.reporting.render.table import Table


def cost_tables(books: Books) -> list[Table]:
    """Every table of costs that there is something for, the one for a first look first."""
    found = (
        price_table(books),
        token_table(books),
        shared_table(books),
        equal_steps_table(books),
        *(equal_cost_table(books, unit) for unit in (SECONDS, FLOPS)),
        flip_table(books),
    )
    return [table for table in found if table]


def cost_plots(books: Books) -> Iterator[Plot]:
    """Every plot of quality against cost that there is something for."""
    draws = (
        *(partial(scores_by_cost, books, unit) for unit in (SECONDS, FLOPS)),
        partial(courses_by_cost, books),
    )
    return (plot for draw in draws if (plot := draw()))
