"""Reading without a mask: the same numbers, and nothing that a GPU's host would wait for."""

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from pipeline.data.batch import Text, collate
from pipeline.models.attention import unmasked_attention, unmasked_context
from pipeline.models.language_model import default_device, response_hidden

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 5
FAMILIES = {
    "llama": (LlamaConfig, {}, math.inf),
    "gpt2": (GPT2Config, {}, math.inf),
    "opt": (OPTConfig, {"word_embed_proj_dim": 32, "ffn_dim": 48}, math.inf),
    "gpt_neox": (GPTNeoXConfig, {}, math.inf),
    "qwen2": (Qwen2Config, {}, math.inf),
    "mistral": (MistralConfig, {"sliding_window": WINDOW}, WINDOW),
    "gemma3": (Gemma3TextConfig, {"head_dim": 8, "sliding_window": WINDOW}, WINDOW),
    "falcon": (FalconConfig, {}, 0),  # its attention is chosen by names that it knows
}


def made(config: type[PretrainedConfig], options: dict[str, object]) -> PreTrainedModel:
    """A random model."""
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config(**SIZES | options)).eval()


@pytest.mark.parametrize("length", [3, WINDOW, 12])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_hidden_states_are_those_of_attention_with_its_usual_mask(family: str, length: int) -> None:
    config, options, furthest = FAMILIES[family]
    model = made(config, options)
    ids = torch.arange(3 * length).view(3, length) % 60 + 3
    expected = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert unmasked_context(model) == furthest
    with unmasked_attention(model, length):
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert hidden.equal(expected)


@torch.no_grad()
def test_a_mask_is_obeyed_again_after_reading_without_one() -> None:
    model = made(LlamaConfig, {})
    ids = torch.arange(8)[None] + 3
    padded = {"input_ids": ids, "attention_mask": (torch.arange(8) > 3).long()[None]}
    expected = model(**padded).logits
    with unmasked_attention(model, 8):
        pass
    assert model(**padded).logits.equal(expected)


class Waits(TorchDispatchMode):
    """Counts what a GPU would have to finish before the host goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, inputs: tuple[Any, ...] = (), rest: Any = None
    ) -> Any:
        """Runs an operation."""
        waits = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal"}
        self.count += operation.overloadpacket.__name__ in waits
        return operation(*inputs, **rest or {})


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox", "qwen2", "mistral"])
def test_reading_a_batch_makes_the_host_wait_for_nothing(family: str) -> None:
    config, options, _ = FAMILIES[family]
    model = made(config, options)
    batch = collate([Text("a", [4, 5], [6, 7, 2]), Text("b", [4], [6, 2])], CPU)
    unmasked_context(model)  # is measured once
    with Waits() as waits:
        response_hidden(model, batch).sum().backward()
    assert waits.count == 0


def test_attention_by_cudnn_is_off_where_a_device_is_chosen() -> None:
    default_device()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
