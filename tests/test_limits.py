"""The report names what can't be concluded from it, and what of the data was left out."""

import pytest
from comparing import MEANS, SETTINGS, compared
from made_up import Cell, drawn, made

from pipeline.methods.method import Method
from pipeline.reporting.analysis.limits import (
    limits_of_cache,
    limits_of_evaluations,
    limits_of_measures,
    limits_of_methods,
    limits_of_seeds,
    limits_of_tests,
)
from pipeline.reporting.analysis.metrics import Measure, metric_named


def test_complete_evaluations_have_no_limits() -> None:
    evaluations = {"a": {"left_out": {"dolly": 0}, "cut": {"arc_easy": 0}}, "older": {}}
    inputs = {"tokens/t": {}, "data/d": {"warnings": ["no"]}}
    assert list(limits_of_evaluations(evaluations, inputs)) == []


def test_left_out_and_truncated_items_are_counted_by_task() -> None:
    evaluations = {
        "short": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 7}},
        "shorter": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 9}},
        "long": {"left_out": {"dolly": 3}, "cut": {"arc_easy": 0}},
    }
    inputs = {"tokens/t": {"warnings": ["2 train examples have it: a, b"]}}
    special, left_out, truncated = limits_of_evaluations(evaluations, inputs)
    assert special == "2 train examples have it: a, b."
    assert left_out.startswith("3 items of dolly had prompts longer than evaluation.prompt_tokens")
    assert "up to 9, in 2 of 3 checkpoints" in truncated


def test_examples_before_questions_are_said_with_their_number() -> None:
    inputs = {
        "tasks/dolly-1": {"settings": {"task": {"task": "dolly", "few_shot": 3}}},
        "tasks/sinst-2": {"settings": {"task": {"task": "sinst"}}},
    }
    (limit,) = limits_of_evaluations({}, inputs)
    assert limit.startswith("dolly was asked with 3 training examples before each question")


def test_one_training_seed_can_not_tell_methods_from_trainings() -> None:
    (limit,) = limits_of_seeds(compared(made(drawn(MEANS, 1)))[1])
    assert "can't be told from the difference between two trainings" in limit


def test_few_training_seeds_have_a_smallest_p_value_without_assumptions() -> None:
    (limit,) = limits_of_seeds(compared(made(drawn(MEANS, 3)))[1])
    assert limit.startswith("3 training seeds")
    assert "below 0.25" in limit  # 2 / 2³


def test_untested_pairs_are_mentioned_where_seeds_are_unequal() -> None:
    values = drawn(MEANS, 3)
    kept = {cell: value for cell, value in values.items() if cell.method != "akl" or cell.seed == 1}
    limits = list(limits_of_seeds(compared(made(kept))[1]))
    assert any("one training seed in common" in limit for limit in limits)


def test_the_size_of_the_family_is_stated_and_nothing_without_comparisons() -> None:
    (limit,) = limits_of_tests(compared(made(drawn(MEANS, 2)))[1])
    assert "up to 6 comparisons" in limit  # of four methods
    alone = {Cell("jsd", 1): drawn({"jsd": 0.0}, 1)[Cell("jsd", 1)]}
    assert not list(limits_of_tests(compared(made(alone))[1]))


def test_methods_known_from_an_abstract_or_trained_on_a_cache_are_named() -> None:
    methods = {
        "guessed": Method("", "jsd", source="", evidence="abstract", teacher="live"),
        "cached": Method("", "jsd", source="", evidence="code", teacher="cache"),
    }
    abstract, cached = limits_of_methods(methods)
    assert abstract.startswith("Of guessed no more than an abstract")
    assert cached.startswith("cached saw the teacher's most likely tokens")


@pytest.mark.parametrize(("others", "seen"), [(["rouge_l"], "only a part"), ([], "nothing")])
def test_references_outside_a_to_z_are_mentioned(others: list[str], seen: str) -> None:
    names = ["rouge_l_unicode", *others]
    measures = [Measure("dolly", metric_named(name)) for name in names]
    (limit,) = limits_of_measures(measures)
    assert f"sees {seen} of the references of dolly" in limit


@pytest.mark.parametrize(("cache", "is_bounded"), [({"k": 32}, True), ({"tier": "hidden"}, False)])
def test_divergences_over_a_few_tokens_are_said_to_be_lower_bounds(
    cache: dict[str, object], is_bounded: bool
) -> None:
    settings = SETTINGS.model_copy(update={"config": {"teacher_cache": cache}})

    def bounds(*names: str) -> list[str]:
        measures = [Measure("heldout", metric_named(name)) for name in names]
        return [line for line in limits_of_cache(settings, measures) if "lower bounds" in line]

    assert [("its 32 most likely" in line) for line in bounds("kl_to_teacher_nats")] == (
        [True] if is_bounded else []
    )
    assert not bounds("nll_nats")
