"""The texts that response tokens belong to, for losses that look further than one token.

On a CPU they are taken one by one, which leaves nothing to compute twice. On a GPU, and wherever
code is compiled for one, they stand side by side in a grid, a row each: their lengths are then
nothing that the host has to know, and the code is the same for any number of texts.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from pipeline.distributions.log_probs import PerToken, TokenContext

Values = Shaped[Tensor, "tokens *each"]  # a row for each token
Grid = Shaped[Tensor, "texts longest *each"]  # what lies behind the end of a text is zero


def uses_grid(values: Tensor) -> bool:
    """Whether texts are to be taken all at once."""
    return torch.compiler.is_compiling() or values.is_cuda


def split_by_text(values: Values, tokens: TokenContext) -> Sequence[Tensor]:
    """The rows of `values`, text by text."""
    return values.split(tokens.lengths.tolist())


def to_grid(values: Values, tokens: TokenContext) -> Grid:
    """The rows of `values`, the texts side by side."""
    index = (tokens.starts[:, None] + tokens.offsets).clamp(max=len(values) - 1)
    inside = tokens.offsets < tokens.lengths[:, None]
    return torch.where(inside.reshape(*inside.shape, *(1,) * (values.ndim - 1)), values[index], 0)


def from_grid(grid: Grid, tokens: TokenContext) -> Values:
    """The grid's value at each token."""
    text = tokens.sequence - tokens.sequence[:1]
    offset = torch.arange(len(text), device=text.device) - tokens.starts[text]
    return grid[text, offset]


def text_mean(values: Values, tokens: TokenContext) -> Values:
    """The mean over a text, at each of its tokens."""
    if uses_grid(values):
        grid = to_grid(values, tokens)
        lengths = tokens.lengths.reshape(-1, *(1,) * values.ndim)
        return from_grid((grid.sum(1, keepdim=True) / lengths).expand_as(grid), tokens)
    means = [
        of_text.mean(0, keepdim=True).expand_as(of_text)
        for of_text in split_by_text(values, tokens)
    ]
    return torch.cat(means)


def importance_weight(log_q: PerToken, tokens: TokenContext) -> PerToken:
    """The ratio q / q_written of each token. Raises ValueError for text not sampled in training."""
    if not tokens.all_sampled:
        raise ValueError(
            "this loss needs texts that are written in training; take a data policy that writes "
            "every text, such as mixed with student_share = 1"
        )
    return (log_q - tokens.sampled_log_probs).exp()
