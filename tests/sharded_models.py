"""Small models of several families, and a training step on a share of their texts."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from pipeline.data.batch import Text, collate
from pipeline.models.language_model import counted_lm_head, response_hidden
from pipeline.models.logit_chunks import logit_chunks
from pipeline.models.lora import attach
from pipeline.models.sharding import whole
from pipeline.models.trainable import trainable_weights
from pipeline.runtime.ranks import Ranks
from pipeline.settings.training import Lora
from pipeline.training.loop import backward_through

VOCABULARY, END = 48, 1
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
    "eos_token_id": END,
    "bos_token_id": END,
    "pad_token_id": END,
}

# one with norms around each part, a scaled embedding, and windows in two layers of three
GEMMA = Gemma3TextConfig(**SIZES, sliding_window=4, sliding_window_pattern=3)
CONFIGS: dict[str, PreTrainedConfig] = {
    "a tied Llama": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "an untied Llama": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "an untied Qwen3": Qwen3Config(**SIZES, tie_word_embeddings=False),
    "a tied Gemma 3": GEMMA,
}

# positions by distance in place of embeddings: not every family decodes texts of unequal lengths
ALIBI = BloomConfig(**SIZES | {"n_layer": 2, "n_head": 2, "initializer_range": 0.3})
TEXTS = [
    Text(
        f"text-{index}",
        [2 + index, 3 + 2 * index, 40 - index],
        [5 + 3 * index, 9, 2 + index, END][index % 3 :],
    )
    for index in range(8)
]
CPU = torch.device("cpu")


def model(config: PreTrainedConfig, lora: bool = False) -> PreTrainedModel:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).double().eval()
    if lora:
        attach(made, Lora(rank=2, alpha=4.0, dropout=0.0, targets=["q_proj", "down_proj"]), 0)
        with torch.no_grad():
            for weight in trainable_weights(made):
                weight.add_(0.1)  # or the gradient of A would be zero
    return made


def backward(student: PreTrainedModel, texts: Sequence[Text], token_count: int) -> float:
    """The mean cross entropy of a step's texts; its gradient by chunks, as the loop has it."""
    batch, total = collate(texts, CPU), 0.0
    chunks = logit_chunks(batch, VOCABULARY, 4 * VOCABULARY)
    assert len(chunks) > 1
    with backward_through(response_hidden(student, batch), chunks) as leaves:
        for rows, hidden in zip(chunks, leaves, strict=True):
            logits = counted_lm_head(student, hidden)
            target = batch.next_ids[rows]
            loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum") / token_count
            loss.backward()
            total += loss.item()
    return total


def gradients(student: PreTrainedModel, share: Callable[[Sequence[Text]], list[Text]]) -> None:
    """Those of two micro-batches of a share of the texts."""
    count = sum(text.target_count for text in TEXTS)
    for micro_batch in (TEXTS[:4], TEXTS[4:]):
        backward(student, share(micro_batch), count)


def by_name(student: PreTrainedModel) -> dict[str, Tensor]:
    return {
        name: weight.grad for name, weight in student.named_parameters() if weight.grad is not None
    }


def average(student: PreTrainedModel) -> None:
    for module in student.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(2.0)


TIED = CONFIGS["a tied Llama"]


def largest_difference(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> float:
    assert expected.keys() <= actual.keys()
    return max(float((expected[name] - actual[name]).abs().max()) for name in expected)


def step(student: PreTrainedModel, optimizer: torch.optim.Optimizer, ranks: Ranks) -> float:
    """A step on a share of the texts; returns the gradient's norm before it was clipped."""
    gradients(student, ranks.share)
    norm = torch.nn.utils.clip_grad_norm_(trainable_weights(student), 0.1)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return whole(norm).item()


def adamw(student: PreTrainedModel) -> torch.optim.AdamW:
    return torch.optim.AdamW(trainable_weights(student), lr=0.01, fused=True)


@dataclass(frozen=True)
class BothInOne(Ranks):
    """One process that does the work of two ranks."""

    def share(self, items: Sequence[Text]) -> list[Text]:
        return [*items[::2], *items[1::2]]


def packed(value: object) -> bytes:
    """The bytes that `torch.save` writes: shared memory would not outlive its process."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()
