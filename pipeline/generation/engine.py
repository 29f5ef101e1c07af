"""A generation engine: models, their KV caches, and the slots of the sequences that they extend."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from pipeline.generation import llama_forward, transformers_forward
from pipeline.generation.cuda_graph import COMPILED_VARIANTS, Bf16Weights, capture_cuda_graph
from pipeline.generation.sampling import (
    AnySampler,
    SampledTokens,
    SpeculativeSampler,
    memory_size,
    select_teacher_or_student,
)
from pipeline.generation.slots import Prompt, Response, Slots
from pipeline.models.language_model import end_ids
from pipeline.models.sharding import is_sharded

SIMILAR_LENGTH = 0.75  # of the longest prompt: the shortest that is prefilled with it
GPU_PREFILL_TOKENS = 16_384  # of the prompts in one forward pass, on a GPU
CPU_PREFILL_NUMBERS = 2**17  # of hidden states in one forward pass, to fit a CPU's own caches
LENGTH_GRAIN = 64  # lengths of a GPU's slots are multiples of it, as some kernels want
GPU_STEPS = 8  # decoding steps of a GPU between two checks for finished sequences


@runtime_checkable
class Decoder(Protocol):
    """A model with the KV caches of the sequences in all slots."""

    def prefill(self, rows: Int[Tensor, " new_rows"], ids: Int[Tensor, "new_rows width"]) -> None:
        """Fills the caches of some slots with the first tokens of sequences."""
        ...

    def decode(
        self, ids: Int[Tensor, "slots new"], cached: Int[Tensor, " slots"], visible: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all sequences.

        `cached` tokens of each come before them; no cache is read beyond `visible` positions.
        """
        ...

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Continues with these slots alone."""
        ...


def supports_ragged_batches(model: PreTrainedModel) -> bool:
    """Whether the model can decode sequences at different positions side by side."""
    return llama_forward.is_supported(model) or transformers_forward.is_supported(model)


@dataclass(frozen=True)
class EngineSize:
    """The sizes of an engine."""

    slots: int
    length: int  # of a slot: prompt and response
    max_new_tokens: int

    def fits(self, other: "EngineSize") -> bool:
        """Whether anything that fits into an engine of the other size fits into this one."""
        return (
            self.slots >= other.slots
            and self.length >= other.length
            and self.max_new_tokens >= other.max_new_tokens
        )


class GenerationEngine:
    """Slots for sequences, and the decoders that extend them."""

    def __init__(
        self, models: Sequence[PreTrainedModel], token_sampler: AnySampler, size: EngineSize
    ):
        self.token_sampler, self.size, self.device = token_sampler, size, models[0].device
        self.end_ids = end_ids(models[0])
        width = max(model.config.hidden_size for model in models)
        self.prefill_tokens = GPU_PREFILL_TOKENS if self.on_gpu else CPU_PREFILL_NUMBERS // width
        # drafts may go beyond the end of a sequence
        self.length = size.length + LENGTH_GRAIN * (tokens_per_step(token_sampler) > 1)
        memory = memory_size(token_sampler)
        self.slots = Slots.empty(size.slots, size.max_new_tokens, self.device, memory)
        # the weights of a sharded model come and go, in passes that its ranks make together
        is_captured = self.on_gpu and not any(map(is_sharded, models))
        self.bf16_weights = [Bf16Weights(model) for model in models] if is_captured else []
        own_models = [weights.model for weights in self.bf16_weights] or models
        self.decoders = [self._decoder(model) for model in own_models]
        # not `replay or _step` once and for all: an engine that refers to itself outlives its user
        self.replay = capture_cuda_graph(self._step, self._compile) if is_captured else None

    @property
    def on_gpu(self) -> bool:
        """Whether the decoding step is a CUDA graph, if it can be captured."""
        return self.device.type == "cuda"

    def add(self, rows: Sequence[int], prompts: Sequence[Prompt]) -> None:
        """Puts prompts into free slots and prefills their caches; the longest prompt is first."""
        indices = torch.tensor(rows, device=self.device)
        self.slots.assign(indices, prompts)
        prefixes = [prompt.prompt_ids[:-1] for prompt in prompts]  # the last token starts decoding
        lengths = [len(prefix) for prefix in prefixes]
        for group in length_buckets(lengths, SIMILAR_LENGTH, self.prefill_tokens):
            if lengths[group.start]:
                ids = _right_padded(prefixes[group.start : group.stop], self.device)
                for decoder in self.decoders:
                    decoder.prefill(indices[group.start : group.stop], ids)

    def advance(self) -> list[bool]:
        """Generates more tokens in all slots; returns which slots are still active."""
        for _ in range(GPU_STEPS if self.on_gpu else 1):
            (self.replay or self._step)()
        return self.slots.active.tolist()

    def responses(self, rows: Sequence[int]) -> list[Response]:
        """The responses in some slots."""
        return self.slots.responses(torch.tensor(rows, device=self.device))

    def select(self, rows: Sequence[int]) -> None:
        """Continues with these slots alone. Not for a captured step, whose storage is fixed."""
        indices = torch.tensor(rows, device=self.device)
        self.slots = self.slots.select(indices)
        for decoder in self.decoders:
            decoder.select(indices)

    def reset(self) -> None:
        """Frees all slots and takes over the models' current weights."""
        self.slots.active.zero_()
        for weights in self.bf16_weights:
            weights.refresh()

    def _decoder(self, model: PreTrainedModel) -> Decoder:
        kind = (
            llama_forward.LlamaDecoder
            if llama_forward.is_supported(model)
            else transformers_forward.TransformersDecoder
        )
        dtype = torch.bfloat16 if self.on_gpu else model.dtype
        return kind(model, self.slots.count, self.length, dtype)

    def _compile(self, wanted: bool) -> None:
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, COMPILED_VARIANTS)
        eager = llama_forward.decoder_layer
        for decoder in self.decoders:
            if isinstance(decoder, llama_forward.LlamaDecoder):
                decoder.decode_layer = torch.compile(eager) if wanted else eager

    def _step(self) -> None:
        visible, slots = self.length, self.slots
        if not self.on_gpu:
            visible = int((slots.cached * slots.active).max()) + tokens_per_step(self.token_sampler)
        generate_step(self.decoders, self.token_sampler, slots, visible, self.end_ids)


def tokens_per_step(token_sampler: AnySampler) -> int:
    """The most tokens that one decoding step appends to a sequence."""
    return token_sampler.draft_tokens if isinstance(token_sampler, SpeculativeSampler) else 1


def generate_step(
    decoders: Sequence[Decoder],
    token_sampler: AnySampler,
    slots: Slots,
    visible: int,
    end_ids: Sequence[int],
) -> None:
    """Appends a token to every active sequence, or as many as a draft has before a rejection."""
    if isinstance(token_sampler, SpeculativeSampler):
        _speculative_step(decoders, token_sampler, slots, visible, end_ids)
        return
    last = slots.last_token[:, None]
    logits = [decoder.decode(last, slots.cached, visible)[:, 0] for decoder in decoders]
    slots.append(slots.sample(token_sampler, logits), slots.active, end_ids)


def _speculative_step(
    decoders: Sequence[Decoder],
    token_sampler: SpeculativeSampler,
    slots: Slots,
    visible: int,
    end_ids: Sequence[int],
) -> None:
    """The first model drafts token by token; the second checks the whole draft in one pass.

    Both caches then extend beyond a rejected token; `slots.cached` stops there, so that the rest
    is overwritten.
    """
    student, teacher = decoders
    drafts = _draft(student, token_sampler, slots, visible)
    draft_ids = torch.stack([draft.tokens for draft in drafts], dim=1)
    inputs = torch.cat([slots.last_token[:, None], draft_ids[:, :-1]], dim=1)
    logits = teacher.decode(inputs, slots.cached, visible)
    ahead = torch.arange(token_sampler.draft_tokens, device=inputs.device)
    positions = (slots.position[:, None] + ahead).flatten()
    rejected = token_sampler.reject(draft_ids.flatten(), logits.flatten(0, 1), positions)
    rejected = rejected.view_as(inputs)
    # whatever follows the first rejected token is discarded: only that one is resampled
    first = (rejected.cumsum(1) == 0).sum(1).clamp(max=token_sampler.draft_tokens - 1)
    logits_there = logits.take_along_dim(first[:, None, None], 1)[:, 0]
    resampled = token_sampler.resample(
        [logits_there], slots.position + first, slots.uniform(first)[:, 1:]
    )

    among, cached_before = slots.active.clone(), slots.cached.clone()
    slots.discarded_drafts.add_(among * token_sampler.draft_tokens)
    for index, draft in enumerate(drafts):
        chosen = select_teacher_or_student(rejected[:, index], draft, resampled)
        slots.append(chosen, among, end_ids)
        among = among & slots.active & ~rejected[:, index]
    slots.discarded_drafts.sub_(slots.cached - cached_before)


def _draft(
    student: Decoder, token_sampler: SpeculativeSampler, slots: Slots, visible: int
) -> list[SampledTokens]:
    """The next tokens that the first model proposes, each as if all before it were accepted."""
    last, drafts = slots.last_token, []
    for ahead in range(token_sampler.draft_tokens):
        logits = student.decode(last[:, None], slots.cached + ahead, visible)[:, 0]
        uniform = slots.uniform(ahead)
        drafts.append(token_sampler.propose([logits], slots.position + ahead, uniform))
        last = drafts[-1].tokens
    return drafts


def length_buckets(lengths: Sequence[int], share: float, budget: float) -> Iterator[range]:
    """Ranges of descending lengths, each at least a share of its first and padded within a budget.

    A length above the budget has a range of its own.
    """
    first = 0
    for index, length in enumerate(lengths):
        padded = (index + 1 - first) * lengths[first]
        if index > first and (length < share * lengths[first] or padded > budget):
            yield range(first, index)
            first = index
    if lengths:
        yield range(first, len(lengths))


def _right_padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> Int[Tensor, "batch time"]:
    rows = [torch.tensor(prompt, dtype=torch.long) for prompt in prompts]
    return pad_sequence(rows, batch_first=True).to(device)
