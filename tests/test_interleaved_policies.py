"""Texts that student and teacher write together, against each paper's rule in full passes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from interleaved import STUDENT, TEACHER, endless, fits, frequencies, witnessed
from players import llama, log_probs, texts, turn
from scipy.spatial.distance import jensenshannon
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.data_policies import ada_switch, speculative, switch, teacher_mixed
from pipeline.generation import SpeculativeSampler, generate, sampler
from pipeline.generation.engine import EngineSize, GenerationEngine
from pipeline.generation.sampling import sample
from pipeline.generation.slots import Prompt, Response, uniforms
from pipeline.settings.generation import Sampling

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
    draws = witnessed(policy.draft().token_by_token)
    for token in draws:
        top = token.teacher.topk(6).indices.tolist()
        (proposed,), _ = sample(token.student[None], token.uniform[:1], Sampling())
        (instead,), log_prob = sample(token.teacher[None], token.uniform[1:2], teachers)
        assert token.by_teacher == (proposed.item() not in top)
        assert token.token == (instead if token.by_teacher else proposed)
        expected = log_prob[0, token.token] if token.by_teacher else token.student[token.token]
        assert token.log_prob == pytest.approx(expected.item(), abs=1e-4)  # float32 in the cache
    assert 0.2 < np.mean([token.by_teacher for token in draws]) < 0.95


def test_skd_writes_from_the_distribution_of_its_rule() -> None:
    peaked = {"student_temperature": 1.0, "student_top_p": 1.0}
    peaked |= {"teacher_temperature": 1.0, "teacher_top_p": 1.0}
    counts, p, q = frequencies(speculative.Policy(top=3, **peaked).draft().token_by_token)
    accepted = torch.zeros_like(q).scatter(0, p.topk(3).indices, 1.0) * q
    assert fits(counts, accepted + (1 - accepted.sum()) * p)


def test_skd_with_all_tokens_on_top_is_the_students_text() -> None:
    student, pool = llama(STUDENT), texts(10)
    policy = speculative.Policy(top=32)
    batch = policy.texts(pool, turn(student, llama(TEACHER), pool))
    alone = sampler(Sampling(temperature=0.5, top_p=0.5))
    own = generate(pool, [student], alone, 8, turn(student, None, pool).seed, "student")
    for text, other in zip(batch, own, strict=True):
        assert text.response_ids == other.response_ids
        assert text.teacher_tokens == 0
        np.testing.assert_allclose(text.log_probs, other.log_probs, atol=1e-5)  # float32 sums


def drafted(
    models: list[PreTrainedModel], draft: SpeculativeSampler, asked: list[Text]
) -> list[Response]:
    """What a GPU writes in drafts, on the CPU, which goes token by token of its own accord."""
    prompts = [Prompt(text.prompt_ids, uniforms(3, text.example_id, 23)) for text in asked]
    decoder = GenerationEngine(models, draft, EngineSize(len(asked), 30, 23))
    decoder.add(range(len(asked)), prompts)
    while any(decoder.advance()):
        pass
    return decoder.responses(range(len(asked)))


@pytest.mark.parametrize("tokens", [1, 2, 5])
@pytest.mark.parametrize(("top", "expected"), [(2, 0), (12, 0), (30, 0), (30, 12)])
def test_skd_in_drafts_writes_the_text_that_it_writes_token_by_token(
    top: int, expected: int, tokens: int
) -> None:
    policy = speculative.Policy(
        top=top, student_temperature=1.0, student_top_p=1.0, expected_tokens=expected,
        block_tokens=2,
    )  # fmt: skip
    models, draft = [llama(STUDENT), llama(TEACHER)], replace(policy.draft(), draft_tokens=tokens)
    asked = sorted(texts(15), key=lambda text: -len(text.prompt_ids))
    plain = generate(asked, models, draft, 23, 3, "student")
    for answer, text in zip(drafted(models, draft, asked), plain, strict=True):
        assert answer.tokens == text.response_ids
        assert sum(answer.by_teacher) == text.teacher_tokens
        np.testing.assert_allclose(answer.log_probs, text.log_probs, atol=1e-4)  # float32 sums
        assert (len(answer.tokens) + answer.discarded_drafts) % tokens == 0
        assert answer.discarded_drafts <= (tokens - 1) * len(answer.tokens)


def test_a_teacher_that_refuses_nothing_reads_as_many_tokens_at_once_as_are_drafted() -> None:
    policy, teacher, readings = speculative.Policy(top=32), endless(TEACHER), []
    tables = teacher.get_input_embeddings()
    tables.register_forward_hook(lambda _, inputs, __: readings.append(inputs[0].shape[-1]))
    draft = replace(policy.draft(), draft_tokens=4)
    (text,) = drafted([endless(STUDENT), teacher], draft, texts(1))
    # 5 times 4 tokens, and 3; how the model scales its logits is found out by one of another width
    assert readings.count(4) == 6
    assert (len(text.tokens), text.discarded_drafts) == (23, 1)


@pytest.mark.parametrize(
    ("top", "expected", "block", "tops"),
    [
        # N = 10 > K = 4: K falls by 1 after the first round of 3 tokens and every 2 further ones
        (4, 10, 3, [4] * 3 + [3] * 6 + [2] * 6 + [1] * 9),
        # K = 7 > N = 3: by 3 in each round
        (7, 3, 2, [7, 7, 4, 4, 1, 1, 1, 1]),
        (5, 5, 1, [5, 4, 3, 2, 1, 1]),
        (5, 0, 1, [5, 5, 5, 5]),
    ],
)
def test_k_falls_by_rounds_to_one(top: int, expected: int, block: int, tops: list[int]) -> None:
    policy = speculative.Policy(top=top, expected_tokens=expected, block_tokens=block)
    assert policy.top_at(torch.arange(len(tops))).tolist() == tops
    logits = torch.arange(10.0).expand(len(tops), -1)
    for rank in range(1, 9):  # of the proposal, 1 the teacher's first
        refused = policy.refuse(
            torch.full((len(tops),), 10 - rank), logits, torch.arange(len(tops))
        )
        assert refused.tolist() == [rank > k for k in tops]


# ada_switch (AdaSwitch)


def kl_in_full(p: Tensor, q: Tensor) -> float:
    return float((p.exp() * (p - q)).sum())


@pytest.mark.parametrize(("factor", "window"), [(1.2, 3), (2.0, 8)])
def test_ada_switch_hands_over_for_good_where_kl_exceeds_its_recent_mean(
    factor: float, window: int
) -> None:
    student, teacher, new = endless(STUDENT), endless(TEACHER), 14
    asked, handed_over = texts(15), set()
    writer = ada_switch.Policy(factor=factor, window=window).writer()
    for text in generate(asked, [student, teacher], writer, new, 5, "student"):
        draws = torch.from_numpy(uniforms(5, text.example_id, new))
        models = zip(log_probs(student, text), log_probs(teacher, text), strict=True)
        divergences, by_teacher = [], False
        for place, (q, p) in enumerate(models):
            divergence, recent = kl_in_full(p, q), divergences[-window:]
            by_teacher |= bool(recent) and divergence > factor * sum(recent) / len(recent)
            divergences.append(divergence)
            chooser, column = (p, 1) if by_teacher else (q, 0)
            (expected,), _ = sample(chooser[None], draws[place, column : column + 1], Sampling())
            assert text.response_ids[place] == expected
            assert text.log_probs[place] == pytest.approx(chooser[expected].item(), abs=1e-4)
            if by_teacher:
                handed_over.add((text.example_id, place))
        assert text.teacher_tokens == sum(name == text.example_id for name, _ in handed_over)
    places = [place for _, place in handed_over]
    assert 0 < len(places) < 15 * new
    assert min(places) > 0


def test_ada_switch_without_a_limit_is_the_student_s_text_and_forgets_the_text_before() -> None:
    student, pool = llama(STUDENT), texts(10)
    now = turn(student, llama(TEACHER), pool)
    own = generate(pool, [student], sampler(Sampling()), 8, now.seed, "student")
    batch = ada_switch.Policy(factor=1e6).texts(pool, now)
    assert [text.response_ids for text in batch] == [text.response_ids for text in own]
    assert not any(text.teacher_tokens for text in batch)


# switch (SWITCH)


def test_switch_lets_the_teacher_write_where_the_jsd_in_bits_exceeds_the_threshold() -> None:
    draws = witnessed(switch.Policy().choose)
    between = 0
    for token in draws:
        p, q = token.teacher.exp().numpy(), token.student.exp().numpy()
        bits = jensenshannon(p, q, base=2) ** 2  # scipy gives the square root
        threshold = math.exp(-0.1 * token.place)  # t of this response, prompts being 1 to 7 long
        assert token.by_teacher == (bits > threshold)
        writer, column = (token.teacher, 1) if token.by_teacher else (token.student, 0)
        expected, _ = sample(writer[None], token.uniform[column : column + 1], Sampling())
        assert token.token == expected.item()
        assert token.log_prob == pytest.approx(writer[token.token].item(), abs=1e-4)
        between += bits > threshold >= bits * math.log(2)
    assert between  # in nats some of these would have been the student's
    assert 0.1 < np.mean([token.by_teacher for token in draws]) < 0.9


def test_switch_never_hands_over_the_first_token_and_soon_all_that_differ() -> None:
    draws = witnessed(switch.Policy(decay=5.0).choose)
    assert not any(token.by_teacher for token in draws if token.place == 0)
    assert all(token.by_teacher for token in draws if token.place > 0)


def test_switch_keeps_half_of_the_texts_as_drawn() -> None:
    student, pool = llama(STUDENT), texts(200)
    batch = switch.Policy().texts(pool, turn(student, llama(TEACHER), pool, max_new_tokens=2))
    gold = sum(text.author == "gold" for text in batch)
    assert abs(gold / 200 - 0.5) <= 5 * math.sqrt(0.25 / 200)  # five standard deviations


def test_distance_in_bits_runs_from_zero_to_one() -> None:
    same = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    apart = torch.full((2, 12), -100.0)
    apart[0, 0] = apart[1, 1] = 100.0
    assert switch.bits_apart(same, same).abs().max() < 1e-6  # float32
    assert switch.bits_apart(apart[:1], apart[1:]).item() == pytest.approx(1.0, abs=1e-6)


# teacher_mixed (MiniLLM)


def test_mixed_sampling_records_the_probability_under_the_mixture() -> None:
    draws = witnessed(teacher_mixed.Policy(teacher_share=0.2).choose)
    for token in draws:
        mixture = 0.2 * token.teacher.exp() + 0.8 * token.student.exp()
        assert token.log_prob == pytest.approx(mixture[token.token].log().item(), abs=1e-4)
    # five standard deviations of a binomial share over 180 tokens
    share = np.mean([token.by_teacher for token in draws])
    assert abs(share - 0.2) <= 5 * math.sqrt(0.16 / len(draws))


@pytest.mark.parametrize("share", [0.2, 0.7, 1.0])
def test_mixed_sampling_writes_from_the_mixture(share: float) -> None:
    counts, p, q = frequencies(teacher_mixed.Policy(teacher_share=share).choose)
    assert fits(counts, share * p + (1 - share) * q)


def test_a_mixture_without_the_teacher_is_the_students_text() -> None:
    student, pool = llama(STUDENT), texts(10)
    now = turn(student, llama(TEACHER), pool)
    batch = teacher_mixed.Policy(teacher_share=0.0).texts(pool, now)
    own = generate(pool, [student], sampler(Sampling()), 8, now.seed, "student")
    for text, other in zip(batch, own, strict=True):
        assert text.response_ids == other.response_ids
        assert text.teacher_tokens == 0
        np.testing.assert_allclose(text.log_probs, other.log_probs, atol=1e-6)  # float32 logarithms
