"""Texts as token ids, and the padded micro-batches that models read."""

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pipeline.distributions.log_probs import PerToken, Support, TokenContext
from pipeline.runtime.transfer import to_device

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
    """Texts side by side, padded at the right; tokens are those of the responses, row by row.

    What follows a text is never seen by a causal model, so that padding needs no mask.
    """

    texts: Sequence[Text]
    input_ids: Int[Tensor, "batch time"]
    places: Int[Tensor, " tokens"]  # that predict the tokens, in batch x time laid out flat
    next_ids: Int[Tensor, " tokens"]
    sequence: Int[Tensor, " tokens"]  # which of the texts a token belongs to
    lengths: Int[Tensor, " texts"]  # tokens of each text's response
    text_places: Int[Tensor, " longest"]  # 0, 1, .. to the end of the longest response
    by_student: Bool[Tensor, " tokens"]
    written_log_probs: PerToken  # under what the text was written with; NaN for fixed texts

    @property
    def token_count(self) -> int:
        """Response tokens in the batch."""
        return sum(len(text.response_ids) for text in self.texts)


def collate(texts: Sequence[Text], device: torch.device) -> Batch:
    """One padded micro-batch. Every text needs a prompt token and a response token."""
    width = max(text.length for text in texts)
    input_ids = torch.zeros(len(texts), width, dtype=torch.long)
    places = []
    for row, text in enumerate(texts):
        input_ids[row, : text.length] = torch.tensor([*text.prompt_ids, *text.response_ids[:-1]])
        first = row * width + len(text.prompt_ids) - 1
        places.append(torch.arange(first, first + len(text.response_ids)))

    lengths = torch.tensor([len(text.response_ids) for text in texts])
    by_student = torch.tensor([text.author == "student" for text in texts])
    tensors = (
        input_ids,
        torch.cat(places),
        torch.tensor([one for text in texts for one in text.response_ids]),
        torch.arange(len(texts)).repeat_interleave(lengths),
        lengths,
        torch.arange(max(len(text.response_ids) for text in texts)),
        by_student.repeat_interleave(lengths),
        torch.tensor([one for text in texts for one in _written_log_probs(text)]),
    )
    return Batch(list(texts), *(to_device(one, device) for one in tensors))


def _written_log_probs(text: Text) -> Sequence[float]:
    return text.log_probs or [float("nan")] * len(text.response_ids)


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


def token_context(
    batch: Batch, rows: slice, support: Support, progress: float, state: dict[str, float]
) -> TokenContext:
    """What a loss may know of the tokens of some texts of a batch, whose support is given."""
    own = texts_of(batch, rows)
    return TokenContext(
        target=support.target,
        sequence=batch.sequence[rows],
        by_student=batch.by_student[rows],
        lengths=batch.lengths[own],
        places=batch.text_places,
        written_log_probs=batch.written_log_probs[rows],
        all_written=all(text.log_probs for text in batch.texts[own]),
        dense=support.ids is None,
        progress=progress,
        state=state,
    )


def texts_of(batch: Batch, rows: slice) -> slice:
    """The texts whose tokens these are."""
    ends = list(accumulate(len(text.response_ids) for text in batch.texts))
    first, end, _ = rows.indices(ends[-1])
    return slice(bisect_right(ends, first), bisect_left(ends, end) + 1)
