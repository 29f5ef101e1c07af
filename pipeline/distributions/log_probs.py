"""What a model says of the next token: log-probabilities on a support.

A support is either the whole vocabulary, or K token ids for each position and one bucket for
"any other token". The bucket keeps both distributions normalised, so a divergence on a support is
a true divergence, and by the data-processing inequality a lower bound of the dense one.
Student and teacher are always compared on the teacher's support, which holds the token that
really comes next.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.distributions.sparse_log_probs import sparse_log_probs
from pipeline.runtime.transfer import to_device

LogProbs = Float[Tensor, "tokens support"]
PerToken = Float[Tensor, " tokens"]


@dataclass(frozen=True)
class Support:
    """The outcomes that a distribution over next tokens tells apart, for each response token."""

    target: Int[Tensor, " tokens"]  # column of the token that really comes next
    ids: Int[Tensor, "tokens k"] | None = None  # None: all tokens, in the order of the vocabulary


@dataclass(frozen=True)
class TeacherSignal:
    """A teacher's log-probabilities, and the support they are on."""

    log_probs: LogProbs
    support: Support
    likeliest: Int[Tensor, "tokens ranked"] | None = None  # token ids by rank, where it was asked

    def part(self, rows: slice) -> "TeacherSignal":
        """The signal of some of the tokens."""
        ids = self.support.ids
        support = Support(self.support.target[rows], None if ids is None else ids[rows])
        return TeacherSignal(self.log_probs[rows], support)

    def to(self, device: torch.device) -> "TeacherSignal":
        """The same signal on a device."""
        ids = self.support.ids
        ids = None if ids is None else to_device(ids, device)
        support = Support(to_device(self.support.target, device), ids)
        return TeacherSignal(to_device(self.log_probs, device), support)


@runtime_checkable
class TeacherDistributions(Protocol):
    """What a teacher says of a batch, asked for part by part.

    Where it is as wide as the vocabulary, it is not made before it is asked for.
    """

    def part(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens, without gradient."""
        ...


@dataclass(frozen=True)
class TokenContext:
    """What a loss may know of the tokens beside the two distributions."""

    target: Int[Tensor, " tokens"]  # column of the token that really comes next
    sequence: Int[Tensor, " tokens"]  # index of the text that the token belongs to
    lengths: Int[Tensor, " texts"]  # how many of the tokens each text has, in their order
    places: Int[Tensor, " longest"]  # 0, 1, .. to the end of the longest text, or beyond
    by_student: Bool[Tensor, " tokens"]  # whether the student wrote the text during training
    written_log_probs: PerToken  # under what the text was written with; NaN for fixed texts
    all_written: bool  # whether every text was written in training
    dense: bool  # whether the support is the whole vocabulary, so that there is no bucket
    progress: float  # share of the training done, 0 to 1
    state: dict[str, float]  # what the loss carries from step to step
    step_scores: Float[Tensor, " step_tokens"] | None = None  # `Loss.score` over the whole step


def log_probs_on(logits: Float[Tensor, "tokens vocabulary"], support: Support) -> LogProbs:
    """Log-probabilities on a support, in float32 at least. The one place they are made."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if support.ids is None:
        return logits.log_softmax(-1)

    if support.ids.shape[-1] == logits.shape[-1]:
        return logits.gather(-1, support.ids).log_softmax(-1)
    return sparse_log_probs(logits, support.ids)


def target_only_support(next_ids: Int[Tensor, " tokens"]) -> Support:
    """The token that really comes next against all others: enough for likelihoods."""
    return Support(target=torch.zeros_like(next_ids), ids=next_ids[:, None])


def dense(
    logits: Float[Tensor, "tokens vocabulary"], next_ids: Int[Tensor, " tokens"]
) -> TeacherSignal:
    """A signal on the whole vocabulary."""
    support = Support(target=next_ids)
    return TeacherSignal(log_probs_on(logits, support), support)


def top_k(
    logits: Float[Tensor, "tokens vocabulary"], next_ids: Int[Tensor, " tokens"], k: int
) -> TeacherSignal:
    """A signal on the k likeliest tokens, the really next one among them, and the bucket.

    The next token takes the last place where it is not among the k likeliest.
    """
    ids = logits.topk(k, dim=-1).indices
    found = (ids == next_ids[:, None]).any(-1)
    ids[:, -1] = torch.where(found, ids[:, -1], next_ids)
    target = (ids == next_ids[:, None]).int().argmax(-1)

    support = Support(target=target, ids=ids)
    return TeacherSignal(log_probs_on(logits, support), support)


def target_log_prob(log_probs: LogProbs, target: Int[Tensor, " tokens"]) -> PerToken:
    """The log-probability of the token that really comes next."""
    return log_probs.gather(-1, target[:, None])[:, 0]
