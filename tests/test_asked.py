"""The report says what of the data was left out, cut, or read otherwise."""

from pipeline.reporting.analysis.asked import limits


def test_nothing_amiss_is_nothing_said():
    evaluations = {"a": {"left_out": {"dolly": 0}, "cut": {"arc_easy": 0}}, "older": {}}
    assert list(limits(evaluations, {"tokens/t": {}, "data/d": {"warnings": ["no"]}})) == []


def test_what_was_asked_otherwise_is_said_by_task():
    evaluations = {
        "short": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 7}},
        "shorter": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 9}},
        "long": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 0}},
    }
    behind = {"tokens/t": {"warnings": ["2 train examples have it: a, b"]}}
    special, left_out, cut = limits(evaluations, behind)
    assert special == "2 train examples have it: a, b."
    assert left_out.startswith("3 items of dolly had prompts longer than evaluation.prompt_tokens")
    assert "up to 9, in 2 of 3 checkpoints" in cut
