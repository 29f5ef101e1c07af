"""Texts as token ids, and the padded micro-batches that models read."""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pipeline.signal import Support, Tokens

Author = Literal["gold", "teacher", "student"]


@dataclass(frozen=True)
class Text:
    """A prompt and a response; the response ends with EOS where it ended by itself."""

    example_id: str
    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    author: Author = "gold"
    teacher_tokens: int = 0  # of a text written in training: how many the teacher put there
    ended: bool = True
    log_probs: Sequence[float] = field(default=())  # of the response, under what wrote it

    @property
    def length(self) -> int:
        """Tokens that a model reads: the last one is only predicted."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


def response_digest(text: Text) -> bytes:
    """Eight bytes that tell the response of a text from others."""
    ids = array("q", text.response_ids).tobytes()
    return hashlib.blake2b(ids, digest_size=8).digest()


@dataclass(frozen=True)
class Batch:
    """Texts side by side, padded at the right; tokens are those of the responses, row by row."""

    texts: Sequence[Text]
    input_ids: Int[Tensor, "batch time"]
    attention: Bool[Tensor, "batch time"]
    predicts: Bool[Tensor, "batch time"]  # positions whose next token is of the response
    next_ids: Int[Tensor, " tokens"]
    sequence: Int[Tensor, " tokens"]

    @property
    def token_count(self) -> int:
        """Response tokens in the batch."""
        return sum(len(text.response_ids) for text in self.texts)


def collate(texts: Sequence[Text], device: torch.device) -> Batch:
    """One padded micro-batch. Every text needs a prompt token and a response token."""
    width = max(text.length for text in texts)
    input_ids = torch.zeros(len(texts), width, dtype=torch.long)
    attention = torch.zeros(len(texts), width, dtype=torch.bool)
    predicts = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids = [*text.prompt_ids, *text.response_ids[:-1]]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention[row, : len(ids)] = True
        predicts[row, len(text.prompt_ids) - 1 : len(ids)] = True

    lengths = torch.tensor([len(text.response_ids) for text in texts])
    next_ids = torch.tensor([one for text in texts for one in text.response_ids])
    sequence = torch.arange(len(texts)).repeat_interleave(lengths)
    moved = [one.to(device) for one in (input_ids, attention, predicts, next_ids, sequence)]
    return Batch(list(texts), *moved)


def micro_batches(texts: Sequence[Text], budget: int, device: torch.device) -> Iterator[Batch]:
    """Batches of like length that hold at most `budget` positions, padding counted.

    A text that is longer than the budget stands alone.
    """
    waiting: list[Text] = []
    for text in sorted(texts, key=lambda one: one.length):
        if waiting and (len(waiting) + 1) * text.length > budget:
            yield collate(waiting, device)
            waiting = []
        waiting.append(text)
    if waiting:
        yield collate(waiting, device)


def loss_view(batch: Batch, support: Support, progress: float, state: dict[str, float]) -> Tokens:
    """What a loss may know of the tokens of a batch."""
    counts = torch.tensor([len(text.response_ids) for text in batch.texts])
    student = torch.tensor([text.author == "student" for text in batch.texts])
    missing = float("nan")
    written = [
        one for text in batch.texts for one in text.log_probs or [missing] * len(text.response_ids)
    ]
    device = batch.next_ids.device
    return Tokens(
        target=support.target,
        sequence=batch.sequence,
        by_student=student.repeat_interleave(counts).to(device),
        written_log_probs=torch.tensor(written, device=device),
        dense=support.ids is None,
        progress=progress,
        state=state,
    )
