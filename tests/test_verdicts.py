"""What a report says of who is ahead, and how it rounds: nothing that no test has told."""

import numpy as np
import pytest
from comparing import MEANS, compared, only
from made_up import ITEMS, MIDDLE, Cell, drawn, made

from pipeline.reporting.analysis.texts import p_text
from pipeline.reporting.analysis.verdict import verdicts
from pipeline.reporting.sections.contents import comparison_tables


def test_no_end_of_an_interval_beside_a_claim_is_rounded_to_zero() -> None:
    values = {cell: MIDDLE + (items - MIDDLE) / 1000 for cell, items in drawn(MEANS, 3).items()}
    _, comparisons = compared(made(values))
    table = comparison_tables(comparisons)["Differences between methods"]
    ends = {heading.title: place for place, heading in enumerate(table.headings)}
    claimed = [row for row in table.groups[0].rows if row[-1].text in MEANS]
    assert len(claimed) > 3
    for row in claimed:
        low, high = (float(row[ends[title]].text) for title in ("Low", "High"))
        assert low * high > 0


@pytest.mark.slow
def test_no_finding_says_ahead_of_what_was_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        means = dict(zip(MEANS, rng.normal(0, 0.3, 4), strict=True))
        results, comparisons = compared(made(drawn(means, 3)))
        (finding,) = comparisons.findings
        best = max(results.means.items(), key=lambda mean: mean[1].value)[0][0].method
        assert f"{best} has the best mean" in finding.text
        ahead, _, level = finding.text.partition("ignificant")  # None of …, or Not significant
        for names, difference in only(comparisons).items():
            if best not in names:
                continue
            other = names[0] if names[1] == best else names[1]
            size = f"{other} by {abs(difference.value):.2f}"
            assert (size in level) == (not difference.significantly_different)
            if "every other" not in ahead:
                assert (size in ahead) == difference.significantly_different


def test_a_verdict_names_who_is_among_the_best_in_most_pairs_and_the_margin() -> None:
    under_small = {"plain": 0.0, "jsd": 2.5, "gkd": 1.0, "akl": 2.5}
    values = {**drawn(MEANS, 3), **drawn(under_small, 3, teacher="small")}
    _, comparisons = compared(made(values))
    (verdict,) = verdicts(comparisons)
    assert verdict.answer == "akl"
    assert verdict.reason.startswith("is among the best in both pairs, alone in 1; jsd in 1.")
    margins = [
        difference.value if difference.first.method == "akl" else -difference.value
        for (_, _), differences in comparisons.differences.items()
        for difference in differences
        if {difference.first.method, difference.second.method} == {"akl", "plain"}
    ]
    low, high = sorted(map(abs, margins))
    ends = f"{verdict.measure.format(low)} to {verdict.measure.format(high)} points"
    assert verdict.reason.endswith(f" It is {ends} above plain, significantly in both pairs.")


def test_a_verdict_without_significant_differences_says_so_with_its_power() -> None:
    _, comparisons = compared(made(drawn(dict.fromkeys(MEANS, 0.0), 3)))
    (verdict,) = verdicts(comparisons)
    (smallest,) = comparisons.detectable.values()
    size = verdict.measure.format(smallest.after_holm)
    power = f"80 % power for differences of {size} points"
    assert verdict.text == f"No significant differences ({power})."


def test_a_verdict_of_one_training_seed_is_of_these_checkpoints() -> None:
    for means in (MEANS, dict.fromkeys(MEANS, 0.0)):
        (verdict,) = verdicts(compared(made(drawn(means, 1)))[1])
        assert verdict.text.endswith(" Of these checkpoints (one training seed).")
        (verdict,) = verdicts(compared(made(drawn(means, 2)))[1])
        assert "checkpoints" not in verdict.text


def test_a_p_value_is_not_rounded_to_the_other_side_of_five_percent() -> None:
    for p_value, text in (
        (0.04962, "0.0496"),
        (0.0499999, "0.0499999"),
        (0.0503, "0.05"),
        (0.05, "0.05"),
        (0.0312, "0.031"),
        (1.0, "1"),
        (2e-5, "< 0.0001"),
    ):
        assert p_text(p_value) == text


def test_no_detectable_difference_and_no_margin_is_rounded_to_zero() -> None:
    small = {cell: 1e-3 * of_cell for cell, of_cell in drawn(MEANS, 3).items()}
    _, comparisons = compared(made(small))
    (verdict,), (finding,) = verdicts(comparisons), comparisons.findings
    assert " 0.00 " not in verdict.text
    assert "difference of 0.00 " not in finding.text
    table = comparison_tables(comparisons)["Smallest detectable differences"]
    assert "0.00" not in [cell.text for cell in table.groups[0].rows[0]]


def test_the_margin_of_a_verdict_is_that_of_the_best_mean() -> None:
    values = drawn({"plain": 0.0, "gkd": 0.2, "jsd": 0.5}, 1)
    noise = np.random.default_rng(5).normal(size=ITEMS)
    values[Cell("gkd", 1)] += 8 * (noise - noise.mean())  # not told from jsd, nor from plain
    (verdict,) = verdicts(compared(made(values))[1])
    assert verdict.text.startswith("jsd and gkd are among the best. jsd is 0.")
