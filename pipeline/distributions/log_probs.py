"""Next-token log-probabilities of a model on a support.

A support is either the whole vocabulary, or K token ids for each position and one bucket for
"any other token". The bucket keeps both distributions normalised, so a divergence on a support is
a true divergence, and by the data-processing inequality a lower bound of the dense one.
Student and teacher are always compared on the teacher's support, which always includes the
ground-truth next token.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from pipeline.runtime.autograd import once_differentiable
from pipeline.runtime.transfer import to_device

if TYPE_CHECKING:
    from pipeline.distributions.spans import Spans

Logits = Float[Tensor, "tokens vocabulary"]
LogProbs = Float[Tensor, "tokens support"]
PerToken = Float[Tensor, " tokens"]


@dataclass(frozen=True)
class Support:
    """The outcomes that a next-token distribution distinguishes, for each response token."""

    target: Int[Tensor, " tokens"]  # column of the ground-truth next token
    ids: Int[Tensor, "tokens k"] | None = None  # None: all tokens, in the order of the vocabulary

    @property
    def next_ids(self) -> Int[Tensor, " tokens"]:
        """The ground-truth next tokens."""
        return self.target if self.ids is None else self.ids.gather(-1, self.target[:, None])[:, 0]


@dataclass(frozen=True)
class TeacherSignal:
    """A teacher's log-probabilities and their support."""

    log_probs: LogProbs
    support: Support
    top_ids: Int[Tensor, "tokens ranked"] | None = None  # token ids by rank, where requested
    # of a teacher of another vocabulary: rows and layers are of its own tokens, the support of the
    # student's
    spans: "Spans | None" = None
    # hidden states behind them, the last is what the head reads; where they are at hand
    layers: Float[Tensor, "tokens layers width"] | None = None

    def chunk(self, rows: slice) -> "TeacherSignal":
        """The signal at some of the tokens."""
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
    """A teacher's distributions on a batch, computed chunk by chunk when they are asked for.

    As wide as the vocabulary, they would take too much memory all at once.
    """

    def chunk(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens, without gradient."""
        ...


@dataclass(frozen=True)
class TokenContext:
    """Context of the tokens that a loss may use beside the two distributions."""

    target: Int[Tensor, " tokens"]  # column of the ground-truth next token
    sequence: Int[Tensor, " tokens"]  # index of the text that the token belongs to
    lengths: Int[Tensor, " texts"]  # how many of the tokens each text has, in their order
    offsets: Int[Tensor, " longest"]  # 0, 1, .. to the end of the longest text, or beyond
    by_student: Bool[Tensor, " tokens"]  # whether the student generated the text during training
    sampled_log_probs: PerToken  # under the model that sampled a rollout; NaN for fixed texts
    advantages: PerToken  # of the text's reward among those of its prompt; NaN without rewards
    has_solution: Bool[Tensor, " tokens"]  # whether another response to the text's prompt was right
    all_sampled: bool  # whether every text was sampled during training
    dense: bool  # whether the support is the whole vocabulary, so that there is no bucket
    progress: float  # share of the training done, 0 to 1
    state: dict[str, float]  # what the loss carries from step to step
    step_statistics: Float[Tensor, " step_tokens"] | None = None  # of all tokens of the step
    spans: "Spans | None" = None  # for a loss over spans
    reference_log_probs: PerToken | None = None  # under the student before its training

    @property
    def starts(self) -> Int[Tensor, " texts"]:
        """The index of each text's first token."""
        return self.lengths.cumsum(0) - self.lengths


def log_probs_on(logits: Logits, support: Support) -> LogProbs:
    """Log-probabilities on a support, in float32 at least: the one place that computes them."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if support.ids is None:
        return logits.log_softmax(-1)

    if support.ids.shape[-1] == logits.shape[-1]:
        return logits.gather(-1, support.ids).log_softmax(-1)
    return sparse_log_probs(logits, support.ids)


class SparseLogProbs(torch.autograd.Function):
    """Log-probabilities of the tokens of a support, then of all others together.

    For a support S of K ids, and lse the log-sum-exp over all tokens, lse' over those outside S:

        y_i = z_i - lse  for i in S        y_other = lse' - lse

    With the gradients g of y and G their sum over all K + 1 outcomes:

        dz_i = g_i - G exp(z_i - lse)  for i in S
        dz_v = (g_other - G exp(y_other)) exp(z_v - lse')  elsewhere

    exp(z_v - lse') is computed again in the backward pass: beside the logits nothing as wide as the
    vocabulary is kept, which costs an exponential and saves writing and reading as many numbers.
    """

    @staticmethod
    def forward(ctx: BackwardCFunction, logits: Logits, ids: Int[Tensor, "tokens k"]) -> LogProbs:
        """The log-probabilities; `ids` are distinct in each row, and fewer than the vocabulary."""
        inside = logits.gather(-1, ids)
        # one minus the sum of the inside would lose all digits where the rest is small
        outside = logits.scatter(-1, ids, -torch.inf)
        largest = outside.amax(-1, keepdim=True)
        total = largest + outside.sub_(largest).exp_().sum(-1, keepdim=True).log()
        log_probs = torch.cat([inside, total], dim=-1).log_softmax(-1)
        ctx.save_for_backward(logits, ids, total, log_probs)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, *gradients: LogProbs) -> tuple[Logits, None]:
        """The gradient of the logits."""
        (gradient,), (logits, ids, total, log_probs) = gradients, list(ctx.saved_tensors)
        logit_gradient = gradient - gradient.sum(-1, keepdim=True) * log_probs.exp()
        # infinite, maybe, for tokens of the support, whose values are replaced below
        shares = (logits - total).exp_()
        others = shares.mul_(logit_gradient[:, -1:])
        return others.scatter_(-1, ids, logit_gradient[:, :-1]), None


def sparse_log_probs(logits: Logits, ids: Int[Tensor, "tokens k"]) -> LogProbs:
    """Log-probabilities of the tokens in `ids`, then of all others together."""
    return SparseLogProbs.apply(logits, ids)


def target_log_prob(log_probs: LogProbs, target: Int[Tensor, " tokens"]) -> PerToken:
    """The log-probability of the ground-truth next token."""
    return log_probs.gather(-1, target[:, None])[:, 0]


def target_only_support(next_ids: Int[Tensor, " tokens"]) -> Support:
    """The ground-truth next token against all others: enough for likelihoods."""
    return Support(target=torch.zeros_like(next_ids), ids=next_ids[:, None])


def require_whole_vocabulary(tokens: TokenContext) -> None:
    """Raises ValueError where a support lacks some tokens."""
    if not tokens.dense:
        raise ValueError(
            "this loss needs the whole vocabulary; set its method's teacher = 'live', or "
            "teacher_cache.tier = 'hidden'"
        )


def dense(logits: Logits, next_ids: Int[Tensor, " tokens"]) -> TeacherSignal:
    """A signal on the whole vocabulary."""
    support = Support(target=next_ids)
    return TeacherSignal(log_probs_on(logits, support), support)


def top_k(logits: Logits, next_ids: Int[Tensor, " tokens"], k: int) -> TeacherSignal:
    """A signal on the teacher's top K tokens and the bucket.

    The ground-truth next token takes the last place unless it is in the top K.
    """
    ids = logits.topk(k, dim=-1).indices
    in_top_k = (ids == next_ids[:, None]).any(-1)
    ids[:, -1] = torch.where(in_top_k, ids[:, -1], next_ids)
    target = (ids == next_ids[:, None]).int().argmax(-1)

    support = Support(target=target, ids=ids)
    return TeacherSignal(log_probs_on(logits, support), support)
