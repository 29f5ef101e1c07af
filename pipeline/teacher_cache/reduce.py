"""What each kind of cache keeps of some tokens' logits: computed where the model is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions import ranking
from pipeline.distributions.log_probs import target_log_prob
from pipeline.distributions.ranking import RANKED, RankedTokens, sort_by_rank
from pipeline.distributions.sampled_targets import sample_signal
from pipeline.runtime import seeding

Kept = Mapping[str, Tensor]  # a row for each token


@dataclass(frozen=True)
class Chunk:
    """Some response tokens of a micro-batch."""

    states: Float[Tensor, "tokens width"]
    logits: Float[Tensor, "tokens vocabulary"]  # in float32; may be overwritten
    next_ids: Int[Tensor, " tokens"]
    uniforms: Float[Tensor, "tokens draws"] | None  # where the teacher is drawn from


def top(values: Float[Tensor, "rows columns"], k: int) -> RankedTokens:
    """The k largest of each row by rank.

    Of equal ones the lowest columns come first; which of them are taken, where not all are among
    the k largest, is not said.
    """
    return sort_by_rank(*values.topk(k, dim=-1))


def likeliest(chunk: Chunk, k: int, top: Callable[[Tensor, int], RankedTokens]) -> Kept:
    """The next token, the k - 1 likeliest others by rank, and all that is left together."""
    logits, next_ids = chunk.logits, chunk.next_ids[:, None]
    target = logits.gather(-1, next_ids)
    others = top(logits.scatter_(-1, next_ids, -torch.inf), k - 1)
    as_likely = (others.values == target) & (others.columns < next_ids)

    # one minus the sum of the kept ones would lose all digits where the rest is small
    rest = _log_sum_exp(logits.scatter_(-1, others.columns, -torch.inf), k < logits.shape[-1])
    total = torch.cat([target, others.values, rest], dim=-1).logsumexp(-1, keepdim=True)
    return {
        "target": (target - total)[:, 0],
        "rank": ((others.values > target) | as_likely).sum(-1),  # of the next token, from 0
        "ids": others.columns.int(),
        "log_probs": others.values - total,
        "other": (rest - total)[:, 0],
    }


def _log_sum_exp(values: Float[Tensor, "rows columns"], finite: bool) -> Float[Tensor, "rows 1"]:
    """As torch has it, in fewer passes: `softmax` is one."""
    greatest = values.amax(-1, keepdim=True)
    return greatest - values.softmax(-1).amax(-1, keepdim=True).log() if finite else greatest


def drawn(chunk: Chunk, draws: int) -> Kept:
    """What comes up when the teacher is drawn from, in some order, and how often."""
    assert chunk.uniforms is not None
    signal = sample_signal(chunk.logits, chunk.next_ids, draws, chunk.uniforms)
    ids = signal.support.ids
    assert ids is not None
    counts = (signal.log_probs[:, : ids.shape[-1]].exp() * draws).round().int()
    log_probs = chunk.logits.log_softmax(-1)
    return {
        "ids": ids.int(),
        "counts": counts,
        "target": target_log_prob(log_probs, chunk.next_ids),
    }


def states(chunk: Chunk) -> Kept:
    """The last hidden state in half precision, which has more digits than bfloat16.

    The likeliest tokens are kept beside it: two that are nearly as likely change places when a
    state is rounded.
    """
    target = target_log_prob(chunk.logits, chunk.next_ids) - chunk.logits.logsumexp(-1)
    likeliest = ranking.likeliest(chunk.logits, RANKED).int()
    return {"states": chunk.states.half(), "target": target, "likeliest": likeliest}


def uniform_numbers(text: Text, draws: int, seed: int) -> Float[Tensor, "tokens draws"]:
    """Uniform numbers in [0, 1) that depend on the seed and the example alone."""
    name = f"cache/{seed}/{text.example_id}"
    return torch.from_numpy(seeding.uniform(name, len(text.response_ids), draws))
