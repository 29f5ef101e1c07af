"""Groups of responses to a prompt, and the rewards of those whose answers are checked."""

import math
from dataclasses import replace

import pytest
from players import Setup, llama, run, texts, turn, words

from pipeline.data_policies import student_groups
from pipeline.training import rewards, run_checks
from pipeline.training.batches import step_batch
from pipeline.training.state import initial_state


def test_responses_to_a_prompt_differ_and_fill_the_step() -> None:
    pool = texts(12)
    policy = student_groups.Policy(samples=4)
    batch = policy.texts(pool[:6], turn(llama(1), None, pool))
    assert [text.example_id for text in batch] == ["example-0"] * 4 + ["example-1"] * 2
    first = [tuple(text.response_ids) for text in batch[:4]]
    assert len(set(first)) > 1
    assert all(text.author == "student" and text.log_probs for text in batch)


def test_an_advantage_is_the_distance_from_the_groups_mean_in_standard_deviations() -> None:
    # of 1, 0, 0, 0 the mean is 1/4 and the standard deviation √3/4
    assert rewards.advantage(1.0, [1.0, 0.0, 0.0, 0.0]) == pytest.approx(math.sqrt(3))
    assert rewards.advantage(0.0, [1.0, 0.0, 0.0, 0.0]) == pytest.approx(-1 / math.sqrt(3))
    assert rewards.advantage(1.0, [1.0, 1.0]) == 0.0


def test_an_answer_is_rewarded_where_it_is_the_drawn_texts() -> None:
    drawn = texts(3)[:2]
    wrong = [*drawn[0].response_ids[:-1], 0, 1]
    written = [drawn[0], replace(drawn[0], response_ids=wrong), drawn[1]]
    rewarded = rewards.with_rewards(written, drawn, words())
    assert [text.reward for text in rewarded] == [1.0, 0.0, 1.0]
    assert [text.advantage for text in rewarded] == [1.0, -1.0, 0.0]
    assert rewards.mean_reward(rewarded) == pytest.approx(2 / 3)
    assert rewards.mean_reward(drawn) is None


def test_a_solution_is_the_first_other_response_that_is_right() -> None:
    drawn = texts(3)[:2]
    wrong = replace(drawn[0], response_ids=[*drawn[0].response_ids[:-1], 0, 1])
    right = replace(drawn[0], response_ids=[*drawn[0].response_ids])
    rewarded = rewards.with_rewards([wrong, drawn[0], right, drawn[1]], drawn, words())
    solutions = [text.solution for text in rewarded]
    assert solutions[0] is drawn[0].response_ids
    assert solutions[1] is right.response_ids  # its own shows it nothing
    assert solutions[2] is drawn[0].response_ids
    assert solutions[3] is None  # right, but alone with its prompt
    only_wrong = rewards.with_rewards([wrong, wrong], drawn, words())
    assert [text.solution for text in only_wrong] == [None, None]


def test_a_step_of_kdrl_has_an_advantage_for_each_of_its_tokens() -> None:
    made = run(Setup("kdrl", batch_size=8))
    batch = step_batch(made, initial_state(made), 0)
    assert all(text.reward in (0.0, 1.0) for text in batch.texts)
    for micro_batch in batch.batches:
        advantages = [text.advantage for text in micro_batch.texts for _ in text.response_ids]
        assert micro_batch.advantages.tolist() == pytest.approx(advantages)


def test_data_without_answers_is_refused_before_training() -> None:
    pool = [replace(text, response_ids=[2] * 99) for text in texts(4)]
    made = run(Setup("kdrl"))
    with pytest.raises(ValueError, match=r"none of the first 4 responses .* gives an answer"):
        run_checks.check_answers(replace(made, train_set=pool))
    run_checks.check_answers(replace(made, train_set=[*pool, texts(1)[0]]))
