"""The measures that a report shows first: chosen by the configuration, or by default."""

from typing import Any

import pytest
from refusals import refusal
from snaking import edited

from workflow.config.validate import validate
from workflow.grid.grid import Grid

CHOSEN = ["heldout/kl_to_teacher_nats", "responses/rouge_l"]


@pytest.mark.parametrize(
    ("primary", "fault"),
    [
        (["heldout/nll"], "unknown measure 'heldout/nll'; did you mean heldout/nll_nats?"),
        (["responses/rouge_l", "responses/rouge_l"], "report.primary.1: 'responses/rouge_l' is"),
        (["heldout/entropy_gap_nats"], "unknown measure 'heldout/entropy_gap_nats'"),
        (["dolly/rouge_l"], "unknown measure 'dolly/rouge_l'"),
    ],
)
def test_a_measure_that_no_evaluation_will_have_is_refused(
    tiny: dict[str, Any], primary: list[str], fault: str
) -> None:
    assert fault in refusal(tiny, ("report", {"primary": primary}))


def test_a_choice_changes_the_report_and_no_artifact(tiny: dict[str, Any]) -> None:
    plain = Grid(validate(tiny))
    chosen = Grid(validate(edited(tiny, {"report": {"primary": CHOSEN}})))
    assert set(plain.by_id) == set(chosen.by_id)
    assert plain.describe()["primary"] == []
    assert chosen.describe()["primary"] == CHOSEN


def test_a_judge_s_measure_can_be_chosen_for_what_that_judge_gives(tiny: dict[str, Any]) -> None:
    judges = {"strict": {"model": "wide"}, "rates": {"model": "wide", "kind": "rubric"}}
    judged = edited(tiny, {"evaluation.judges": judges})
    chosen = ["responses/judge_win:strict", "responses/judge_score:rates"]
    assert validate(edited(judged, {"report": {"primary": chosen}}))
    for other in ("responses/judge_win:rates", "heldout/judge_win:strict"):
        fault = refusal(judged, ("report", {"primary": [other]}))
        assert f"unknown measure {other!r}" in fault
