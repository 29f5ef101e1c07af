"""Table of the contrasts that the configuration asks for."""

from collections.abc import Iterator

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons, Contrast
from pipeline.reporting.render.table import Cell, Group, Heading, Table, number_cell, text_cell
from pipeline.reporting.render.units import p_text

CAPTION = (
    "Sums of scores by the weights that the configuration gives, on the training seeds that all "
    "rows of a contrast have, paired over items; a term without a teacher or student is the mean "
    "over all of them. p after Holm over a family's contrasts on a measure, and intervals that are "
    "corrected to agree with it. Claim: above or below zero, p (Holm) < 0.05."
)
HEADINGS = (
    Heading("Contrast", numeric=False),
    Heading("Is", numeric=False),
    Heading("Measure", numeric=False),
    Heading("Seeds"),
    Heading("Value"),
    Heading("Low", "95 % corrected"),
    Heading("High", "95 % corrected"),
    Heading("p"),
    Heading("p", "Holm"),
    Heading("Claim", numeric=False),
)


def contrast_table(comparisons: Comparisons) -> Table | None:
    """A row for each contrast and measure; None where the configuration asks for none."""
    contrasts = comparisons.contrasts
    if not contrasts:
        return None
    families = dict.fromkeys(contrast.family for contrast in contrasts)
    groups = tuple(
        Group(
            family,
            (family,),
            (),
            tuple(tuple(_row(contrast)) for contrast in contrasts if contrast.family == family),
        )
        for family in families
    )
    data = pd.DataFrame(map(_record, contrasts))
    return Table("contrasts", CAPTION, ("Family",), HEADINGS, groups, data)


def _row(contrast: Contrast) -> Iterator[Cell]:
    measure = contrast.measure
    yield text_cell(contrast.name)
    yield text_cell(contrast.terms)
    place = ", ".join(part for part in (measure.task, measure.slice) if part)
    yield text_cell(f"{measure.metric.title}, {place}")
    yield number_cell(contrast.seed_count, str)
    yield number_cell(contrast.value, measure.format)
    yield number_cell(contrast.interval.low, measure.format_end)
    yield number_cell(contrast.interval.high, measure.format_end)
    yield number_cell(contrast.p_value, p_text)
    yield number_cell(contrast.adjusted_p_value, p_text)
    yield text_cell(claim(contrast))


def claim(contrast: Contrast) -> str:
    """What the report claims of a contrast."""
    if not contrast.is_significant:
        return "none"
    return "above zero" if contrast.value > 0 else "below zero"


def _record(contrast: Contrast) -> dict[str, object]:
    return {
        "family": contrast.family,
        "contrast": contrast.name,
        "terms": contrast.terms,
        **contrast.measure.columns,
        "value": contrast.value,
        "low": contrast.interval.low,
        "high": contrast.interval.high,
        "low_uncorrected": contrast.uncorrected.low,
        "high_uncorrected": contrast.uncorrected.high,
        "se": contrast.standard_error,
        "p": contrast.p_value,
        "p_holm": contrast.adjusted_p_value,
        "is_significant": contrast.is_significant,
        "n_seeds": contrast.seed_count,
        "n_items": contrast.item_count,
    }
