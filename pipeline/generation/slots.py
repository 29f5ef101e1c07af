"""The sequences of a batch, each at a position of its own, with storage for their responses.

Nothing here reads a tensor's values on the host, and each tensor keeps its storage: the whole
decoding step can run in a CUDA graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.generation.sampling import (
    UNIFORMS_PER_TOKEN,
    Logits,
    Memory,
    RememberingSampler,
    SampledTokens,
    TokenSampler,
)
from pipeline.runtime import seeding


@dataclass(frozen=True)
class Prompt:
    """A prompt, and the uniform numbers that its response is sampled with."""

    prompt_ids: Sequence[int]
    uniforms: Float[np.ndarray, "time draws"]


@dataclass(frozen=True)
class Response:
    """The generated tokens of a prompt."""

    tokens: list[int]
    log_probs: list[float]
    by_teacher: list[bool]
    discarded_drafts: int = 0  # draft tokens that the models read and that are not in the response


@dataclass(frozen=True)
class Slots:
    """The state of every sequence. A response's last column takes writes of finished sequences."""

    last_token: Int[Tensor, " slots"]  # the next input of the models
    cached: Int[Tensor, " slots"]  # tokens in the models' KV caches
    position: Int[Tensor, " slots"]  # in the response, of the next token to be sampled
    active: Bool[Tensor, " slots"]  # whether the response is still growing
    limit: Int[Tensor, " slots"]  # the most tokens of the response, at most `max_new_tokens`
    discarded_drafts: Int[Tensor, " slots"]
    uniforms: Float[Tensor, "slots time draws"]
    tokens: Int[Tensor, "slots time"]
    log_probs: Float[Tensor, "slots time"]
    by_teacher: Bool[Tensor, "slots time"]
    memory: Memory  # what a sampler carries from token to token

    @classmethod
    def empty(
        cls, count: int, max_new_tokens: int, device: torch.device, memory: int = 0
    ) -> "Slots":
        """Free slots, for responses of up to `max_new_tokens`, with some numbers of memory."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            """Zeros for each slot."""
            return torch.zeros(count, *shape, dtype=dtype, device=device)

        return cls(
            last_token=zeros(),
            cached=zeros(),
            position=zeros(),
            active=zeros(dtype=torch.bool),
            limit=zeros(),
            discarded_drafts=zeros(),
            uniforms=zeros(max_new_tokens + 1, UNIFORMS_PER_TOKEN, dtype=torch.double),
            tokens=zeros(max_new_tokens + 1),
            log_probs=zeros(max_new_tokens + 1, dtype=torch.float),
            by_teacher=zeros(max_new_tokens + 1, dtype=torch.bool),
            memory=zeros(memory, dtype=torch.float),
        )

    @property
    def count(self) -> int:
        """The number of slots, free ones included."""
        return len(self.last_token)

    @property
    def max_new_tokens(self) -> int:
        """The longest response that a slot has storage for."""
        return self.tokens.shape[1] - 1

    def assign(self, rows: Int[Tensor, " new"], prompts: Sequence[Prompt]) -> None:
        """Puts prompts into free slots; their caches hold all but the last token of each.

        All of them may have uniform numbers for fewer tokens than a slot has storage for: that is
        then their limit.
        """
        device = rows.device
        last_tokens = [prompt.prompt_ids[-1] for prompt in prompts]
        self.last_token[rows] = torch.tensor(last_tokens, device=device)
        cached = [len(prompt.prompt_ids) - 1 for prompt in prompts]
        self.cached[rows] = torch.tensor(cached, device=device)
        self.position[rows] = 0
        self.discarded_drafts[rows] = 0
        self.memory[rows] = 0
        self.active[rows] = True
        uniforms = np.stack([prompt.uniforms for prompt in prompts])
        self.limit[rows] = uniforms.shape[1]
        self.uniforms[rows, : uniforms.shape[1]] = torch.from_numpy(uniforms).to(device)

    def uniform(self, ahead: int | Int[Tensor, " slots"] = 0) -> Float[Tensor, "slots draws"]:
        """The uniform numbers for each sequence's next token, or for one `ahead` tokens later."""
        index = (self.position + ahead).clamp(max=self.max_new_tokens)[:, None, None]
        return self.uniforms.gather(1, index.expand(-1, 1, UNIFORMS_PER_TOKEN))[:, 0]

    def sample(
        self, token_sampler: TokenSampler | RememberingSampler, logits: Sequence[Logits]
    ) -> SampledTokens:
        """The next token of each sequence."""
        if not isinstance(token_sampler, RememberingSampler):
            return token_sampler(logits, self.position, self.uniform())
        position, uniform = self.position, self.uniform()
        sampled, memory = token_sampler.choose(logits, position, uniform, self.memory)
        self.memory.copy_(memory)
        return sampled

    def append(
        self, sampled: SampledTokens, among: Bool[Tensor, " slots"], end_ids: Sequence[int]
    ) -> None:
        """Appends a token to the sequences in `among`, which finish at EOS or at their limit."""
        column = torch.where(among, self.position, self.max_new_tokens)[:, None]
        self.tokens.scatter_(1, column, sampled.tokens[:, None])
        self.log_probs.scatter_(1, column, sampled.log_probs[:, None].float())
        self.by_teacher.scatter_(1, column, sampled.by_teacher[:, None])
        self.last_token.copy_(torch.where(among, sampled.tokens, self.last_token))
        self.position.add_(among)
        self.cached.add_(among)
        unfinished = self.position < self.limit
        for end in end_ids:  # numbers, not a tensor: a captured step copies nothing from the host
            unfinished.logical_and_(sampled.tokens != end)
        self.active.logical_and_(unfinished | ~among)

    def responses(self, rows: Int[Tensor, " finished"]) -> list[Response]:
        """The responses in some slots."""
        columns = (self.tokens, self.log_probs, self.by_teacher)
        lists = [
            column[rows].tolist() for column in (self.position, self.discarded_drafts, *columns)
        ]
        return [
            Response(tokens[:length], log_probs[:length], by_teacher[:length], discarded)
            for length, discarded, tokens, log_probs, by_teacher in zip(*lists, strict=True)
        ]

    def select(self, rows: Int[Tensor, " selected"]) -> "Slots":
        """A copy of these slots."""
        return Slots(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def uniforms(seed: int, example_id: str, count: int) -> Float[np.ndarray, "time draws"]:
    """Uniform numbers in [0, 1) for `count` tokens, a function of seed and example id alone."""
    return seeding.uniform(f"{seed}/{example_id}", count, UNIFORMS_PER_TOKEN)
