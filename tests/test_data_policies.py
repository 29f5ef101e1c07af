"""Whose text a step trains on: each policy against its paper's rule, recomputed by full passes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from players import END, Setup, llama, run, texts, turn

from pipeline.data.batch import Text
from pipeline.data_policies import (
    ada_switch,
    adaptive,
    build_policy,
    epoch_pairs,
    mixed,
    speculative,
    switch,
    teacher_mixed,
)
from pipeline.generation import generate, sampler
from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.components import class_constant
from pipeline.settings.generation import Sampling
from pipeline.training import checkpoint
from pipeline.training.state import initial_state

STUDENT, TEACHER = 1, 2  # seeds of models that disagree
POLICIES = {name: build_policy(name, {}) for name in components.names("data_policies")}
ALWAYS_WRITE = {
    "mixed": mixed.Policy(student_share=1.0),
    "speculative": speculative.Policy(top=6, student_temperature=1.0, student_top_p=1.0),
    "switch": switch.Policy(gold_share=0.0),
    "ada_switch": ada_switch.Policy(factor=1.2),
    "teacher_mixed": teacher_mixed.Policy(),
}


# All policies


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_turn_gives_the_same_texts(name: str) -> None:
    student, teacher, pool = llama(STUDENT), llama(TEACHER), texts(12)
    first, again = (POLICIES[name].texts(pool[:6], turn(student, teacher, pool)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("name", POLICIES)
def test_texts_answer_the_drawn_prompts_and_say_who_wrote_them(name: str) -> None:
    pool = texts(12)
    prompts = {text.example_id: text.prompt_ids for text in pool}
    drawn, now = pool[:6], turn(llama(STUDENT), llama(TEACHER), pool)
    batch = POLICIES[name].texts(drawn, now)
    groups = class_constant("data_policies", name, "writes_groups", False)
    asked = drawn[:2] if groups else drawn  # four responses to a prompt, then two
    assert {text.example_id for text in batch} == {text.example_id for text in asked}
    for text in batch:
        assert text.prompt_ids == prompts[text.example_id]
        if text.author == "gold":
            assert text in drawn
            continue
        assert len(text.log_probs) == len(text.response_ids) <= now.max_new_tokens
        assert text.ended == (text.response_ids[-1] == END)
        assert 0 <= text.teacher_tokens <= len(text.response_ids)


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_carries_is_plain(name: str) -> None:
    pool = texts(12)
    now = turn(llama(STUDENT), llama(TEACHER), pool)
    POLICIES[name].texts(pool[:6], now)
    assert json.loads(json.dumps(now.state)) == now.state


@pytest.mark.parametrize("name", ALWAYS_WRITE)
def test_the_batch_does_not_change_an_interleaved_text(name: str) -> None:
    student, teacher, pool = llama(STUDENT), llama(TEACHER), texts(12)
    together = ALWAYS_WRITE[name].texts(pool, turn(student, teacher, pool))
    for drawn, text in zip(pool, together, strict=True):
        (alone,) = ALWAYS_WRITE[name].texts([drawn], turn(student, teacher, pool))
        assert alone.response_ids == text.response_ids
        assert alone.teacher_tokens == text.teacher_tokens


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].generates_text])
def test_a_method_that_writes_asks_a_live_teacher_or_the_student_itself(method: str) -> None:
    assert METHODS[method].teacher in ("live", "self")


@pytest.mark.parametrize("name", ["speculative", "switch", "ada_switch", "teacher_mixed"])
def test_an_interleaved_policy_without_a_teacher_is_refused(name: str) -> None:
    pool = texts(4)
    with pytest.raises(ValueError, match="needs 'live'"):
        POLICIES[name].texts(pool, turn(llama(STUDENT), None, pool))


@pytest.mark.parametrize("name", POLICIES)
def test_a_resumed_policy_goes_on_with_the_same_texts(name: str, tmp_path: Path) -> None:
    policy, setup = POLICIES[name], Setup("forward_kl")
    if name == "adaptive":
        policy = adaptive.Policy(first_share=0.9, capacity=5)
    student, teacher, pool = llama(STUDENT), llama(TEACHER), texts(12)
    made = replace(run(setup), policy=policy)
    state = initial_state(made)

    def follow(carried: dict[str, Any], steps: range) -> list[list[Text]]:
        turns = [replace(turn(student, teacher, pool, step), state=carried) for step in steps]
        return [policy.texts(pool[4 * (now.step % 3) :][:4], now) for now in turns]

    follow(state.policy, range(5))
    checkpoint.save(tmp_path, made, state, "job")
    fresh = initial_state(made)
    assert checkpoint.resume(tmp_path, made, fresh, "job")
    assert fresh.policy == state.policy
    assert follow(fresh.policy, range(5, 10)) == follow(state.policy, range(5, 10))


# fixed, mixed


def test_fixed_text_stays_as_drawn() -> None:
    pool = texts(5)
    assert POLICIES["fixed"].texts(pool, turn(llama(1), None, pool)) == pool


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mix_has_the_share_of_student_text_that_it_should(share: float) -> None:
    student, pool = llama(STUDENT), texts(400)
    batch = mixed.Policy(student_share=share).texts(pool, turn(student, None, pool))
    own = [text for text in batch if text.author == "student"]
    # five standard deviations of a binomial share over 400 texts
    assert abs(len(own) / 400 - share) <= 5 * math.sqrt(share * (1 - share) / 400)
    assert sorted(text.example_id for text in batch) == sorted(text.example_id for text in pool)


# adaptive (DistiLLM)


def test_the_share_of_student_text_rises_only_when_validation_worsens_by_the_margin() -> None:
    policy, state = adaptive.Policy(), {}
    shares = []
    # reference: 2.0, until a rise at 2.1 and another at 2.25; a better value changes nothing
    for nll_nats in (2.0, 2.05, 1.5, 2.0999, 2.1, 2.15, 1.9, 2.25, 2.3):
        policy.on_validation(state, nll_nats)
        shares.append(state.get("share", policy.first_share))
    assert shares == pytest.approx([0, 0, 0, 0, 0.1, 0.1, 0.1, 0.2, 0.2])


def test_the_share_of_student_text_never_exceeds_one() -> None:
    policy, state = adaptive.Policy(first_share=0.95), {}
    for nll_nats in (1.0, 2.0, 3.0, 4.0):
        policy.on_validation(state, nll_nats)
    assert state["share"] == 1.0


def test_without_a_share_all_text_stays_as_drawn() -> None:
    pool = texts(6)
    now = turn(llama(STUDENT), None, pool)
    assert adaptive.Policy().texts(pool, now) == pool


def test_each_step_is_new_replayed_or_drawn_by_the_rule_and_the_oldest_leave_the_buffer() -> None:
    policy, steps, student = adaptive.Policy(first_share=0.8, capacity=7), 60, llama(STUDENT)
    pool, state, expected, seen = texts(12), {}, [], []
    for step in range(steps):
        now = turn(student, None, pool, step, steps, max_new_tokens=3)
        luck, full = np.random.default_rng(now.seed).random(), len(expected) == 7
        drawn = [pool[(2 * step + index) % 12] for index in range(2)]
        batch = policy.texts(drawn, replace(now, state=state))
        if luck >= 0.8:
            assert batch == drawn
            seen.append("drawn")
        elif luck < 0.8 * (1 - step / steps) or not full:
            assert batch == generate(drawn, [student], sampler(Sampling()), 3, now.seed, "student")
            expected = [*expected, *batch][-7:]
            seen.append("new")
        else:
            seen.append("replayed")
            kept = [replace(text, log_probs=()) for text in expected]
            assert len(batch) == 2
            assert all(text in kept for text in batch)
        held = [replace(text, log_probs=()) for text in expected]
        assert [entry["response_ids"] for entry in state["buffer"]] == [
            text.response_ids for text in held
        ]
    assert min(seen.count(kind) for kind in ("new", "replayed", "drawn")) > 5
    assert seen[:30].count("replayed") < seen[30:].count("replayed")


def test_a_replay_gives_no_text_twice() -> None:
    policy, pool = adaptive.Policy(first_share=1.0, capacity=8), texts(8)
    state: dict[str, Any] = {}
    student = llama(STUDENT)
    policy.texts(pool, replace(turn(student, None, pool), state=state))
    last = replace(turn(student, None, pool, step=19, steps=20), state=state)
    batch = policy.texts(pool, replace(last, steps=10**6, step=10**6 - 1))
    assert sorted(text.example_id for text in batch) == sorted(text.example_id for text in pool)
    assert not any(text.log_probs for text in batch)


# epoch_pairs (DistiLLM-2)


def test_pairs_hold_what_the_student_said_when_the_epoch_began() -> None:
    policy, pool, state = epoch_pairs.Policy(), texts(12), {}
    early, late = llama(STUDENT), llama(TEACHER)
    choose = sampler(Sampling(temperature=0.8, top_p=0.95))
    for step, writer, began in [(0, early, 0), (1, late, 0), (2, late, 0), (3, late, 3)]:
        now = replace(turn(writer, None, pool, step), state=state)
        drawn = pool[4 * (step % 3) :][:4]
        batch = policy.texts(drawn, now)
        written = generate(pool, [late if began else early], choose, 8, began + 100, "student")
        assert batch == [*drawn, *written[4 * (step % 3) :][:4]]


# teacher_mixed: several passes over a set of texts


def test_minillms_passes_train_on_each_text_of_a_set_once_a_pass() -> None:
    pool, policy = texts(12), teacher_mixed.Policy(rollout_texts=6, passes=2)
    teacher, state = llama(TEACHER), {}
    by_step = []
    for step in range(5):  # the student moves on, its texts are those of the set
        now = replace(turn(llama(STUDENT + step), teacher, pool, step), state=state)
        by_step.append(policy.texts(pool[:3], now))
        state = json.loads(json.dumps(state))  # as a resumed run reads it
    passes = [by_step[0] + by_step[1], by_step[2] + by_step[3]]
    first, second = ([text.example_id for text in texts_of_pass] for texts_of_pass in passes)
    assert len(set(first)) == 6
    assert set(first) == set(second)
    assert first != second
    asked = {text.example_id: text for text in pool}
    wrote = turn(llama(STUDENT), teacher, pool)
    written = policy.write([asked[name] for name in first], wrote)
    assert passes[0] == written
    assert sorted(passes[1], key=lambda text: text.example_id) == sorted(
        written, key=lambda text: text.example_id
    )
    assert not [text for text in by_step[4] if text in written]


def test_passes_over_a_steps_own_texts_ask_its_own_prompts() -> None:
    pool, state = texts(12), {}
    policy = teacher_mixed.Policy(passes=2)
    drawn = [pool[:4], pool[4:8], pool[8:]]
    by_step = [
        policy.texts(batch, replace(turn(llama(1), llama(2), pool, step), state=state))
        for step, batch in enumerate(drawn)
    ]
    names = [sorted(text.example_id for text in texts_of_step) for texts_of_step in by_step]
    prompts = [sorted(text.example_id for text in batch) for batch in drawn]
    assert names == [prompts[0], prompts[0], prompts[2]]
