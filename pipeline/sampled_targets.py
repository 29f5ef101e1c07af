"""Teacher signals by sampling: how often each token came up in some draws.

Anshumann, M. A. Zaidi, A. Kedia, et al., 2025. Sparse Logit Sampling: Accelerating Knowledge
Distillation in LLMs (RS-KD). arXiv:2503.16870, known from poster and abstract: 50 draws with
replacement at temperature 1, counts / 50 as targets. Under forward KL the student's gradient is
that of the whole distribution in expectation; the value is not, and no other loss is unbiased.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.signal import Signal, Support


def sampled(
    logits: Float[Tensor, "tokens vocabulary"],
    next_ids: Int[Tensor, " tokens"],
    draws: int,
    uniforms: Float[Tensor, "tokens draws"],
) -> Signal:
    """A signal of counts / draws, on the next token, the drawn tokens and as many as there is room.

    All supports are of draws + 1 tokens, or of the whole vocabulary if that is fewer. What was
    never drawn has probability zero, the bucket too.
    """
    vocabulary = logits.shape[-1]
    cumulative = logits.double().softmax(-1).cumsum(-1)
    thresholds = uniforms.double() * cumulative[:, -1:]  # the sum is not quite 1
    drawn = torch.searchsorted(cumulative, thresholds, right=True).clamp(max=vocabulary - 1)
    counts = torch.zeros_like(logits, dtype=torch.float32)
    counts.scatter_add_(-1, drawn, torch.ones_like(drawn, dtype=torch.float32))

    # the next token first, then what was drawn, then fillers, each of them once
    wanted = counts.scatter(-1, next_ids[:, None], torch.inf)
    ids = wanted.topk(min(draws + 1, vocabulary), dim=-1).indices
    log_probs = (counts.gather(-1, ids) / draws).log()
    if ids.shape[-1] < vocabulary:
        log_probs = torch.cat([log_probs, torch.full_like(log_probs[:, :1], -torch.inf)], dim=-1)
    return Signal(log_probs, Support(target=torch.zeros_like(next_ids), ids=ids))
