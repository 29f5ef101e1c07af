"""A model read token by token gives what its own forward gives on the whole text."""

import pytest
import torch
from pipeline.llama_reader import LlamaReader, can_read
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pipeline.adapters import attach

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama with biases and tied embeddings": LlamaConfig(
        **SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "llama with heads of their own size": LlamaConfig(**SHAPE, head_dim=10),
    "llama 3's rotary positions": LlamaConfig(**SHAPE, rope_parameters=LLAMA3),
    "qwen2": Qwen2Config(**SHAPE),
}
LENGTHS = (5, 2, 9, 1)
NEW = 6


def _model(config: LlamaConfig | Qwen2Config) -> PreTrainedModel:
    torch.manual_seed(0)
    kind = LlamaForCausalLM if isinstance(config, LlamaConfig) else Qwen2ForCausalLM
    model = kind(config).eval()
    for weight in model.parameters():  # fresh biases are zero, fresh norms one: of no effect
        weight.data.add_(0.1 * torch.randn_like(weight))
    return model


def _texts(lengths: tuple[int, ...]) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return [torch.randint(0, 97, (length + NEW,), generator=rng) for length in lengths]


def _begin(model: PreTrainedModel, texts: list[torch.Tensor]) -> LlamaReader:
    width = max(len(text) for text in texts) - NEW
    prompts = torch.stack(
        [torch.cat([torch.zeros(width + NEW - len(one)).long(), one[:-NEW]]) for one in texts]
    )
    padding = [width + NEW - len(one) for one in texts]
    attention = torch.stack([(torch.arange(width) >= count).long() for count in padding])
    return LlamaReader(model, prompts, attention, NEW)


def _expected(model: PreTrainedModel, texts: list[torch.Tensor], new: int) -> torch.Tensor:
    return torch.stack([model(one[None, : len(one) - NEW + new]).logits[0, -1] for one in texts])


def _assert_reads(model: PreTrainedModel, lengths: tuple[int, ...]) -> None:
    texts = _texts(lengths)
    reader = _begin(model, texts)
    torch.testing.assert_close(reader.logits, _expected(model, texts, 0), atol=2e-5, rtol=1e-4)
    for new in range(NEW):
        reader.advance(torch.stack([one[len(one) - NEW + new] for one in texts]))
        expected = _expected(model, texts, new + 1)
        torch.testing.assert_close(reader.logits, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_each_token_is_predicted_as_in_the_whole_text(name: str) -> None:
    _assert_reads(_model(CONFIGS[name]), LENGTHS)


@torch.no_grad()
def test_prompts_of_one_length_need_no_mask_and_give_the_same() -> None:
    _assert_reads(_model(CONFIGS["llama"]), (7, 7, 7))


@torch.no_grad()
def test_texts_that_are_kept_go_on_as_before() -> None:
    model, texts = _model(CONFIGS["qwen2"]), _texts(LENGTHS)
    reader = _begin(model, texts)
    reader.advance(torch.stack([one[-NEW] for one in texts]))
    reader.keep(torch.tensor([3, 0]))
    left = [texts[3], texts[0]]
    reader.advance(torch.stack([one[-NEW + 1] for one in left]))
    torch.testing.assert_close(reader.logits, _expected(model, left, 2), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_an_adapter_is_read_with_its_layer() -> None:
    model = _model(CONFIGS["llama"])
    before = _begin(model, _texts(LENGTHS)).logits
    for weight in attach(model, rank=2, scale=1.0, rng=torch.Generator().manual_seed(0)):
        weight.data.add_(0.3)
    assert not torch.allclose(before, _begin(model, _texts(LENGTHS)).logits, atol=1e-2)
    _assert_reads(model, LENGTHS)


@torch.no_grad()
def test_bfloat16_weights_are_read_as_near_as_their_own_forward_is() -> None:
    exact, texts = _model(CONFIGS["llama"]), _texts(LENGTHS)
    expected = _expected(exact, texts, 0)
    model = _model(CONFIGS["llama"]).bfloat16()
    own = (_expected(model, texts, 0) - expected).abs().max()
    read = (_begin(model, texts).logits - expected).abs().max()
    assert read <= 2 * own  # both round at other places


def test_other_arithmetic_is_left_to_transformers() -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 2.0}
    sliding = Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    others = (
        GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=24, n_layer=1, n_head=2)),
        Qwen2ForCausalLM(sliding),
        LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=yarn)),
    )
    assert not any(can_read(model) for model in others)
