"""How the next token of each text is chosen: from one model's distribution, or from several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pipeline.distributions.log_probs import target_log_prob
from pipeline.settings.generation import Sampling

UNIFORMS_PER_TOKEN = 3  # uniform numbers a token: enough for propose, accept and resample
CHUNK = 128  # outcomes that a draw passes over at once
JUST_BELOW = 1 - 2**-53  # times a number of double precision: the next smaller one
SORTED = 256  # likeliest tokens that are tried before all are sorted

Logits = Float[Tensor, "batch vocabulary"]


@dataclass(frozen=True)
class SampledTokens:
    """The next token of each text, what it was drawn with, and whether the teacher put it there."""

    tokens: Int[Tensor, " *batch"]
    log_probs: Float[Tensor, " *batch"]
    by_teacher: Bool[Tensor, " *batch"]


# (logits of each model, positions in the responses, uniform numbers) -> the next tokens. It stands
# in a CUDA graph, so it must not look at what is in the tensors.
TokenSampler = Callable[
    [Sequence[Logits], Int[Tensor, " batch"], Float[Tensor, "batch draws"]], SampledTokens
]


# (tokens that the first model proposes, logits of the last) -> those that it doesn't let stand
RejectionRule = Callable[[Int[Tensor, " batch"], Logits], Bool[Tensor, " batch"]]


@dataclass(frozen=True)
class SpeculativeSampler:
    """A choice in two parts, so that the last model may judge several tokens at once.

    The first model goes on from its own proposals. Behind the first one that isn't kept they are
    dropped: the text is the same as if each had been judged before the next was made.
    """

    propose: TokenSampler  # from the first model's logits alone
    refuse: RejectionRule
    instead: TokenSampler  # of a refused token, from the last model's logits alone
    tokens: int  # proposed between two readings of the last model

    def token_by_token(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The same choice, with nothing proposed ahead."""
        proposed = self.propose(logits[:1], position, uniform)
        refused = self.refuse(proposed.tokens, logits[-1])
        return select_teacher_or_student(
            refused, proposed, self.instead(logits[-1:], position, uniform[:, 1:])
        )


def sample(
    logits: Logits, uniform: Float[Tensor, " batch"], sampling: Sampling
) -> tuple[Int[Tensor, " batch"], Logits]:
    """Tokens by inverse transform, and the log-probabilities that they were drawn with."""
    logits = logits.float()
    log_probs = apply_top_k_top_p(logits, sampling)
    if sampling.temperature == 0:
        return logits.argmax(-1), log_probs
    return _inverted(log_probs.exp(), uniform.double()), log_probs


def sample_token(
    logits: Logits, uniform: Float[Tensor, " batch"], sampling: Sampling
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The same tokens, and the log-probabilities of these alone.

    From a whole distribution that takes one exponential a token of the vocabulary instead of two.
    """
    if sampling != Sampling():
        tokens, log_probs = sample(logits, uniform, sampling)
        return tokens, target_log_prob(log_probs, tokens)
    probabilities = logits.float().softmax(-1)
    tokens = _inverted(probabilities, uniform.double())
    return tokens, target_log_prob(probabilities, tokens).log()


def _inverted(probabilities: Logits, uniform: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Where the cumulative distribution passes the uniform numbers.

    First the chunk is found in which it does: a sum over the vocabulary, not a scan of it. Only a
    chunk's own sum is of single precision, like the probabilities.
    """
    rows, odd = len(probabilities), -probabilities.shape[-1] % CHUNK
    padded = F.pad(probabilities, (0, odd)) if odd else probabilities
    chunks = padded.reshape(-1, CHUNK)  # of all rows, behind one another
    sums = chunks.sum(-1).view(rows, -1)
    up_to = sums.cumsum(-1, dtype=torch.double)
    threshold = uniform[:, None] * up_to[:, -1:]

    chunk = _passing(up_to, threshold)
    before = (up_to - sums).gather(-1, chunk)
    first = torch.arange(0, len(chunks), sums.shape[1], device=chunks.device)
    inside = chunks.index_select(0, first + chunk[:, 0]).cumsum(-1, dtype=torch.double)
    return torch.add(_passing(inside, threshold - before), chunk, alpha=CHUNK)[:, 0]


def _passing(
    cumulative: Float[Tensor, "batch outcomes"], threshold: Float[Tensor, "batch 1"]
) -> Int[Tensor, "batch 1"]:
    """The first outcome beyond a threshold; if rounding leaves none, the last that has any mass."""
    below = cumulative[:, -1:] * JUST_BELOW
    found = torch.searchsorted(cumulative, threshold.minimum(below), right=True)
    return found % cumulative.shape[-1]  # beyond the end only where these are no numbers


def apply_top_k_top_p(logits: Logits, sampling: Sampling) -> Logits:
    """Log-probabilities after temperature, top-k and top-p."""
    log_probs = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
    if sampling.top_k:
        least = log_probs.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < least, -torch.inf).log_softmax(-1)
    if sampling.top_p < 1:
        ordered, order = _likeliest(log_probs, sampling.top_p)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # the likeliest token always stays
        kept = torch.zeros_like(log_probs, dtype=torch.bool)
        kept.scatter_(-1, order, before < sampling.top_p)
        log_probs = log_probs.masked_fill(~kept, -torch.inf).log_softmax(-1)
    return log_probs


def _likeliest(
    log_probs: Logits, mass: float
) -> tuple[Float[Tensor, "batch some"], Int[Tensor, "batch some"]]:
    """Tokens by their probability. A CPU sorts slowly: it leaves out some that are beyond `mass`.

    A GPU doesn't ask how many matter, because it would have to wait for the answer.
    """
    if log_probs.device.type == "cpu":
        ordered, order = log_probs.topk(min(SORTED, log_probs.shape[-1]))
        if (ordered.exp().cumsum(-1)[:, -1] >= mass).all():
            return ordered, order
    ordered, order = log_probs.sort(descending=True)
    return ordered, order


@cache
def sampler(sampling: Sampling) -> TokenSampler:
    """The first model writes alone. Equal settings give one object, which a CUDA graph is for."""

    def choose(
        logits: Sequence[Logits], _: Int[Tensor, " batch"], uniform: Float[Tensor, "batch draws"]
    ) -> SampledTokens:
        tokens, log_probs = sample_token(logits[0], uniform[:, 0], sampling)
        return SampledTokens(tokens, log_probs, torch.zeros_like(tokens, dtype=torch.bool))

    return choose


def select_teacher_or_student(
    by_teacher: Bool[Tensor, " batch"], student: SampledTokens, teacher: SampledTokens
) -> SampledTokens:
    """The teacher's token where it is the teacher's turn, elsewhere the student's."""
    return SampledTokens(
        torch.where(by_teacher, teacher.tokens, student.tokens),
        torch.where(by_teacher, teacher.log_probs, student.log_probs),
        by_teacher,
    )
