"""Tokenized texts, and the padded micro-batches that models read."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import index
from pathlib import Path
from typing import Literal, SupportsIndex, overload

import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.artifacts import schemas
from pipeline.distributions.log_probs import PerToken, Support, TokenContext
from pipeline.runtime.transfer import to_device

UNKNOWN = float("nan")  # what a text doesn't have, at each of its tokens
Author = Literal["gold", "teacher", "student"]


@dataclass(frozen=True)
class Text:
    """A prompt and a response; the response ends with EOS unless it was cut at a length limit.

    A prompt of several turns may hold earlier answers that are trained on, too. Its targets are
    these answers and the response: the tokens that losses, measures and caches are about.
    """

    example_id: str
    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    author: Author = "gold"
    # which tokens of a rollout the teacher generated; empty: none
    by_teacher: Sequence[bool] = field(default_factory=list)
    ended: bool = True  # with EOS
    log_probs: Sequence[float] = field(default=())  # of a rollout, under the model that sampled it
    reward: float | None = None  # of a rollout whose answer was checked
    advantage: float | None = None  # of that reward among those of its prompt
    solution: Sequence[int] | None = None  # another response to its prompt, where one was right
    earlier: Sequence[tuple[int, int]] = ()  # first and end in the prompt of answers trained on

    @property
    def length(self) -> int:
        """The number of input tokens: the last token of a text is only predicted."""
        return len(self.prompt_ids) + len(self.response_ids) - 1

    @property
    def teacher_tokens(self) -> int:
        """The number of tokens of a rollout that the teacher generated."""
        return sum(self.by_teacher)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and end of the targets, in prompt and response together."""
        prompt = len(self.prompt_ids)
        return [*self.earlier, (prompt, prompt + len(self.response_ids))]

    @property
    def target_count(self) -> int:
        """The number of targets."""
        return sum(end - first for first, end in self.spans)

    @property
    def target_ids(self) -> Sequence[int]:
        """The targets in the order of the text."""
        before = [id for first, end in self.earlier for id in self.prompt_ids[first:end]]
        return [*before, *self.response_ids] if before else self.response_ids


@dataclass(frozen=True)
class StoredTexts(Sequence[Text]):
    """The texts of a table of tokens, each made when it is asked for."""

    table: pa.Table
    author: Author = "gold"

    def __len__(self) -> int:
        """The number of texts."""
        return self.table.num_rows

    @overload
    def __getitem__(self, place: SupportsIndex) -> Text: ...

    @overload
    def __getitem__(self, place: slice) -> "StoredTexts": ...

    def __getitem__(self, place: SupportsIndex | slice) -> "Text | StoredTexts":
        """The text at a place, or the texts of a range."""
        if isinstance(place, slice):
            first, end, _ = place.indices(len(self))
            return StoredTexts(self.table.slice(first, max(0, end - first)), self.author)
        name, *lists = [column[index(place)] for column in self.table.columns]
        prompt, response, *spans = [ids.values.to_numpy().tolist() for ids in lists]
        bounds = spans[0] if spans else []  # of a chat's earlier answers
        earlier = tuple(zip(bounds[::2], bounds[1::2], strict=True))
        return Text(name.as_py(), prompt, response, author=self.author, earlier=earlier)


def read_texts(path: Path, author: Author = "gold") -> StoredTexts:
    """The texts of a tokens file, in its order. Raises ValueError if the file holds none."""
    return read_all_texts([path], author)


def read_all_texts(paths: Sequence[Path], author: Author) -> StoredTexts:
    """The texts of tokens files, one file after the other; ValueError if one holds none."""
    tables = [schemas.read_mapped(path, schemas.TOKENS) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if not table.num_rows:
            raise ValueError(f"{path} holds no text; see the counts in {path.parent / 'card.json'}")
    return StoredTexts(pa.concat_tables(tables), author)


@dataclass(frozen=True)
class Batch:
    """A right-padded micro-batch; per-token fields hold the targets, text after text.

    A causal model never attends to what follows a text, so padding needs no mask.
    """

    texts: Sequence[Text]
    input_ids: Int[Tensor, "batch time"]
    response_positions: Int[Tensor, " tokens"]  # that predict the tokens, in flat batch x time
    next_ids: Int[Tensor, " tokens"]
    sequence: Int[Tensor, " tokens"]  # index of the text that a token belongs to
    lengths: Int[Tensor, " texts"]  # targets of each text
    steps: Int[Tensor, " longest"]  # 0, 1, .. to the end of the most targets of a text
    by_student: Bool[Tensor, " tokens"]
    sampled_log_probs: PerToken  # under the model that sampled a rollout; NaN for fixed texts
    advantages: PerToken  # of the text's reward; NaN without rewards
    has_solution: Bool[Tensor, " tokens"]  # whether another response to the prompt was right
    reference_log_probs: PerToken | None = None  # under a reference model, where a loss needs one

    @property
    def token_count(self) -> int:
        """The number of targets."""
        return sum(text.target_count for text in self.texts)


def collate(texts: Sequence[Text], device: torch.device) -> Batch:
    """One padded micro-batch. Every text needs a prompt token and a response token."""
    width = max(text.length for text in texts)
    input_ids = torch.zeros(len(texts), width, dtype=torch.long)
    positions = []
    for row, text in enumerate(texts):
        input_ids[row, : text.length] = torch.tensor([*text.prompt_ids, *text.response_ids[:-1]])
        before = row * width - 1  # a token is predicted at the place before its own
        positions += [torch.arange(before + first, before + end) for first, end in text.spans]

    lengths = torch.tensor([text.target_count for text in texts])
    by_student = torch.tensor([text.author == "student" for text in texts])
    advantages = torch.tensor(
        [UNKNOWN if text.advantage is None else text.advantage for text in texts]
    )
    has_solution = torch.tensor([text.solution is not None for text in texts])
    log_probs = [text.log_probs or [UNKNOWN] * text.target_count for text in texts]
    tensors = (
        input_ids,
        torch.cat(positions),
        torch.tensor([id for text in texts for id in text.target_ids]),
        torch.arange(len(texts)).repeat_interleave(lengths),
        lengths,
        torch.arange(max(text.target_count for text in texts)),
        by_student.repeat_interleave(lengths),
        torch.tensor([value for values in log_probs for value in values]),
        advantages.repeat_interleave(lengths),
        has_solution.repeat_interleave(lengths),
    )
    return Batch(list(texts), *(to_device(tensor, device) for tensor in tensors))


def micro_batches(texts: Sequence[Text], max_tokens: int, device: torch.device) -> Iterator[Batch]:
    """Micro-batches of texts of similar length, with at most `max_tokens` positions each.

    Padding counts. A text that is longer than the limit has a micro-batch of its own.
    """
    ordered = by_length(texts)
    for part in cuts(ordered, max_tokens):
        yield collate(ordered[part], device)


def by_length(texts: Sequence[Text]) -> list[Text]:
    """The texts, the shortest first."""
    return sorted(texts, key=lambda text: text.length)


def cuts(ordered: Sequence[Text], max_tokens: int) -> list[slice]:
    """The ranges of texts, of which the shortest come first, that make a micro-batch each."""
    parts, first = [], 0
    for place, text in enumerate(ordered):
        if place > first and (place - first + 1) * text.length > max_tokens:
            parts.append(slice(first, place))
            first = place
    return [*parts, slice(first, len(ordered))] if ordered else []


def token_context(
    batch: Batch,
    rows: slice,
    support: Support,
    progress: float,
    state: dict[str, float],
    step_statistics: Float[Tensor, " step_tokens"] | None = None,
) -> TokenContext:
    """The context of some tokens of a batch that a loss may use; `support` is theirs."""
    texts, reference = texts_in(batch, rows), batch.reference_log_probs
    return TokenContext(
        target=support.target,
        sequence=batch.sequence[rows],
        by_student=batch.by_student[rows],
        lengths=batch.lengths[texts],
        offsets=batch.steps,
        sampled_log_probs=batch.sampled_log_probs[rows],
        advantages=batch.advantages[rows],
        has_solution=batch.has_solution[rows],
        all_sampled=all(text.log_probs for text in batch.texts[texts]),
        dense=support.ids is None,
        progress=progress,
        state=state,
        step_statistics=step_statistics,
        reference_log_probs=None if reference is None else reference[rows],
    )


def texts_in(batch: Batch, rows: slice) -> slice:
    """The range of texts that the targets in `rows` belong to."""
    ends = list(accumulate(text.target_count for text in batch.texts))
    first, end, _ = rows.indices(ends[-1])
    return slice(bisect_right(ends, first), bisect_left(ends, end) + 1)
