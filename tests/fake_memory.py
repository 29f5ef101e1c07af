"""What training of a model leaves in a GPU's memory, counted on CUDA tensors without any data.

python fake_memory.py FAMILY..

Prints a JSON object: for each family its shape and the bytes that are held when a forward pass over
a micro-batch has ended: weights, gradients and both moments in float32, weights as bfloat16
autocast has copied them, and all that is kept for the backward pass. It needs no GPU, but a process
of its own: it tells torch that there is a device of CUDA's, on which nothing can be computed.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

TEXTS, LENGTH = 8, 512
ATTENTION = "fused_causal"
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>)
"""
NO_NAMES = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
# GPT-2 base, OPT-350M's width, Pythia-410M, SmolLM2-135M, Qwen2.5-0.5B and two like larger ones
SHAPES = {
    "gpt2": GPT2Config(**NO_NAMES),
    "opt": OPTConfig(
        hidden_size=1024,
        ffn_dim=4096,
        num_attention_heads=16,
        num_hidden_layers=24,
        word_embed_proj_dim=1024,
        **NO_NAMES,
    ),
    "gpt_neox": GPTNeoXConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_attention_heads=16,
        num_hidden_layers=24,
        vocab_size=50_304,
        **NO_NAMES,
    ),
    "llama": LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        num_hidden_layers=30,
        vocab_size=49_152,
        tie_word_embeddings=True,
        **NO_NAMES,
    ),
    "mistral": MistralConfig(
        hidden_size=1024,
        intermediate_size=3584,
        num_attention_heads=16,
        num_key_value_heads=8,
        num_hidden_layers=12,
        **NO_NAMES,
    ),
    "qwen2": Qwen2Config(
        hidden_size=896,
        intermediate_size=4864,
        num_attention_heads=14,
        num_key_value_heads=2,
        num_hidden_layers=24,
        tie_word_embeddings=True,
        **NO_NAMES,
    ),
    "qwen3": Qwen3Config(
        hidden_size=1024,
        intermediate_size=3072,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        num_hidden_layers=28,
        tie_word_embeddings=True,
        **NO_NAMES,
    ),
}


def register_guard() -> None:
    """Lets autograd take note of CUDA tensors where torch has no CUDA."""
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "guard.cpp", Path(folder) / "guard.so"
        source.write_text(GUARD)
        includes = [f"-I{home / path}" for path in ("include", "include/torch/csrc/api/include")]
        command = ["g++", "-std=c++20", "-O0", "-fPIC", "-shared", str(source), "-o", str(library)]
        subprocess.run([*command, *includes, f"-L{home / 'lib'}", "-lc10"], check=True)
        torch.ops.load_library(library)


def fused_causal(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    **_rest: object,
) -> tuple[Tensor, None]:
    """Flash attention, which a GPU would choose; no choice is made where there is none."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    attended = flash(query, key, value, 0.0, True, False, scale=scaling)[0]
    return attended.transpose(1, 2).contiguous(), None


@contextlib.contextmanager
def bfloat16() -> Iterator[None]:
    """CUDA's autocast, which `torch.autocast` turns off where there is no GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def on_fake_gpu(config: PreTrainedConfig) -> PreTrainedModel:
    """A model whose weights say that they are on a GPU."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config).eval()
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.empty_like(weight, device="cuda"))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer, device="cuda")
    model.tie_weights()
    model.set_attn_implementation(ATTENTION)
    return model


def held(config: PreTrainedConfig) -> dict[str, int]:
    """A family's shape and the bytes of a training step between its forward and backward pass."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with FakeTensorMode():
        model = on_fake_gpu(config)
        parameters = sum(weight.numel() for weight in model.parameters())
        weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
        ids = torch.zeros(TEXTS, LENGTH, dtype=torch.long, device="cuda")
        with bfloat16(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.base_model(input_ids=ids, use_cache=False)
        storages = [tensor.untyped_storage() for tensor in kept]
        sizes = {storage._cdata: storage.nbytes() for storage in storages}
        left = sum(size for place, size in sizes.items() if place not in weights)
    return {
        "parameters": parameters,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "vocabulary": config.vocab_size,
        "positions": TEXTS * LENGTH,
        "bytes": 16 * parameters + left,
    }


if __name__ == "__main__":
    register_guard()
    AttentionInterface.register(ATTENTION, fused_causal)
    print(json.dumps({name: held(SHAPES[name]) for name in sys.argv[1:]}))
