"""Writing token by token: right draws, right texts, whatever else is in the batch."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from players import END, VOCABULARY, llama, log_probs, texts
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from benchmarks import tiny_families
from pipeline.data.batch import Text
from pipeline.generation import SampledTokens, TokenSampler, fallback, generate, sampler
from pipeline.generation.capacity import BATCH_TOKENS
from pipeline.generation.engine import supports_ragged_batches
from pipeline.generation.sampling import apply_top_k_top_p
from pipeline.generation.slots import Prompt
from pipeline.generation.slots import uniforms as uniforms_of
from pipeline.settings.generation import Sampling


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=64,
        n_embd=16,
        n_layer=1,
        n_head=2,
        initializer_range=0.4,
        eos_token_id=END,
        bos_token_id=END,
        pad_token_id=END,
    )
    return GPT2LMHeadModel(config).eval()


def watched(choose: TokenSampler, sizes: list[tuple[int, int]]) -> TokenSampler:
    """The same choice; notes the furthest position and the batch size."""

    def noting(logits: Sequence[Tensor], position: Tensor, uniform: Tensor) -> SampledTokens:
        sizes.append((int(position.max()), len(logits[0])))
        return choose(logits, position, uniform)

    return noting


@pytest.mark.parametrize("make", [lambda: llama(5), gpt2], ids=["rotary", "absolute positions"])
def test_greedy_text_is_that_of_generate(make: type[PreTrainedModel]) -> None:
    model, asked, sizes = make(), texts(12), []
    greedy = Sampling(temperature=0)
    model.generation_config.eos_token_id = -1  # no token: all texts go to the full length
    endless = generate(asked, [model], sampler(greedy), 10, 0, "student")
    counts = Counter(token for text in endless for token in set(text.response_ids[1:6]))
    end = counts.most_common(1)[0][0]

    model.generation_config.eos_token_id = model.generation_config.pad_token_id = end
    choose = watched(sampler(greedy), sizes)
    written = generate(asked, [model], choose, 10, 0, "student")
    assert sizes[0][1] == 12
    assert sizes[-1][1] <= 6  # most texts had ended, and left the batch
    for text in written:
        ids = torch.tensor([text.prompt_ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10
        )
        assert text.response_ids == expected[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("plain", [False, True], ids=["in slots", "plain loop"])
def test_a_text_stops_at_whichever_of_several_ends_generate_stops_at(plain: bool) -> None:
    model, asked, greedy = llama(5), texts(12), sampler(Sampling(temperature=0))
    model.generation_config.eos_token_id = -1
    endless = generate(asked, [model], greedy, 10, 0, "student")
    counts = Counter(token for text in endless for token in set(text.response_ids[1:6]))
    (first, _), (second, _) = counts.most_common(2)
    model.generation_config.eos_token_id = [first, second]
    model.generation_config.pad_token_id = END

    written = generate(asked, [model], greedy, 10, 0, "student")
    if plain:
        prompts = [Prompt(text.prompt_ids, uniforms_of(0, text.example_id, 10)) for text in asked]
        loop = fallback.generate_left_padded(prompts, [model], greedy, 10, (first, second))
        assert [text.tokens for text in loop] == [text.response_ids for text in written]
    assert {text.response_ids[-1] for text in written} >= {first, second}
    for text in written:
        ids = torch.tensor([text.prompt_ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10
        )
        assert text.response_ids == expected[0, ids.shape[1] :].tolist()
        assert text.ended == (text.response_ids[-1] in (first, second))


def test_a_left_padded_batch_is_written_as_generate_does() -> None:
    model, asked = llama(5), texts(7)
    width = max(len(text.prompt_ids) for text in asked)
    rows = [[0] * (width - len(text.prompt_ids)) + list(text.prompt_ids) for text in asked]
    attention = [
        [int(index >= width - len(prompt.prompt_ids)) for index in range(width)] for prompt in asked
    ]
    expected = model.generate(
        torch.tensor(rows),
        attention_mask=torch.tensor(attention),
        do_sample=False,
        max_new_tokens=9,
    )[:, width:].tolist()
    written = generate(asked, [model], sampler(Sampling(temperature=0)), 9, 0, "student")
    for text, tokens in zip(written, expected, strict=True):
        assert text.response_ids == tokens[: len(text.response_ids)]
        assert text.ended or len(text.response_ids) == 9


def test_the_batch_does_not_change_a_text() -> None:
    model, asked, choose, sizes = llama(1), texts(15), sampler(Sampling()), []
    together = generate(asked, [model], watched(choose, sizes), 40, 7, "student")
    alone = [generate([text], [model], choose, 40, 7, "student")[0] for text in asked]
    backwards = generate(asked[::-1], [model], choose, 40, 7, "student")[::-1]
    assert sizes[-1][1] <= 7  # the batch had shrunk
    assert not all(text.ended for text in together)  # while some texts still went on
    for first, second, third in zip(together, alone, backwards, strict=True):
        assert first.response_ids == second.response_ids == third.response_ids
        # padding changes the order of float32 sums
        np.testing.assert_allclose(first.log_probs, second.log_probs, atol=1e-4)


def test_texts_come_from_seed_and_example_alone() -> None:
    model, asked, choose = llama(1), texts(10), sampler(Sampling())
    first = generate(asked, [model], choose, 8, 1, "student")
    assert generate(asked, [model], choose, 8, 1, "student") == first
    assert generate(asked, [model], choose, 8, 2, "student") != first

    twins = [Text(name, [5, 6], [END]) for name in "ab"]
    of_a, of_b = generate(twins, [model], choose, 8, 1, "student")
    (alone,) = generate(twins[:1], [model], choose, 8, 1, "student")
    assert alone.response_ids == of_a.response_ids
    assert of_a.response_ids != of_b.response_ids


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=6)], ids=str)
def test_recorded_log_probs_are_of_what_wrote_the_text(sampling: Sampling) -> None:
    model = llama(1)
    for text in generate(texts(10), [model], sampler(sampling), 8, 3, "student"):
        full = apply_top_k_top_p(log_probs(model, text), sampling)
        expected = full[torch.arange(len(text.response_ids)), text.response_ids]
        np.testing.assert_allclose(text.log_probs, expected, atol=1e-4)  # float32 in the cache


@pytest.mark.slow
def test_a_text_that_ends_makes_room_for_the_next() -> None:
    model, asked, ages, room = llama(1), texts(50), [], 1024
    alone = sampler(Sampling(temperature=1.5))

    def noting(logits: Sequence[Tensor], position: Tensor, uniform: Tensor) -> SampledTokens:
        ages.append(position.tolist())
        return alone(logits, position, uniform)

    together = generate(asked, [model], noting, room, 7, "student")
    slots = BATCH_TOKENS // (room + 7)
    assert max(len(age) for age in ages) == slots < 50
    assert any(min(age) > 0 and max(age) > 2 * min(age) for age in ages)  # not of one age
    one_by_one = [generate([text], [model], alone, room, 7, "student")[0] for text in asked]
    assert [text.response_ids for text in together] == [text.response_ids for text in one_by_one]
    steps = sum(len(text.response_ids) for text in together)
    assert len(ages) < steps / 4  # side by side


@pytest.mark.parametrize("make", [lambda: llama(1), gpt2], ids=["llama", "gpt2"])
def test_the_plain_loop_writes_the_same(make: type[PreTrainedModel]) -> None:
    model, asked, choose = make(), texts(12), sampler(Sampling())
    prompts = [Prompt(text.prompt_ids, uniforms_of(3, text.example_id, 20)) for text in asked]
    plain = fallback.generate_left_padded(prompts, [model], choose, 20, (END,))
    for answer, text in zip(plain, generate(asked, [model], choose, 20, 3, "student"), strict=True):
        assert answer.tokens == text.response_ids
        # float32 sums in another order
        np.testing.assert_allclose(answer.log_probs, text.log_probs, atol=1e-4)


def test_a_family_that_nothing_faster_is_known_for_is_written_by_the_plain_loop() -> None:
    model, asked = tiny_families.model_of("bloom"), texts(7)
    assert not supports_ragged_batches(model)
    for text in generate(asked, [model], sampler(Sampling(temperature=0)), 9, 0, "student"):
        ids = torch.tensor([text.prompt_ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=9
        )
        assert text.response_ids == expected[0, ids.shape[1] :].tolist()


def test_the_cache_stays_within_its_budget() -> None:
    sizes: list[tuple[int, int]] = []

    def stop(logits: Sequence[Tensor], _: int, __: Tensor) -> SampledTokens:
        tokens = torch.full_like(logits[0][:, 0], END, dtype=torch.long)
        return SampledTokens(tokens, torch.zeros(len(tokens)), tokens == 0)

    written = generate(texts(40), [llama(1)], watched(stop, sizes), 1000, 0, "student")
    assert [text.example_id for text in written] == [text.example_id for text in texts(40)]
    assert [text.prompt_ids for text in written] == [text.prompt_ids for text in texts(40)]
    assert sum(size for _, size in sizes) == 40
    assert max(size for _, size in sizes) <= BATCH_TOKENS // 1001


def test_nothing_asked_nothing_written() -> None:
    assert generate([], [llama(1)], sampler(Sampling()), 8, 0, "student") == []


@pytest.mark.parametrize("make", [lambda: llama(1), gpt2])
def test_a_prompt_of_no_token_is_refused_by_its_id(make: Callable[[], PreTrainedModel]) -> None:
    asked = [*texts(2), Text("nothing", [], [])]
    with pytest.raises(ValueError, match="example 'nothing' has an empty prompt"):
        generate(asked, [make()], sampler(Sampling()), 8, 0, "student")
