"""Memory of a rank: what is reckoned for it beside the bytes that its tensors really hold."""

from functools import cache

import pytest
from gang import on_ranks

from benchmarks.rank_memory import DEVICE, SHAPE, STUDENT, Row, rows_of
from benchmarks.workbench import model
from pipeline.models.language_model import parameter_count

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ranks")]
RANKS = (1, 4)


@cache
def rows(ranks: int) -> list[Row]:
    return on_ranks(ranks, rows_of)[0]


@pytest.mark.parametrize("ranks", RANKS)
def test_tensors_hold_more_than_half_of_what_is_reckoned_and_never_more_than_all(ranks: int):
    for row in rows(ranks):
        assert 0.55 <= row.held_mb / row.reckoned_mb <= 1.0, row


@pytest.mark.parametrize("ranks", RANKS)
def test_between_steps_a_rank_keeps_its_share_of_weights_and_moments_alone(ranks: int):
    whole = 12 * parameter_count(model(SHAPE, 1, DEVICE)) / 1e6
    for row in rows(ranks):
        if row.case == STUDENT.name:
            share = whole / (ranks if row.sharded else 1)
            # and the ids of a batch, rotary frequencies, and a few numbers
            assert share <= row.kept_mb < share + 0.1, row
