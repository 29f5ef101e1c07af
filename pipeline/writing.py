"""Text written token by token, with a KV cache for each model that takes part.

One loop serves students, teachers and the interleaved policies: all models advance over the same
tokens in lock step, and a `Choose` decides what comes next. A text draws its randomness from
(seed, example id) alone, so that it does not depend on what else is in its batch.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from pipeline.language_model import head
from pipeline.llama_reader import LlamaReader, can_read
from pipeline.settings.writing import Sampling
from pipeline.signal import of_target
from pipeline.texts import Author, Text
from pipeline.workload import note_writing

BATCH_TOKENS = 16_384  # prompt and response positions held in the KV cache at once
DRAWS = 3  # uniform numbers a token: enough for propose, accept and resample
SHRINK_BELOW = 0.5  # finished texts leave the batch when no more than this share is still written

Logits = Float[Tensor, "batch vocabulary"]


@dataclass(frozen=True)
class Choice:
    """The next token of each text, what it was drawn with, and whether the teacher put it there."""

    tokens: Int[Tensor, " batch"]
    log_probs: Float[Tensor, " batch"]
    by_teacher: Bool[Tensor, " batch"]


# (logits of each model, position in the response, uniform numbers) -> the next tokens
Choose = Callable[[Sequence[Logits], int, Float[Tensor, "batch draws"]], Choice]


@dataclass(frozen=True)
class Responses:
    """Responses side by side as they grow; what lies past a length means nothing."""

    tokens: Int[Tensor, "texts time"]
    log_probs: Float[Tensor, "texts time"]
    by_teacher: Bool[Tensor, "texts time"]
    lengths: Int[Tensor, " texts"]


def draw(
    logits: Logits, uniform: Float[Tensor, " batch"], sampling: Sampling
) -> tuple[Int[Tensor, " batch"], Logits]:
    """Tokens by inverse transform, and the log-probabilities that they were drawn with."""
    log_probs = restricted(logits.float(), sampling)
    if sampling.temperature == 0:
        return log_probs.argmax(-1), log_probs
    cumulative = log_probs.double().exp().cumsum(-1)
    threshold = uniform.double()[:, None] * cumulative[:, -1:]
    tokens = (cumulative <= threshold).sum(-1).clamp(max=logits.shape[-1] - 1)
    return tokens, log_probs


def restricted(logits: Logits, sampling: Sampling) -> Logits:
    """Log-probabilities after temperature, top-k and top-p."""
    log_probs = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
    if sampling.top_k:
        least = log_probs.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < least, -torch.inf).log_softmax(-1)
    if sampling.top_p < 1:
        ordered, order = log_probs.sort(descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # the likeliest token always stays
        dropped = torch.zeros_like(before, dtype=torch.bool)
        dropped.scatter_(-1, order, before >= sampling.top_p)
        log_probs = log_probs.masked_fill(dropped, -torch.inf).log_softmax(-1)
    return log_probs


def sampler(sampling: Sampling) -> Choose:
    """The first model writes alone."""

    def choose(logits: Sequence[Logits], _: int, uniform: Float[Tensor, "batch draws"]) -> Choice:
        tokens, log_probs = draw(logits[0], uniform[:, 0], sampling)
        by_teacher = torch.zeros_like(tokens, dtype=torch.bool)
        return Choice(tokens, of_target(log_probs, tokens), by_teacher)

    return choose


def either(by_teacher: Bool[Tensor, " batch"], student: Choice, teacher: Choice) -> Choice:
    """The teacher's token where it is the teacher's turn, elsewhere the student's."""
    return Choice(
        torch.where(by_teacher, teacher.tokens, student.tokens),
        torch.where(by_teacher, teacher.log_probs, student.log_probs),
        by_teacher,
    )


class Reader:
    """A model and its KV cache, part way through a batch of left-padded texts."""

    def __init__(
        self, model: PreTrainedModel, prompts: Int[Tensor, "batch time"], attention: Tensor
    ):
        self.model = model
        self.cache = DynamicCache(config=model.config)
        self.attention = attention
        self.logits = self._read(prompts, (attention.cumsum(-1) - 1).clamp(min=0))

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Reads one more token of each text."""
        self.attention = torch.cat([self.attention, torch.ones_like(tokens)[:, None]], dim=-1)
        self.logits = self._read(tokens[:, None], self.attention.sum(-1, keepdim=True) - 1)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these texts alone."""
        self.cache.batch_select_indices(rows)
        self.attention = self.attention[rows]
        self.logits = self.logits[rows]

    def _read(self, ids: Int[Tensor, "batch new"], positions: Int[Tensor, "batch new"]) -> Logits:
        body = self.model.base_model(
            input_ids=ids,
            attention_mask=self.attention,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        return head(self.model, body.last_hidden_state[:, -1]).float()


def reader_of(
    model: PreTrainedModel, prompts: Int[Tensor, "batch time"], attention: Tensor, room: int
) -> Reader | LlamaReader:
    """A model that has read the prompts: without transformers' forward where we know its family."""
    if can_read(model):
        return LlamaReader(model, prompts, attention, room)
    return Reader(model, prompts, attention)


@torch.no_grad()
def write(
    texts: Sequence[Text],
    models: Sequence[PreTrainedModel],
    choose: Choose,
    max_new_tokens: int,
    seed: int,
    author: Author,
) -> list[Text]:
    """The prompts of `texts` with new responses, in the same order."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at].prompt_ids))
    answered: dict[int, Text] = {}
    for rows in _groups([len(texts[at].prompt_ids) + max_new_tokens for at in order]):
        places = [order[row] for row in rows]
        group = [texts[at] for at in places]
        responses = _write_batch(group, models, choose, max_new_tokens, seed)
        end = models[0].config.eos_token_id
        answered |= zip(places, _answered(group, responses, author, end), strict=True)
    written = [answered[at] for at in range(len(texts))]
    note_writing(models, written)
    return written


def _answered(
    texts: Sequence[Text], responses: Responses, author: Author, end: int
) -> Iterator[Text]:
    columns = [responses.tokens, responses.log_probs, responses.by_teacher, responses.lengths]
    rows = zip(texts, *(column.tolist() for column in columns), strict=True)
    for text, tokens, log_probs, by_teacher, length in rows:
        yield replace(
            text,
            response_ids=tokens[:length],
            author=author,
            teacher_tokens=sum(by_teacher[:length]),
            ended=tokens[length - 1] == end,
            log_probs=log_probs[:length],
        )


def _groups(lengths: Sequence[int]) -> list[range]:
    """Ranges of rows, in order, each within the token budget when padded to its longest."""
    groups, first = [], 0
    for at, length in enumerate(lengths):
        if (at + 1 - first) * length > BATCH_TOKENS and at > first:
            groups.append(range(first, at))
            first = at
    return [*groups, range(first, len(lengths))] if lengths else []


def _write_batch(
    texts: Sequence[Text],
    models: Sequence[PreTrainedModel],
    choose: Choose,
    max_new_tokens: int,
    seed: int,
) -> Responses:
    device, end = models[0].device, models[0].config.eos_token_id
    prompts, attention = _left_padded([text.prompt_ids for text in texts], device)
    readers = [reader_of(model, prompts, attention, max_new_tokens) for model in models]
    uniforms = torch.stack([_uniforms(seed, text.example_id, max_new_tokens) for text in texts])
    uniforms = uniforms.to(device)
    responses = _empty(len(texts), max_new_tokens, device)

    rows = torch.arange(len(texts), device=device)  # of the texts that the readers still hold
    unended = torch.ones_like(rows, dtype=torch.bool)
    for position in range(max_new_tokens):
        choice = choose([one.logits for one in readers], position, uniforms[rows, position])
        _record(responses, rows, unended, position, choice)
        unended = unended & (choice.tokens != end)
        left, tokens = int(unended.sum()), choice.tokens
        if not left or position + 1 == max_new_tokens:
            break
        if left <= SHRINK_BELOW * len(rows):
            kept = unended.nonzero()[:, 0]
            rows, unended, tokens = rows[kept], unended[kept], tokens[kept]
            for reader in readers:
                reader.keep(kept)
        for reader in readers:
            reader.advance(tokens)
    return responses


def _empty(texts: int, time: int, device: torch.device) -> Responses:
    return Responses(
        tokens=torch.zeros(texts, time, dtype=torch.long, device=device),
        log_probs=torch.zeros(texts, time, device=device),
        by_teacher=torch.zeros(texts, time, dtype=torch.bool, device=device),
        lengths=torch.zeros(texts, dtype=torch.long, device=device),
    )


def _record(
    responses: Responses,
    rows: Int[Tensor, " batch"],
    unended: Bool[Tensor, " batch"],
    position: int,
    choice: Choice,
) -> None:
    responses.tokens[rows, position] = choice.tokens
    responses.log_probs[rows, position] = choice.log_probs
    responses.by_teacher[rows, position] = choice.by_teacher
    responses.lengths[rows] += unended


def _left_padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    attention = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        attention[row, width - len(prompt) :] = 1
    return ids.to(device), attention.to(device)


def _uniforms(seed: int, example_id: str, count: int) -> Float[Tensor, "count draws"]:
    """Uniform numbers in [0, 1) that depend on the seed and the example alone."""
    digest = hashlib.blake2b(f"{seed}/{example_id}".encode(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(digest))
    return torch.from_numpy(generator.random((count, DRAWS)))
