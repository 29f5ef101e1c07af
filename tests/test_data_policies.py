"""Whose text a step trains on: each policy against its paper's rule, recomputed by full passes."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from players import END, Setup, llama, log_probs, run, texts, turn
from scipy.spatial.distance import jensenshannon
from scipy.stats import chisquare
from torch import Tensor
from transformers import PreTrainedModel

from pipeline import catalog, checkpoint
from pipeline.data_policies import adaptive, epoch_pairs, mixed, speculative, switch, teacher_mixed
from pipeline.methods import METHODS
from pipeline.settings.writing import Sampling
from pipeline.texts import Text
from pipeline.training import begin
from pipeline.writing import Choice, draw, sampler, write

STUDENT, TEACHER = 1, 2  # seeds of models that disagree
POLICIES = {name: catalog.build_policy(name, {}) for name in catalog.names("data_policies")}
ALWAYS_WRITE = {
    "mixed": mixed.Policy(student_share=1.0),
    "speculative": speculative.Policy(top=6, student_temperature=1.0, student_top_p=1.0),
    "switch": switch.Policy(gold_share=0.0),
    "teacher_mixed": teacher_mixed.Policy(),
}


@dataclass(frozen=True)
class Token:
    """A token of a written text, with what both models say at its place in a full pass."""

    place: int
    token: int
    log_prob: float
    by_teacher: bool
    uniform: Tensor
    student: Tensor  # log-probabilities, float64
    teacher: Tensor


def endless(seed: int) -> PreTrainedModel:
    """A model with an EOS that no token is: texts stay side by side to the end."""
    model = llama(seed)
    model.config.eos_token_id = -1
    return model


def witnessed(choose: Callable[..., Choice], time: int = 12) -> list[Token]:
    """All tokens that a decider wrote for fifteen prompts, with what it had to go by."""
    student, teacher = endless(STUDENT), endless(TEACHER)
    seen: list[tuple[Choice, Tensor]] = []

    def noting(logits: Sequence[Tensor], position: int, uniform: Tensor) -> Choice:
        seen.append((choose(logits, position, uniform), uniform))
        return seen[-1][0]

    asked = sorted(texts(15), key=lambda text: len(text.prompt_ids))  # rows in writing's order
    written = write(asked, [student, teacher], noting, time, 5, "student")
    found = []
    for row, text in enumerate(written):
        authors = [choice.by_teacher[row].item() for choice, _ in seen]
        assert text.teacher_tokens == sum(authors)
        models = zip(log_probs(student, text), log_probs(teacher, text), strict=True)
        for place, (student_row, teacher_row) in enumerate(models):
            record = (text.response_ids[place], text.log_probs[place], authors[place])
            found.append(Token(place, *record, seen[place][1][row], student_row, teacher_row))
    return found


def frequencies(choose: Callable[..., Choice], position: int) -> tuple[np.ndarray, Tensor, Tensor]:
    """How often each of 12 tokens is chosen in 20,000 draws from two fixed distributions p and q."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = 1.5 * torch.randn(2, 1, 12, generator=generator)
    uniform = torch.from_numpy(np.random.default_rng(0).random((20_000, 3)))
    both = [student.expand(20_000, -1), teacher.expand(20_000, -1)]
    counts = np.bincount(choose(both, position, uniform).tokens.numpy(), minlength=12)
    return counts, teacher[0].double().softmax(-1), student[0].double().softmax(-1)


def fits(counts: np.ndarray, expected: Tensor) -> bool:
    return chisquare(counts, counts.sum() * expected.numpy(), sum_check=False).pvalue > 0.001


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
    given = POLICIES[name].texts(drawn, now)
    assert {text.example_id for text in given} == {text.example_id for text in drawn}
    for text in given:
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


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.policy != "fixed"])
def test_a_method_that_writes_asks_a_live_teacher(method: str) -> None:
    assert METHODS[method].teacher == "live"


@pytest.mark.parametrize("name", ["speculative", "switch", "teacher_mixed"])
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
    state = begin(made)

    def follow(carried: dict[str, Any], steps: range) -> list[list[Text]]:
        turns = [replace(turn(student, teacher, pool, step), state=carried) for step in steps]
        return [policy.texts(pool[4 * (now.step % 3) :][:4], now) for now in turns]

    follow(state.policy, range(7))
    checkpoint.save(tmp_path, made, state, "job")
    fresh = begin(made)
    assert checkpoint.resume(tmp_path, made, fresh, "job")
    assert fresh.policy == state.policy
    assert follow(fresh.policy, range(7, 14)) == follow(state.policy, range(7, 14))


# fixed, mixed


def test_fixed_text_stays_as_drawn() -> None:
    pool = texts(5)
    assert POLICIES["fixed"].texts(pool, turn(llama(1), None, pool)) == pool


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mix_has_the_share_of_student_text_that_it_should(share: float) -> None:
    student, pool = llama(STUDENT), texts(400)
    given = mixed.Policy(student_share=share).texts(pool, turn(student, None, pool))
    own = [text for text in given if text.author == "student"]
    # five standard deviations of a binomial share over 400 texts
    assert abs(len(own) / 400 - share) <= 5 * math.sqrt(share * (1 - share) / 400)
    assert sorted(text.example_id for text in given) == sorted(text.example_id for text in pool)


# speculative (SKD)


def test_skd_keeps_a_proposal_in_the_teachers_top_k_and_draws_the_others_anew() -> None:
    policy = speculative.Policy(
        top=6,
        student_temperature=1.0,
        student_top_p=1.0,
        teacher_temperature=0.5,
        teacher_top_p=0.8,
    )
    teachers = Sampling(temperature=0.5, top_p=0.8)
    found = witnessed(policy.choose)
    for one in found:
        top = one.teacher.topk(6).indices.tolist()
        (proposed,), _ = draw(one.student[None], one.uniform[:1], Sampling())
        (instead,), log_prob = draw(one.teacher[None], one.uniform[1:2], teachers)
        assert one.by_teacher == (proposed.item() not in top)
        assert one.token == (instead if one.by_teacher else proposed)
        expected = log_prob[0, one.token] if one.by_teacher else one.student[one.token]
        assert one.log_prob == pytest.approx(expected.item(), abs=1e-4)  # float32 in the cache
    assert 0.2 < np.mean([one.by_teacher for one in found]) < 0.95


def test_skd_writes_from_the_distribution_of_its_rule() -> None:
    peaked = {"student_temperature": 1.0, "student_top_p": 1.0}
    peaked |= {"teacher_temperature": 1.0, "teacher_top_p": 1.0}
    counts, p, q = frequencies(speculative.Policy(top=3, **peaked).choose, 0)
    accepted = torch.zeros_like(q).scatter(0, p.topk(3).indices, 1.0) * q
    assert fits(counts, accepted + (1 - accepted.sum()) * p)


def test_skd_with_all_tokens_on_top_is_the_students_text() -> None:
    student, pool = llama(STUDENT), texts(10)
    policy = speculative.Policy(top=32)
    given = policy.texts(pool, turn(student, llama(TEACHER), pool))
    alone = sampler(Sampling(temperature=0.5, top_p=0.5))
    assert given == write(pool, [student], alone, 8, turn(student, None, pool).seed, "student")


# switch (SWITCH)


def test_switch_lets_the_teacher_write_where_the_jsd_in_bits_exceeds_the_threshold() -> None:
    found = witnessed(switch.Policy().choose)
    between = 0
    for one in found:
        p, q = one.teacher.exp().numpy(), one.student.exp().numpy()
        bits = jensenshannon(p, q, base=2) ** 2  # scipy gives the square root
        threshold = math.exp(-0.1 * one.place)  # t of this response, prompts being 1 to 7 long
        assert one.by_teacher == (bits > threshold)
        writer, column = (one.teacher, 1) if one.by_teacher else (one.student, 0)
        expected, _ = draw(writer[None], one.uniform[column : column + 1], Sampling())
        assert one.token == expected.item()
        assert one.log_prob == pytest.approx(writer[one.token].item(), abs=1e-4)
        between += bits > threshold >= bits * math.log(2)
    assert between  # in nats some of these would have been the student's
    assert 0.1 < np.mean([one.by_teacher for one in found]) < 0.9


def test_switch_never_hands_over_the_first_token_and_soon_all_that_differ() -> None:
    found = witnessed(switch.Policy(decay=5.0).choose)
    assert not any(one.by_teacher for one in found if one.place == 0)
    assert all(one.by_teacher for one in found if one.place > 0)


def test_switch_keeps_half_of_the_texts_as_drawn() -> None:
    student, pool = llama(STUDENT), texts(200)
    given = switch.Policy().texts(pool, turn(student, llama(TEACHER), pool, max_new_tokens=2))
    gold = sum(text.author == "gold" for text in given)
    assert abs(gold / 200 - 0.5) <= 5 * math.sqrt(0.25 / 200)  # five standard deviations


def test_distance_in_bits_runs_from_zero_to_one() -> None:
    same = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    apart = torch.full((2, 12), -100.0)
    apart[0, 0] = apart[1, 1] = 100.0
    assert switch.bits_apart(same, same).abs().max() < 1e-6  # float32
    assert switch.bits_apart(apart[:1], apart[1:]).item() == pytest.approx(1.0, abs=1e-6)


# teacher_mixed (MiniLLM)


def test_mixed_sampling_records_the_probability_under_the_mixture() -> None:
    found = witnessed(teacher_mixed.Policy(teacher_share=0.2).choose)
    for one in found:
        mixture = 0.2 * one.teacher.exp() + 0.8 * one.student.exp()
        assert one.log_prob == pytest.approx(mixture[one.token].log().item(), abs=1e-4)
    # five standard deviations of a binomial share over 180 tokens
    share = np.mean([one.by_teacher for one in found])
    assert abs(share - 0.2) <= 5 * math.sqrt(0.16 / len(found))


@pytest.mark.parametrize("share", [0.2, 0.7, 1.0])
def test_mixed_sampling_writes_from_the_mixture(share: float) -> None:
    counts, p, q = frequencies(teacher_mixed.Policy(teacher_share=share).choose, 0)
    assert fits(counts, share * p + (1 - share) * q)


def test_a_mixture_without_the_teacher_is_the_students_text() -> None:
    student, pool = llama(STUDENT), texts(10)
    now = turn(student, llama(TEACHER), pool)
    given = teacher_mixed.Policy(teacher_share=0.0).texts(pool, now)
    assert given == write(pool, [student], sampler(Sampling()), 8, now.seed, "student")


# adaptive (DistiLLM)


def test_the_share_of_student_text_rises_only_when_validation_worsens_by_the_margin() -> None:
    policy, state = adaptive.Policy(), {}
    shares = []
    # reference: 2.0, until a rise at 2.1 and another at 2.25; a better value changes nothing
    for nll_nats in (2.0, 2.05, 1.5, 2.0999, 2.1, 2.15, 1.9, 2.25, 2.3):
        policy.validated(state, nll_nats)
        shares.append(state.get("share", policy.first_share))
    assert shares == pytest.approx([0, 0, 0, 0, 0.1, 0.1, 0.1, 0.2, 0.2])


def test_the_share_of_student_text_never_exceeds_one() -> None:
    policy, state = adaptive.Policy(first_share=0.95), {}
    for nll_nats in (1.0, 2.0, 3.0, 4.0):
        policy.validated(state, nll_nats)
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
        drawn = [pool[(2 * step + at) % 12] for at in range(2)]
        given = policy.texts(drawn, replace(now, state=state))
        if luck >= 0.8:
            assert given == drawn
            seen.append("drawn")
        elif luck < 0.8 * (1 - step / steps) or not full:
            assert given == write(drawn, [student], sampler(Sampling()), 3, now.seed, "student")
            expected = [*expected, *given][-7:]
            seen.append("new")
        else:
            seen.append("replayed")
            kept = [replace(text, log_probs=()) for text in expected]
            assert len(given) == 2
            assert all(text in kept for text in given)
        held = [replace(text, log_probs=()) for text in expected]
        assert [entry[1] for entry in state["buffer"]] == [text.response_ids for text in held]
    assert min(seen.count(kind) for kind in ("new", "replayed", "drawn")) > 5
    assert seen[:30].count("replayed") < seen[30:].count("replayed")


def test_a_replay_gives_no_text_twice() -> None:
    policy, pool = adaptive.Policy(first_share=1.0, capacity=8), texts(8)
    state: dict[str, Any] = {}
    student = llama(STUDENT)
    policy.texts(pool, replace(turn(student, None, pool), state=state))
    last = replace(turn(student, None, pool, step=19, steps=20), state=state)
    given = policy.texts(pool, replace(last, steps=10**6, step=10**6 - 1))
    assert sorted(text.example_id for text in given) == sorted(one.example_id for one in pool)
    assert not any(text.log_probs for text in given)


# epoch_pairs (DistiLLM-2)


def test_pairs_hold_what_the_student_said_when_the_epoch_began() -> None:
    policy, pool, state = epoch_pairs.Policy(), texts(12), {}
    early, late = llama(STUDENT), llama(TEACHER)
    choose = sampler(Sampling(temperature=0.8, top_p=0.95))
    for step, writer, began in [(0, early, 0), (1, late, 0), (2, late, 0), (3, late, 3)]:
        now = replace(turn(writer, None, pool, step), state=state)
        drawn = pool[4 * (step % 3) :][:4]
        given = policy.texts(drawn, now)
        said = write(pool, [late if began else early], choose, 8, began + 100, "student")
        assert given == [*drawn, *said[4 * (step % 3) :][:4]]
