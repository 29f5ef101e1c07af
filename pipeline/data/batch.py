"""Tokenized texts, and the padded micro-batches that models read."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.artifacts import schemas
from pipeline.distributions.log_probs import PerToken, Support, TokenContext
from pipeline.runtime.transfer import to_device

Author = Literal["gold", "teacher", "student"]


@dataclass(frozen=True)
class Text:
    """A prompt and a response; the response ends with EOS unless it was cut at a length limit."""

    example_id: str
    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    author: Author = "gold"
    teacher_tokens: int = 0  # tokens of a rollout that the teacher generated
    ended: bool = True  # with EOS
    log_probs: Sequence[float] = field(default=())  # of a rollout, under the model that sampled it

    @property
    def length(self) -> int:
        """The number of input tokens: the last token of a text is only predicted."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


def read_texts(path: Path, author: Author = "gold") -> list[Text]:
    """The texts of a tokens file, in its order. Raises ValueError if the file holds none."""
    table = schemas.read(path, schemas.TOKENS)
    if not table.num_rows:
        raise ValueError(f"{path} holds no text; see the counts in {path.parent / 'card.json'}")
    names = ("example_id", "prompt_ids", "response_ids")
    example_ids, prompts, responses = (table.column(name).to_pylist() for name in names)
    rows = zip(example_ids, prompts, responses, strict=True)
    return [Text(*row, author=author) for row in rows]


@dataclass(frozen=True)
class Batch:
    """A right-padded micro-batch; per-token fields hold the response tokens, text after text.

    A causal model never attends to what follows a text, so padding needs no mask.
    """

    texts: Sequence[Text]
    input_ids: Int[Tensor, "batch time"]
    response_positions: Int[Tensor, " tokens"]  # that predict the tokens, in flat batch x time
    next_ids: Int[Tensor, " tokens"]
    sequence: Int[Tensor, " tokens"]  # index of the text that a token belongs to
    lengths: Int[Tensor, " texts"]  # response tokens of each text
    steps: Int[Tensor, " longest"]  # 0, 1, .. to the end of the longest response
    by_student: Bool[Tensor, " tokens"]
    sampled_log_probs: PerToken  # under the model that sampled a rollout; NaN for fixed texts

    @property
    def token_count(self) -> int:
        """The number of response tokens."""
        return sum(len(text.response_ids) for text in self.texts)


def collate(texts: Sequence[Text], device: torch.device) -> Batch:
    """One padded micro-batch. Every text needs a prompt token and a response token."""
    width = max(text.length for text in texts)
    input_ids = torch.zeros(len(texts), width, dtype=torch.long)
    positions = []
    for row, text in enumerate(texts):
        input_ids[row, : text.length] = torch.tensor([*text.prompt_ids, *text.response_ids[:-1]])
        first = row * width + len(text.prompt_ids) - 1
        positions.append(torch.arange(first, first + len(text.response_ids)))

    lengths = torch.tensor([len(text.response_ids) for text in texts])
    by_student = torch.tensor([text.author == "student" for text in texts])
    log_probs = [text.log_probs or [float("nan")] * len(text.response_ids) for text in texts]
    tensors = (
        input_ids,
        torch.cat(positions),
        torch.tensor([id for text in texts for id in text.response_ids]),
        torch.arange(len(texts)).repeat_interleave(lengths),
        lengths,
        torch.arange(max(len(text.response_ids) for text in texts)),
        by_student.repeat_interleave(lengths),
        torch.tensor([value for values in log_probs for value in values]),
    )
    return Batch(list(texts), *(to_device(tensor, device) for tensor in tensors))


def micro_batches(texts: Sequence[Text], max_tokens: int, device: torch.device) -> Iterator[Batch]:
    """Micro-batches of texts of similar length, with at most `max_tokens` positions each.

    Padding counts. A text that is longer than the limit has a micro-batch of its own.
    """
    batch: list[Text] = []
    for text in sorted(texts, key=lambda text: text.length):
        if batch and (len(batch) + 1) * text.length > max_tokens:
            yield collate(batch, device)
            batch = []
        batch.append(text)
    if batch:
        yield collate(batch, device)


def token_context(
    batch: Batch,
    rows: slice,
    support: Support,
    progress: float,
    state: dict[str, float],
    step_statistics: Float[Tensor, " step_tokens"] | None = None,
) -> TokenContext:
    """The context of some tokens of a batch that a loss may use; `support` is theirs."""
    texts = texts_in(batch, rows)
    return TokenContext(
        target=support.target,
        sequence=batch.sequence[rows],
        by_student=batch.by_student[rows],
        lengths=batch.lengths[texts],
        offsets=batch.steps,
        sampled_log_probs=batch.sampled_log_probs[rows],
        all_sampled=all(text.log_probs for text in batch.texts[texts]),
        dense=support.ids is None,
        progress=progress,
        state=state,
        step_statistics=step_statistics,
    )


def texts_in(batch: Batch, rows: slice) -> slice:
    """The range of texts that the response tokens in `rows` belong to."""
    ends = list(accumulate(len(text.response_ids) for text in batch.texts))
    first, end, _ = rows.indices(ends[-1])
    return slice(bisect_right(ends, first), bisect_left(ends, end) + 1)
