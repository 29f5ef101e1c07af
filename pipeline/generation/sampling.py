"""Sampling the next token of each sequence, from one model's distribution or from several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pipeline.distributions.log_probs import target_log_prob
from pipeline.settings.generation import Sampling

UNIFORMS_PER_TOKEN = 3  # enough to propose, accept and resample
CHUNK = 128  # outcomes that inverse-transform sampling skips at once
JUST_BELOW = 1 - 2**-53  # times a number of double precision: the next smaller one
SORTED_CANDIDATES = 256  # most likely tokens that top-p tries before it sorts all of them

Logits = Float[Tensor, "batch vocabulary"]


@dataclass(frozen=True)
class SampledTokens:
    """The next token of each sequence, its log-probability, and whether it is the teacher's."""

    tokens: Int[Tensor, " *batch"]
    log_probs: Float[Tensor, " *batch"]
    by_teacher: Bool[Tensor, " *batch"]


# (logits of each model, positions in the responses, uniform numbers) -> the next tokens. It runs in
# a CUDA graph, so it must not read the values of tensors on the host.
TokenSampler = Callable[
    [Sequence[Logits], Int[Tensor, " batch"], Float[Tensor, "batch draws"]], SampledTokens
]

# (tokens that the first model proposes, logits of the last model, positions) -> what it rejects
RejectionRule = Callable[
    [Int[Tensor, " batch"], Logits, Int[Tensor, " batch"]], Bool[Tensor, " batch"]
]
Memory = Float[Tensor, "batch numbers"]


@dataclass(frozen=True)
class SpeculativeSampler:
    """A sampler in two parts, so that the last model can check several draft tokens at once.

    The first model continues from its own proposals. Those behind the first rejected one are
    discarded: the text is the same as if each token had been checked before the next was proposed.
    """

    propose: TokenSampler  # from the first model's logits alone
    reject: RejectionRule
    resample: TokenSampler  # in place of a rejected token, from the last model's logits alone
    draft_tokens: int  # proposed between two forward passes of the last model

    def token_by_token(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The same tokens without drafts: each is checked at once."""
        proposed = self.propose(logits[:1], position, uniform)
        rejected = self.reject(proposed.tokens, logits[-1], position)
        resampled = self.resample(logits[-1:], position, uniform[:, 1:])
        return select_teacher_or_student(rejected, proposed, resampled)


@dataclass(frozen=True)
class RememberingSampler:
    """A sampler that carries some numbers from token to token of a sequence, zeros at first."""

    numbers: int
    choose: Callable[
        [Sequence[Logits], Int[Tensor, " batch"], Float[Tensor, "batch draws"], Memory],
        tuple[SampledTokens, Memory],
    ]


AnySampler = TokenSampler | SpeculativeSampler | RememberingSampler


def memory_size(token_sampler: AnySampler) -> int:
    """How many numbers a sequence carries under a sampler."""
    return token_sampler.numbers if isinstance(token_sampler, RememberingSampler) else 0


def sample(
    logits: Logits, uniform: Float[Tensor, " batch"], sampling: Sampling
) -> tuple[Int[Tensor, " batch"], Logits]:
    """Tokens by inverse-transform sampling, and the log-probabilities of the whole vocabulary."""
    logits = logits.float()
    log_probs = apply_top_k_top_p(logits, sampling)
    if sampling.temperature == 0:
        return logits.argmax(-1), log_probs
    return _inverse_cdf(log_probs.exp(), uniform), log_probs


def sample_token(
    logits: Logits, uniform: Float[Tensor, " batch"], sampling: Sampling
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The tokens of `sample`, with the log-probabilities of these tokens alone.

    Sampling from the full distribution takes one exponential per vocabulary entry instead of two.
    """
    if sampling != Sampling():
        tokens, log_probs = sample(logits, uniform, sampling)
        return tokens, target_log_prob(log_probs, tokens)
    probabilities = logits.float().softmax(-1)
    tokens = _inverse_cdf(probabilities, uniform)
    return tokens, target_log_prob(probabilities, tokens).log()


def _inverse_cdf(probabilities: Logits, uniform: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """The tokens at which the cumulative distribution exceeds the uniform numbers.

    Finds the chunk of the vocabulary first, by a sum over each chunk instead of a scan over all
    tokens. Only a chunk's own sum is in single precision, like the probabilities.
    """
    rows, padding = len(probabilities), -probabilities.shape[-1] % CHUNK
    padded = F.pad(probabilities, (0, padding)) if padding else probabilities
    chunks = padded.reshape(-1, CHUNK)  # of all rows, one after the other
    sums = chunks.sum(-1).view(rows, -1)
    cumulative = sums.cumsum(-1, dtype=torch.double)
    threshold = uniform.double()[:, None] * cumulative[:, -1:]

    chunk = _first_above(cumulative, threshold)
    before = (cumulative - sums).gather(-1, chunk)
    first = torch.arange(0, len(chunks), sums.shape[1], device=chunks.device)
    inside = chunks.index_select(0, first + chunk[:, 0]).cumsum(-1, dtype=torch.double)
    return torch.add(_first_above(inside, threshold - before), chunk, alpha=CHUNK)[:, 0]


def _first_above(
    cumulative: Float[Tensor, "batch outcomes"], threshold: Float[Tensor, "batch 1"]
) -> Int[Tensor, "batch 1"]:
    """The first outcome above a threshold; if rounding leaves none, the last one with any mass."""
    below = cumulative[:, -1:] * JUST_BELOW
    outcome = torch.searchsorted(cumulative, threshold.minimum(below), right=True)
    return outcome % cumulative.shape[-1]  # beyond the end only where the probabilities are NaN


def apply_top_k_top_p(logits: Logits, sampling: Sampling) -> Logits:
    """Log-probabilities after temperature, top-k and top-p."""
    log_probs = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
    if sampling.top_k:
        least = log_probs.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < least, -torch.inf).log_softmax(-1)
    if sampling.top_p < 1:
        ordered, order = _sorted_candidates(log_probs, sampling.top_p)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # the most likely token always stays
        in_nucleus = torch.zeros_like(log_probs, dtype=torch.bool)
        in_nucleus.scatter_(-1, order, before < sampling.top_p)
        log_probs = log_probs.masked_fill(~in_nucleus, -torch.inf).log_softmax(-1)
    return log_probs


def _sorted_candidates(
    log_probs: Logits, mass: float
) -> tuple[Float[Tensor, "batch some"], Int[Tensor, "batch some"]]:
    """Tokens by descending probability. A CPU sorts slowly: it skips a tail that is beyond `mass`.

    A GPU sorts all of them, because it would have to wait for the answer to how many matter.
    """
    if log_probs.device.type == "cpu":
        ordered, order = log_probs.topk(min(SORTED_CANDIDATES, log_probs.shape[-1]))
        if (ordered.exp().cumsum(-1)[:, -1] >= mass).all():
            return ordered, order
    ordered, order = log_probs.sort(descending=True)
    return ordered, order


@dataclass(frozen=True)
class FirstModelSampler:
    """Samples from the first model alone. Equal settings compare equal: an engine is kept by it."""

    sampling: Sampling

    def __call__(
        self,
        logits: Sequence[Logits],
        _: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The next token of each sequence, at any position."""
        tokens, log_probs = sample_token(logits[0], uniform[:, 0], self.sampling)
        return SampledTokens(tokens, log_probs, torch.zeros_like(tokens, dtype=torch.bool))


def sampler(sampling: Sampling) -> TokenSampler:
    """A sampler for one model."""
    return FirstModelSampler(sampling)


def select_teacher_or_student(
    by_teacher: Bool[Tensor, " batch"], student: SampledTokens, teacher: SampledTokens
) -> SampledTokens:
    """The teacher's token where `by_teacher` is true, elsewhere the student's."""
    return SampledTokens(
        torch.where(by_teacher, teacher.tokens, student.tokens),
        torch.where(by_teacher, teacher.log_probs, student.log_probs),
        by_teacher,
    )


def from_either(
    by_teacher: Bool[Tensor, " batch"],
    logits: Sequence[Logits],
    position: Int[Tensor, " batch"],
    uniform: Float[Tensor, "batch draws"],
) -> SampledTokens:
    """A token of the teacher's distribution where `by_teacher` is true, else of the student's."""
    student, teacher = logits
    write = sampler(Sampling())
    return select_teacher_or_student(
        by_teacher,
        write([student], position, uniform),
        write([teacher], position, uniform[:, 1:]),
    )
