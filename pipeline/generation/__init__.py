"""Autoregressive generation for students, teachers, and policies that interleave the two.

`generate` gives prompts new responses. All models that take part read the same tokens, and a
`TokenSampler` chooses the next one. A sequence draws its randomness from (seed, example id) alone,
so that it does not depend on the rest of the batch.

    generate              continuous batching: which prompts share a batch, which one is next
    sampling              the next token, from one model's distribution or several
    slots                 the sequences of a batch, each at a position of its own
    engine                models, KV caches and slots: prefill, decode, collect
    capacity              how many slots a machine has memory for
    kv_cache              where in a KV cache each token belongs
    llama_forward         decoder of Llama and Qwen2, in our own arithmetic
    llama_fused           its single-token step for small models on a CPU
    transformers_forward  decoder of all families whose attention heeds positions, by their forward
    fallback              left-padded batches in lockstep, for every other family
    cuda_graph            the decoding step of a GPU, compiled and captured
    rollouts              what data policies share: new responses for some texts of a step
"""

from pipeline.generation.generate import generate
from pipeline.generation.sampling import (
    AnySampler,
    Logits,
    Memory,
    RememberingSampler,
    SampledTokens,
    SpeculativeSampler,
    TokenSampler,
    from_either,
    sampler,
)

__all__ = [
    "AnySampler",
    "Logits",
    "Memory",
    "RememberingSampler",
    "SampledTokens",
    "SpeculativeSampler",
    "TokenSampler",
    "from_either",
    "generate",
    "sampler",
]
