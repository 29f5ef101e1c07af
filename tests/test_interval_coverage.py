"""How often intervals cover the truth and tests claim too much, on made-up experiments."""

import numpy as np
import pytest

from benchmarks.interval_coverage import Truth, draw, flipped, measured

pytestmark = pytest.mark.slow

TRIALS = 150  # leave 5.9 points of room at 95 %: a percentile bootstrap lacks more than that
FLIPS = 300  # trials of sign flips alone, which leave 4.2
SURE = 3.3  # standard errors: a right procedure fails one such check in a thousand


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_hold_the_truth_and_tests_claim_no_more_than_they_say(count: int) -> None:
    row = measured(
        Truth("all sources", seeds=count, items=200, training=0.3, luck=0.5), TRIALS, seed=7
    )
    rates, error = row.rates, row.error
    print(
        f"{count} seeds: intervals held {rates.report:.3f} (percentiles {rates.percentile:.3f}), "
        f"means {rates.means:.3f}; p < 0.05 in {rates.claims:.3f}, Holm claimed in "
        f"{rates.false_family:.3f}; sign flips over items {row.flips:.3f}; ± {error:.3f}"
    )
    assert rates.report > 0.95 - SURE * error
    assert rates.means > 0.95 - SURE * error
    assert rates.claims < 0.05 + SURE * error
    assert rates.false_family < 0.05 + SURE * error
    assert rates.percentile < 0.95 - SURE * error  # why the report has no percentiles
    assert row.flips > 0.05 + SURE * error  # and why flips are of these checkpoints only


def test_sign_flips_keep_their_level_where_checkpoints_are_all_that_is_asked_about() -> None:
    same = Truth("", seeds=2, seed=0.0, training=0.0, item=0.0, items=100)
    rng = np.random.default_rng(7)
    claimed = np.mean([flipped(draw(same, rng)) for _ in range(FLIPS)])
    error = np.sqrt(0.05 * 0.95 / FLIPS)
    print(f"sign flips over items: p < 0.05 in {claimed:.3f}; ± {error:.3f}")
    assert claimed == pytest.approx(0.05, abs=SURE * error)
