"""Models of fresh weights in sizes that are worth timing, and texts for them to read."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from pipeline.texts import Text


@dataclass(frozen=True)
class Shape:
    """The size of a Llama."""

    vocabulary: int
    width: int
    feed_forward: int
    layers: int
    heads: int
    shared_heads: int  # of keys and values


SHAPES = {
    # those of config.yaml
    "narrow": Shape(2048, 48, 128, 1, 2, 2),
    "wide": Shape(2048, 80, 208, 1, 2, 2),
    "base": Shape(2048, 128, 336, 1, 4, 4),
    "large": Shape(2048, 160, 432, 2, 5, 5),
    # SmolLM2's
    "135m": Shape(49_152, 576, 1536, 30, 9, 3),
    "360m": Shape(49_152, 960, 2560, 32, 15, 5),
}


def model(name: str, device: torch.device, seed: int, dtype: torch.dtype) -> PreTrainedModel:
    """Fresh weights in one of the sizes. No token ends a text."""
    shape = SHAPES[name]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.shared_heads,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    made = LlamaForCausalLM(config).to(device=device, dtype=dtype).eval()
    made.config.eos_token_id = -1
    return made


def prompts(count: int, length: int, vocabulary: int) -> list[Text]:
    """Texts of random tokens, all of one length: no batch has padding."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(1, vocabulary, (count, length), generator=rng).tolist()
    return [Text(f"text-{at}", one, [0]) for at, one in enumerate(ids)]
