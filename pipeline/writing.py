"""Text written token by token, with a KV cache for each model that takes part.

One loop serves students, teachers and the interleaved policies: all models advance over the same
tokens in lock step, and a `Choose` decides what comes next. A text draws its randomness from
(seed, example id) alone, so that it does not depend on what else is in its batch.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from pipeline.language_model import head
from pipeline.settings.writing import Sampling
from pipeline.texts import Author, Text

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
class Written:
    """A response under way or ended."""

    tokens: list[int]
    log_probs: list[float]
    teacher_tokens: int


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
    """One model writes alone."""

    def choose(logits: Sequence[Logits], _: int, uniform: Float[Tensor, "batch draws"]) -> Choice:
        tokens, log_probs = draw(logits[0], uniform[:, 0], sampling)
        chosen = log_probs.gather(-1, tokens[:, None])[:, 0]
        return Choice(tokens, chosen, torch.zeros_like(tokens, dtype=torch.bool))

    return choose


class Reader:
    """A model and its KV cache, part way through a batch of left-padded texts."""

    def __init__(self, model: PreTrainedModel, prompts: Int[Tensor, "batch time"], attention: Tensor):
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
    responses: dict[int, Text] = {}
    for rows in _groups([len(texts[at].prompt_ids) + max_new_tokens for at in order]):
        group = [order[row] for row in rows]
        chosen = [texts[at] for at in group]
        written = _write_batch(chosen, models, choose, max_new_tokens, seed)
        end = models[0].config.eos_token_id
        for at, text, one in zip(group, chosen, written, strict=True):
            responses[at] = replace(
                text,
                response_ids=one.tokens,
                author=author,
                teacher_tokens=one.teacher_tokens,
                ended=one.tokens[-1] == end,
                log_probs=one.log_probs,
            )
    return [responses[at] for at in range(len(texts))]


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
) -> list[Written]:
    device = models[0].device
    prompts, attention = _left_padded([text.prompt_ids for text in texts], device)
    uniforms = torch.stack([_uniforms(seed, text.example_id, max_new_tokens) for text in texts])
    uniforms = uniforms.to(device)
    readers = [Reader(model, prompts, attention) for model in models]

    written = [Written([], [], 0) for _ in texts]
    alive = torch.arange(len(texts), device=device)
    ended = torch.zeros(len(texts), dtype=torch.bool, device=device)
    for position in range(max_new_tokens):
        logits = [reader.logits for reader in readers]
        choice = choose(logits, position, uniforms[alive, position])
        _record(written, alive[~ended], choice, ~ended)
        ended = ended | (choice.tokens == models[0].config.eos_token_id)
        if ended.all() or position + 1 == max_new_tokens:
            break
        tokens = choice.tokens
        if (~ended).float().mean() <= SHRINK_BELOW:
            rows = (~ended).nonzero()[:, 0]
            alive, ended, tokens = alive[rows], ended[rows], tokens[rows]
            for reader in readers:
                reader.keep(rows)
        for reader in readers:
            reader.advance(tokens)
    return written


def _record(
    written: list[Written], rows: Int[Tensor, " n"], choice: Choice, open_: Bool[Tensor, " batch"]
) -> None:
    values = zip(
        rows.tolist(),
        choice.tokens[open_].tolist(),
        choice.log_probs[open_].tolist(),
        choice.by_teacher[open_].tolist(),
        strict=True,
    )
    for row, token, log_prob, by_teacher in values:
        before = written[row]
        before.tokens.append(token)
        before.log_probs.append(log_prob)
        written[row] = replace(before, teacher_tokens=before.teacher_tokens + by_teacher)


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
