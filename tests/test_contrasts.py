"""Contrasts that a configuration asks for: values by hand, errors by resampling, their tests."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up import Cell, drawn, made

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.contrasts import contrasts_of
from pipeline.reporting.analysis.differences import differences_of
from pipeline.reporting.analysis.findings import Contrast
from pipeline.reporting.analysis.limits import limits_of_contrasts
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.sections.difference_tables import contrast_table
from pipeline.settings.contrasts import ContrastFamily
from pipeline.settings.report import ReportSettings
from pipeline.statistics.tests import holm

MEANS = {"jsd": 1.0, "gkd": 1.0, "akl": 2.0}
WEIGHTS = {"jsd": {"akl": 1.0, "jsd": -1.0}, "gkd": {"akl": 1.0, "gkd": -1.0}}


def family(contrasts: dict[str, dict[str, float]], **keys: list[str]) -> ContrastFamily:
    return ContrastFamily.model_validate({"measures": ["t/rouge_l"], "contrasts": contrasts} | keys)


def contrasts(inputs: ReportInputs, asked: ContrastFamily) -> dict[str, Contrast]:
    results = assemble(inputs)
    return {contrast.name: contrast for contrast in contrasts_of(results, {"asked": asked})}


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_contrast_of_two_rows_is_their_difference_with_its_error_and_its_test(seeds: int) -> None:
    inputs = made(drawn(MEANS, seeds, spread=0.4))
    two = contrasts(inputs, family({"jsd": WEIGHTS["jsd"]}))["jsd"]
    inputs = replace(inputs, grid=inputs.grid.loc[inputs.grid["method"] != "gkd"])
    results = assemble(inputs)
    (difference,) = next(iter(differences_of(results, results.measures[0]).values()))
    sign = 1 if difference.first.method == "akl" else -1
    assert two.value == pytest.approx(sign * difference.value)
    assert two.standard_error == pytest.approx(difference.standard_error)
    assert two.p_value == pytest.approx(difference.p_value)
    assert two.seed_count == seeds
    ends = sorted([sign * difference.interval.low, sign * difference.interval.high])
    assert [two.interval.low, two.interval.high] == pytest.approx(ends)


def test_contrasts_of_a_family_are_corrected_together_and_a_family_alone() -> None:
    inputs = made(drawn(MEANS, 4, spread=0.4))
    asked = {"several": family(WEIGHTS), "single": family({"jsd": WEIGHTS["jsd"]})}
    every = contrasts_of(assemble(inputs), asked)
    several, single = ([c for c in every if c.family == name] for name in asked)
    expected = holm(np.array([contrast.p_value for contrast in several])).tolist()
    assert [contrast.adjusted_p_value for contrast in several] == pytest.approx(expected)
    assert single[0].adjusted_p_value == single[0].p_value


def test_a_term_without_a_teacher_is_the_mean_over_all_and_one_with_a_teacher_is_its_own() -> None:
    values = {
        **drawn({"jsd": 1.0, "gkd": 0.0}, 3, teacher="small"),
        **drawn({"jsd": 3.0, "gkd": 1.0}, 3, teacher="large"),
    }
    asked = {
        "mean": {"jsd": 1.0, "gkd": -1.0},
        "gap": {"jsd@large": 1.0, "jsd@small": -1.0},
        "closing": {"jsd@large": 1.0, "jsd@small": -1.0, "gkd@large": -1.0, "gkd@small": 1.0},
    }
    rows = contrasts(made(values), family(asked))

    def mean(method: str, teacher: str) -> float:
        cells = [cell for cell in values if (cell.method, cell.teacher) == (method, teacher)]
        return float(np.mean([values[cell].mean() for cell in cells]))

    jsd, gkd = ([mean(name, teacher) for teacher in ("small", "large")] for name in ("jsd", "gkd"))
    assert rows["mean"].value == pytest.approx(np.mean(jsd) - np.mean(gkd))
    assert rows["gap"].value == pytest.approx(jsd[1] - jsd[0])
    assert rows["closing"].value == pytest.approx(jsd[1] - jsd[0] - gkd[1] + gkd[0])
    assert rows["gap"].terms == "jsd@large - jsd@small"


def with_parts(values: dict[Cell, np.ndarray]) -> ReportInputs:
    """Items of which the last third is `long`, and the others are `short` or `middling`."""
    whole = made(values)
    sums = whole.item_sums
    number = sums["example_id"].str.removeprefix("item ").astype(int)
    third = number * 3 // (number.max() + 1)
    parts = [
        sums.loc[third == place].assign(slice=name)
        for place, name in enumerate(("short", "middling", "long"))
    ]
    return replace(whole, item_sums=pd.concat([sums, *parts], ignore_index=True))


def test_a_contrast_of_parts_has_the_value_of_their_items_and_the_error_of_resampling_them() -> (
    None
):
    values = drawn(MEANS, 1, spread=0.5)
    rng = np.random.default_rng(0)
    values = {cell: of_cell + rng.normal(0, 3, len(of_cell)) for cell, of_cell in values.items()}
    asked = family({"jsd": WEIGHTS["jsd"]}, slices=["long"], minus_slices=["short", "middling"])
    contrast = contrasts(with_parts(values), asked)["jsd"]
    akl, jsd = (next(v for cell, v in values.items() if cell.method == m) for m in ("akl", "jsd"))
    gains = akl - jsd
    cut = np.arange(len(gains)) * 3 // len(gains) == 2
    assert contrast.value == pytest.approx(gains[cut].mean() - gains[~cut].mean())
    assert contrast.measure.slice == "long minus short and middling"
    assert contrast.item_count == len(gains)
    draws = rng.integers(0, len(gains), (20_000, len(gains)))
    resampled = [gains[d][cut[d]].mean() - gains[d][~cut[d]].mean() for d in draws]
    assert contrast.standard_error == pytest.approx(np.std(resampled), rel=0.05)


def test_seeds_that_no_row_lacks_count_and_what_has_none_is_named_as_missing() -> None:
    values = drawn(MEANS, 3)
    del values[next(cell for cell in values if cell.method == "jsd" and cell.seed == 2)]
    asked = family({**WEIGHTS, "kl": {"forward_kl": 1.0, "jsd": -1.0}})
    settings = ReportSettings(
        experiment="made",
        data_id="d",
        methods=dict.fromkeys(MEANS, METHODS["jsd"]),
        contrasts={"asked": asked},
    )
    inputs = made(values)
    comparisons = compare(assemble(inputs), settings)
    seeds = {contrast.name: contrast.seed_count for contrast in comparisons.contrasts}
    assert seeds == {"jsd": 2, "gkd": 3}
    (limit,) = limits_of_contrasts(comparisons, settings)
    assert "asked/kl on t/rouge_l" in limit
    table = contrast_table(comparisons)
    assert table is not None
    assert [row[-1].text for row in table.groups[0].rows] == ["above zero", "above zero"]
    assert table.data["value"].tolist() == [c.value for c in comparisons.contrasts]
