"""Laws of generation, over small real models: what a text may depend on, and its distribution."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from players import texts
from scipy.spatial.distance import jensenshannon
from scipy.stats import chisquare
from test_ragged_decoders import model_of
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from benchmarks import tiny_families
from pipeline.data.batch import Text
from pipeline.data_policies import ada_switch, speculative, switch, teacher_mixed
from pipeline.generation import AnySampler, capacity, generate, sampler
from pipeline.generation.engine import (
    EngineSize,
    GenerationEngine,
    length_buckets,
    supports_ragged_batches,
)
from pipeline.generation.llama_forward import LlamaDecoder
from pipeline.generation.slots import Prompt, Response, uniforms
from pipeline.generation.transformers_forward import TransformersDecoder
from pipeline.settings.generation import Sampling

RAGGED = ("llama", "qwen2", "gpt2", "opt", "pythia", "mistral")  # the last one has a window
FAMILIES = (*RAGGED, "lfm2")  # convolutions are left to the fallback
ENDS = [3, 25, 44, 50, 52]
COUNT = 9  # prompts, of one to seven tokens
NEW = 8
SAMPLERS = {
    "full distribution": Sampling(),
    "greedy": Sampling(temperature=0),
    "top-k": Sampling(temperature=1.5, top_k=7),
    "top-p": Sampling(temperature=0.8, top_p=0.8),
}
THRESHOLDS = {"llama": 0.17, "gpt2": 0.6, "lfm2": 0.6}  # bits by which two models differ
INTERLEAVED: dict[str, AnySampler] = {
    "teacher-mixed": teacher_mixed.Policy(teacher_share=0.5).choose,
    "SKD": speculative.Policy(top=20, student_temperature=1.0, student_top_p=1.0).draft(),
    "AdaSwitch": ada_switch.Policy(factor=1.1, window=3).writer(),
}


@cache
def family(name: str, seed: int = 0) -> PreTrainedModel:
    """A tiny model of a family that ends about every tenth text early; other seeds disagree."""
    if name == "mistral":
        sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 4}
        model = MistralForCausalLM(MistralConfig(**sizes, **heads, vocab_size=97)).eval()
    else:
        model = model_of(name) if name in RAGGED else tiny_families.model_of(name)
    noise = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data.add_(0.1 * torch.randn(weight.shape, generator=noise))
    model.generation_config.eos_token_id = ENDS
    return model


def one_at_a_time(models: Sequence[PreTrainedModel], choose: AnySampler) -> list[Text]:
    return [generate([text], models, choose, NEW, 5, "student")[0] for text in texts(COUNT)]


def assert_same_texts(actual: Sequence[Text], expected: Sequence[Text]) -> None:
    assert [text.response_ids for text in actual] == [text.response_ids for text in expected]
    assert [text.teacher_tokens for text in actual] == [text.teacher_tokens for text in expected]
    for first, second in zip(actual, expected, strict=True):
        # float32 sums in another order
        np.testing.assert_allclose(first.log_probs, second.log_probs, atol=1e-4)


@pytest.fixture
def _three_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small KV cache, so that most prompts wait for the slot of another text."""
    monkeypatch.setattr(capacity, "BATCH_TOKENS", 3 * (7 + NEW))


@pytest.mark.usefixtures("_three_slots")
@pytest.mark.parametrize("way", SAMPLERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_continuous_batching_generates_what_one_text_at_a_time_does(name: str, way: str) -> None:
    models, choose = [family(name)], sampler(SAMPLERS[way])
    assert supports_ragged_batches(models[0]) == (name in RAGGED)
    together = generate(texts(COUNT), models, choose, NEW, 5, "student")
    assert_same_texts(together, one_at_a_time(models, choose))
    assert len({len(text.response_ids) for text in together}) > 1  # some ended early


@pytest.mark.usefixtures("_three_slots")
@pytest.mark.parametrize("policy", [*INTERLEAVED, "SWITCH"])
@pytest.mark.parametrize("name", THRESHOLDS)
def test_two_models_take_turns_in_a_batch_as_over_one_text(name: str, policy: str) -> None:
    models = [family(name), family(name, seed=1)]
    switching = switch.Policy(first_threshold=THRESHOLDS[name]).choose
    choose = INTERLEAVED.get(policy, switching)
    together = generate(texts(COUNT), models, choose, NEW, 5, "student")
    assert_same_texts(together, one_at_a_time(models, choose))
    by_teacher = sum(text.teacher_tokens for text in together)
    assert 0 < by_teacher < sum(len(text.response_ids) for text in together)


@pytest.mark.parametrize("names", [("llama", "qwen2"), ("gpt2", "opt")], ids=" ".join)
def test_student_and_teacher_may_be_of_different_families(names: tuple[str, str]) -> None:
    models, choose = [family(name) for name in names], INTERLEAVED["teacher-mixed"]
    together = generate(texts(COUNT), models, choose, NEW, 5, "student")
    assert_same_texts(together, one_at_a_time(models, choose))


@pytest.mark.parametrize("name", FAMILIES)
def test_neither_order_nor_batch_size_changes_a_text(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, choose = [family(name)], sampler(Sampling())
    expected = generate(texts(COUNT), models, choose, NEW, 5, "student")
    shuffled = np.random.default_rng(0).permutation(COUNT)
    for slots in (2, 5):
        monkeypatch.setattr(capacity, "BATCH_TOKENS", slots * (7 + NEW))
        prompts = [texts(COUNT)[index] for index in shuffled]
        actual = generate(prompts, models, choose, NEW, 5, "student")
        assert_same_texts(actual, [expected[index] for index in shuffled])


@pytest.mark.parametrize("name", ["llama", "gpt2", "lfm2"])
def test_a_lower_limit_cuts_a_text_and_changes_nothing_before(name: str) -> None:
    models, choose = [family(name)], sampler(Sampling())
    whole = generate(texts(9), models, choose, NEW, 5, "student")
    for limit in (1, 3):
        cut = generate(texts(9), models, choose, limit, 5, "student")
        assert [text.response_ids for text in cut] == [text.response_ids[:limit] for text in whole]


def test_uniform_numbers_are_of_the_seed_and_the_example_alone() -> None:
    few, many = uniforms(1, "a", 3), uniforms(1, "a", 9)
    assert (many[:3] == few).all()
    assert not (uniforms(2, "a", 3) == few).any()
    assert not (uniforms(1, "b", 3) == few).any()


# KV caches and slots


def responses(engine: GenerationEngine, asked: Sequence[Text]) -> list[Response]:
    """The responses of texts that are put into the engine's first slots."""
    rows = range(len(asked))
    engine.add(rows, [Prompt(text.prompt_ids, uniforms(3, text.example_id, NEW)) for text in asked])
    while any(engine.advance()):
        pass
    return engine.responses(rows)


@pytest.mark.parametrize("name", RAGGED)
@torch.no_grad()
def test_whatever_an_earlier_text_left_in_a_cache_is_never_seen(name: str) -> None:
    model, choose = family(name), sampler(Sampling())
    by_length = sorted(texts(14), key=lambda text: -len(text.prompt_ids))
    long, short = by_length[:3], by_length[-3:]
    used, clean = (GenerationEngine([model], choose, EngineSize(3, 16, NEW)) for _ in range(2))
    for engine in (used, clean):
        responses(engine, long)  # caches of the same size in both
    decoder = used.decoders[0]
    assert isinstance(decoder, LlamaDecoder | TransformersDecoder)
    layers = decoder.layers if isinstance(decoder, TransformersDecoder) else ()
    caches = [cache for layer in layers for cache in (layer.keys, layer.values)]
    if isinstance(decoder, LlamaDecoder):
        caches = [*decoder.keys, *decoder.values]
    for kept in caches:
        kept.fill_(1e3)
    for engine in (used, clean):
        engine.reset()
    assert responses(used, short) == responses(clean, short)


@pytest.mark.parametrize(
    "ends", [[], None, [96], list(range(97))], ids=["none", "unset", "rare", "all"]
)
@pytest.mark.parametrize("name", ["llama", "lfm2"])
def test_a_text_ends_at_any_end_token_or_at_its_limit(name: str, ends: list[int] | None) -> None:
    model = family(name)
    model.generation_config.eos_token_id, model.config.eos_token_id = ends, None
    try:
        generated = generate(texts(6), [model], sampler(Sampling()), NEW, 5, "student")
    finally:
        model.generation_config.eos_token_id = ENDS
    for text in generated:
        assert text.ended == (text.response_ids[-1] in (ends or []))
        assert text.ended or len(text.response_ids) == NEW
        assert (text.author, text.teacher_tokens) == ("student", 0)
        assert not set(text.response_ids[:-1]) & set(ends or [])
    if ends == list(range(97)):
        assert {len(text.response_ids) for text in generated} == {1}


def test_buckets_are_of_like_lengths_within_a_budget_and_leave_nothing_out() -> None:
    lengths = sorted(np.random.default_rng(0).integers(1, 90, 200).tolist(), reverse=True)
    buckets = list(length_buckets(lengths, 0.75, 300))
    assert [index for bucket in buckets for index in bucket] == list(range(200))
    for bucket in buckets:
        assert lengths[bucket[-1]] >= 0.75 * lengths[bucket[0]]
        assert len(bucket) * lengths[bucket[0]] <= 300
    assert list(length_buckets([500, 2], 0.0, 300)) == [range(1), range(1, 2)]
    assert list(length_buckets([], 0.75, 300)) == []


# distributions of whole texts, over a vocabulary so small that they can be written out

FOUR = 4  # tokens
PROMPT = [1, 2]
TEXTS = 3000


@cache
def four_tokens(seed: int) -> LlamaForCausalLM:
    """A Llama over four tokens, none of which ends a text."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "initializer_range": 0.5}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, vocab_size=FOUR)).eval()
    model.generation_config.eos_token_id = -1
    return model


@torch.no_grad()
def next_token(model: PreTrainedModel, ids: Sequence[int]) -> np.ndarray:
    """The distribution after some tokens, in a forward pass of transformers."""
    logits: Tensor = model(torch.tensor([list(ids)])).logits[0, -1]
    return logits.double().softmax(-1).numpy()


def skd(p: np.ndarray, q: np.ndarray, _: int) -> np.ndarray:
    """The student's token if it is among the teacher's two likeliest, else one of the teacher's."""
    accepted = np.where(p >= np.sort(p)[-2], q, 0)
    return accepted + (1 - accepted.sum()) * p


def switched(p: np.ndarray, q: np.ndarray, position: int) -> np.ndarray:
    """The teacher's distribution where both are further apart than the threshold."""
    threshold = 0.03 * math.exp(-1.0 * position)
    return p if jensenshannon(p, q, base=2) ** 2 > threshold else q


EXACT: dict[str, tuple[AnySampler, Callable[..., np.ndarray]]] = {
    "student alone": (sampler(Sampling()), lambda _p, q, _position: q),
    "student's top two": (
        sampler(Sampling(top_k=2)),
        lambda _p, q, _position: np.where(q >= np.sort(q)[-2], q, 0) / np.sort(q)[-2:].sum(),
    ),
    "MiniLLM": (
        teacher_mixed.Policy(teacher_share=0.3).choose,
        lambda p, q, _position: 0.3 * p + 0.7 * q,
    ),
    "SWITCH": (switch.Policy(first_threshold=0.03, decay=1.0).choose, switched),
    "SKD": (
        speculative.Policy(
            top=2,
            student_temperature=1.0,
            student_top_p=1.0,
            teacher_temperature=1.0,
            teacher_top_p=1.0,
        ).draft(),
        skd,
    ),
}


@pytest.mark.parametrize("policy", EXACT)
def test_texts_are_distributed_as_the_formula_of_their_policy_says(policy: str) -> None:
    choose, formula = EXACT[policy]
    student, teacher = four_tokens(1), four_tokens(2)
    prompts = [Text(f"example-{index}", PROMPT, [0]) for index in range(TEXTS)]
    models = [student] if policy.startswith("student") else [student, teacher]
    generated = generate(prompts, models, choose, 2, 7, "student")
    counts = np.zeros((FOUR, FOUR))
    for text in generated:
        counts[tuple(text.response_ids)] += 1

    first = formula(next_token(teacher, PROMPT), next_token(student, PROMPT), 0)
    second = [
        formula(next_token(teacher, [*PROMPT, token]), next_token(student, [*PROMPT, token]), 1)
        for token in range(FOUR)
    ]
    expected = TEXTS * first[:, None] * np.stack(second)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    test = chisquare(counts[possible], expected[possible], sum_check=False)
    assert test.pvalue > 0.001
