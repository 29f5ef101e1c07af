"""The texts that response tokens belong to, for losses that look further than one token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.signal import PerToken, Tokens


def by_text(values: Tensor, tokens: Tokens) -> Sequence[Tensor]:
    """The rows of `values`, a row for each token, text by text."""
    counts = tokens.sequence.unique_consecutive(return_counts=True)[1]
    return values.split(counts.tolist())


def text_mean(values: Tensor, tokens: Tokens) -> Tensor:
    """At each token the mean over its text, a row like those of `values`."""
    means = [one.mean(0, keepdim=True).expand_as(one) for one in by_text(values, tokens)]
    return torch.cat(means)


def log_probs_written_with(tokens: Tokens) -> PerToken:
    """What each token was written with. Raises ValueError if a text was not written in training."""
    if tokens.written_log_probs.isnan().any():
        raise ValueError(
            "this loss needs texts that are written in training; take a data policy that writes "
            "every text, such as mixed with student_share = 1"
        )
    return tokens.written_log_probs
