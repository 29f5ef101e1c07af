"""Texts side by side, each at a place of its own, with room for their responses.

Nothing here asks what is in a tensor, and each tensor keeps its storage: the whole step can stand
in a CUDA graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.generation.sampling import UNIFORMS_PER_TOKEN, SampledTokens
from pipeline.runtime import seeding


@dataclass(frozen=True)
class Prompt:
    """A prompt, and the uniform numbers that its response is drawn with."""

    prompt_ids: Sequence[int]
    uniforms: Float[np.ndarray, "time draws"]


@dataclass(frozen=True)
class Response:
    """What was written for a prompt."""

    tokens: list[int]
    log_probs: list[float]
    by_teacher: list[bool]
    dropped: int = 0  # tokens that were guessed wrongly: read, and not kept


@dataclass(frozen=True)
class Slots:
    """The texts' states. A response's last column is where those write that have ended."""

    last: Int[Tensor, " slots"]  # the token to be read next
    read: Int[Tensor, " slots"]  # tokens that the models have read
    position: Int[Tensor, " slots"]  # in the response, of the token to be chosen next
    writing: Bool[Tensor, " slots"]
    limit: Int[Tensor, " slots"]  # the most tokens of the response, at most `time`
    dropped: Int[Tensor, " slots"]  # guesses that were read, and not kept
    uniforms: Float[Tensor, "slots time draws"]
    tokens: Int[Tensor, "slots time"]
    log_probs: Float[Tensor, "slots time"]
    by_teacher: Bool[Tensor, "slots time"]

    @classmethod
    def empty(cls, count: int, time: int, device: torch.device) -> "Slots":
        """Slots without texts, for responses of up to `time` tokens."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(count, *shape, dtype=dtype, device=device)

        return cls(
            last=zeros(),
            read=zeros(),
            position=zeros(),
            writing=zeros(dtype=torch.bool),
            limit=zeros(),
            dropped=zeros(),
            uniforms=zeros(time + 1, UNIFORMS_PER_TOKEN, dtype=torch.double),
            tokens=zeros(time + 1),
            log_probs=zeros(time + 1, dtype=torch.float),
            by_teacher=zeros(time + 1, dtype=torch.bool),
        )

    @property
    def count(self) -> int:
        """Slots, with or without a text."""
        return len(self.last)

    @property
    def time(self) -> int:
        """Room for a response, in tokens."""
        return self.tokens.shape[1] - 1

    def begin(self, rows: Int[Tensor, " begun"], asked: Sequence[Prompt]) -> None:
        """Texts whose prompts were read but for their last tokens.

        They may all be given uniforms for fewer tokens than there is room for: that is their limit.
        """
        device = rows.device
        self.last[rows] = torch.tensor([one.prompt_ids[-1] for one in asked], device=device)
        self.read[rows] = torch.tensor([len(one.prompt_ids) - 1 for one in asked], device=device)
        self.position[rows] = 0
        self.dropped[rows] = 0
        self.writing[rows] = True
        uniforms = np.stack([one.uniforms for one in asked])
        self.limit[rows] = uniforms.shape[1]
        self.uniforms[rows, : uniforms.shape[1]] = torch.from_numpy(uniforms).to(device)

    def uniform(self, ahead: int | Int[Tensor, " slots"] = 0) -> Float[Tensor, "slots draws"]:
        """The numbers for each text's next token, or for one so many further on."""
        at = (self.position + ahead).clamp(max=self.time)
        return self.uniforms.gather(1, at[:, None, None].expand(-1, 1, UNIFORMS_PER_TOKEN))[:, 0]

    def take(
        self, choice: SampledTokens, among: Bool[Tensor, " slots"], end_ids: Sequence[int]
    ) -> None:
        """One more token of the texts among these; they stop at an end, or at their limit."""
        at = torch.where(among, self.position, self.time)[:, None]
        self.tokens.scatter_(1, at, choice.tokens[:, None])
        self.log_probs.scatter_(1, at, choice.log_probs[:, None].float())
        self.by_teacher.scatter_(1, at, choice.by_teacher[:, None])
        self.last.copy_(torch.where(among, choice.tokens, self.last))
        self.position.add_(among)
        self.read.add_(among)
        goes_on = self.position < self.limit
        for end in end_ids:  # numbers, not a tensor: a captured step copies nothing from the host
            goes_on.logical_and_(choice.tokens != end)
        self.writing.logical_and_(goes_on | ~among)

    def responses(self, rows: Int[Tensor, " ended"]) -> list[Response]:
        """What stands in some slots."""
        columns = (self.tokens, self.log_probs, self.by_teacher)
        lists = [one[rows].tolist() for one in (self.position, self.dropped, *columns)]
        return [
            Response(tokens[:length], log_probs[:length], by_teacher[:length], dropped)
            for length, dropped, tokens, log_probs, by_teacher in zip(*lists, strict=True)
        ]

    def kept(self, rows: Int[Tensor, " kept"]) -> "Slots":
        """These slots alone, in storage of their own."""
        return Slots(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


def uniforms(seed: int, example_id: str, time: int) -> Float[np.ndarray, "time draws"]:
    """Uniform numbers in [0, 1) that depend on the seed and the example alone."""
    return seeding.uniform(f"{seed}/{example_id}", time, UNIFORMS_PER_TOKEN)
