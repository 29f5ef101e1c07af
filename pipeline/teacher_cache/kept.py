"""What each kind of cache keeps of some tokens' logits: computed where the model is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline import seeded
from pipeline.sampled_targets import sampled
from pipeline.signal import of_target
from pipeline.texts import Text

Kept = Mapping[str, Tensor]  # a row for each token


@dataclass(frozen=True)
class Chunk:
    """Some response tokens of a micro-batch."""

    states: Float[Tensor, "tokens width"]
    logits: Float[Tensor, "tokens vocabulary"]  # in float32; may be overwritten
    next_ids: Int[Tensor, " tokens"]
    uniforms: Float[Tensor, "tokens draws"] | None  # where the teacher is drawn from


def likeliest(chunk: Chunk, k: int, temperatures: Sequence[float]) -> Kept:
    """The next token, the k - 1 likeliest others, the rest together, and sums over all tokens."""
    log_probs = chunk.logits.log_softmax(-1)
    normalisers = [(log_probs / one).logsumexp(-1) for one in temperatures]
    kept = {
        "entropy": -torch.linalg.vecdot(log_probs.exp(), log_probs),
        "log_normalisers": torch.stack(normalisers, dim=-1) if normalisers else log_probs[:, :0],
        "target": of_target(log_probs, chunk.next_ids),
    }
    log_probs.scatter_(-1, chunk.next_ids[:, None], -torch.inf)
    others = log_probs.topk(k - 1, dim=-1)
    # one minus the sum of the kept ones would lose all digits where the rest is small
    rest = log_probs.scatter_(-1, others.indices, -torch.inf).logsumexp(-1)
    return kept | {"ids": others.indices.int(), "log_probs": others.values, "other": rest}


def drawn(chunk: Chunk, draws: int) -> Kept:
    """What comes up when the teacher is drawn from, in some order, and how often."""
    assert chunk.uniforms is not None
    signal = sampled(chunk.logits, chunk.next_ids, draws, chunk.uniforms)
    ids = signal.support.ids
    assert ids is not None
    counts = (signal.log_probs[:, : ids.shape[-1]].exp() * draws).round().int()
    log_probs = chunk.logits.log_softmax(-1)
    return {
        "ids": ids.int(),
        "counts": counts,
        "target": of_target(log_probs, chunk.next_ids),
    }


def states(chunk: Chunk) -> Kept:
    """The last hidden state in half precision, which has more digits than bfloat16."""
    target = of_target(chunk.logits, chunk.next_ids) - chunk.logits.logsumexp(-1)
    return {"states": chunk.states.half(), "target": target}


def uniform_numbers(text: Text, draws: int, seed: int) -> Float[Tensor, "tokens draws"]:
    """Uniform numbers in [0, 1) that depend on the seed and the example alone."""
    name = f"cache/{seed}/{text.example_id}"
    return torch.from_numpy(seeded.uniform(name, len(text.response_ids), draws))
