"""Small judges and reward models that read a text character by character."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from pipeline.evaluation.judge_model import LocalJudge

TEMPLATE = "{% for m in messages %}<u>{{ m.content }}<a>{% endfor %}"


def characters(*, ten: bool, chat: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each character, and one for 10 or not."""
    texts = ["<end>", "<u>", "<a>", *map(chr, range(10, 127)), *["10"] * ten]
    made = Tokenizer(
        models.BPE({text: index for index, text in enumerate(texts)}, [("1", "0")] * ten)
    )
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<end>", additional_special_tokens=["<u>", "<a>"]
    )
    tokenizer.chat_template = TEMPLATE if chat else None
    return tokenizer


def one_layer(tokenizer: PreTrainedTokenizerFast, **options: int) -> LlamaConfig:
    """The configuration of a Llama of one layer."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.4,
        **options,
    )


def judge(tokenizer: PreTrainedTokenizerFast, positions: int = 400) -> LocalJudge:
    torch.manual_seed(5)
    config = one_layer(tokenizer, max_position_embeddings=positions)
    return LocalJudge("strict", LlamaForCausalLM(config).eval(), tokenizer, 300)


def reward_model(tokenizer: PreTrainedTokenizerFast, labels: int = 1) -> Any:
    torch.manual_seed(2)
    config = one_layer(tokenizer, num_labels=labels, pad_token_id=0)
    return LlamaForSequenceClassification(config).eval()
