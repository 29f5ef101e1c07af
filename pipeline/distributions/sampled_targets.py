"""Teacher signals by sampling: how often each token came up in some draws.

Anshumann, M. A. Zaidi, A. Kedia, et al., 2025. Sparse Logit Sampling: Accelerating Knowledge
Distillation in LLMs (RS-KD). arXiv:2503.16870, known from poster and abstract: 50 draws with
replacement at temperature 1, counts / 50 as targets. Under forward KL the student's gradient is
that of the whole distribution in expectation; the value is not, and no other loss is unbiased.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.log_probs import Support, TeacherSignal


def sample_signal(
    logits: Float[Tensor, "tokens vocabulary"],
    next_ids: Int[Tensor, " tokens"],
    draws: int,
    uniforms: Float[Tensor, "tokens draws"],
) -> TeacherSignal:
    """A signal of counts / draws, on the next token, the drawn tokens and as many as there is room.

    All supports are of draws + 1 tokens, or of the whole vocabulary if that is fewer. What was
    never drawn has probability zero, the bucket too.
    """
    vocabulary = logits.shape[-1]
    counts = _counts(logits.double().softmax(-1), uniforms).float()

    # the next token first, then what was drawn, then fillers, each of them once
    wanted = counts.scatter(-1, next_ids[:, None], torch.inf)
    ids = wanted.topk(min(draws + 1, vocabulary), dim=-1).indices
    log_probs = (counts.gather(-1, ids) / draws).log()
    if ids.shape[-1] < vocabulary:
        log_probs = torch.cat([log_probs, torch.full_like(log_probs[:, :1], -torch.inf)], dim=-1)
    return TeacherSignal(log_probs, Support(target=torch.zeros_like(next_ids), ids=ids))


def redraw(signal: TeacherSignal, uniforms: Float[Tensor, "tokens draws"]) -> TeacherSignal:
    """Counts / draws of a signal's own outcomes, on its support; a bucket is drawn like a token."""
    counts = _counts(signal.log_probs.double().exp(), uniforms).to(signal.log_probs.dtype)
    return replace(signal, log_probs=(counts / uniforms.shape[-1]).log())


def _counts(
    probabilities: Float[Tensor, "tokens outcomes"], uniforms: Float[Tensor, "tokens draws"]
) -> Int[Tensor, "tokens outcomes"]:
    """How often each outcome is drawn."""
    cumulative = probabilities.cumsum(-1)
    thresholds = uniforms.double() * cumulative[:, -1:]  # the sum is not quite 1
    last = cumulative.shape[-1] - 1
    samples = torch.searchsorted(cumulative, thresholds, right=True).clamp(max=last)
    counts = torch.zeros_like(cumulative, dtype=torch.int64)
    return counts.scatter_add_(-1, samples, torch.ones_like(samples))


def signal_from_counts(
    ids: Int[Tensor, "tokens drawn"],
    counts: Float[Tensor, "tokens drawn"],
    next_ids: Int[Tensor, " tokens"],
    draws: int,
    vocabulary: int,
) -> TeacherSignal:
    """The signal of `sample_signal` from the drawn ids and counts alone; missing draws are -1.

    Fillers may be other tokens than there: they have no probability, and the support is as large.
    """
    width = min(draws + 1, vocabulary)
    candidates = torch.arange(min(width + 1, vocabulary), device=ids.device).expand(len(ids), -1)
    is_next = ids == next_ids[:, None]
    # the last column takes ids that are not candidates
    outside = len(candidates[0])
    seen = torch.zeros(len(ids), outside + 1, dtype=torch.bool, device=ids.device)
    for taken in (ids, next_ids[:, None]):
        seen.scatter_(-1, taken.where((taken >= 0) & (taken < outside), outside), True)

    usable = torch.cat([(ids >= 0) & ~is_next, ~seen[:, :-1]], dim=-1)
    chosen = usable.int().argsort(dim=-1, descending=True, stable=True)[:, : width - 1]
    others = torch.cat([ids, candidates], dim=-1).gather(-1, chosen)
    padded = torch.cat([counts, torch.zeros_like(candidates, dtype=counts.dtype)], dim=-1)
    target_counts = (counts * is_next).sum(-1, keepdim=True)
    log_probs = (torch.cat([target_counts, padded.gather(-1, chosen)], dim=-1) / draws).log()
    if width < vocabulary:
        log_probs = torch.cat([log_probs, torch.full_like(target_counts, -torch.inf)], dim=-1)
    support = Support(torch.zeros_like(next_ids), torch.cat([next_ids[:, None], others], dim=-1))
    return TeacherSignal(log_probs, support)
