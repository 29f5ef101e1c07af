"""Logits keep float32 where matrices are multiplied in bfloat16, also far from zero.

GPT-2's logits lie near -100, where bfloat16 knows them to half a nat. A head with a constant column
puts logits there; the distribution, and so its KL to the exact one, must not move.
"""

from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from pipeline.distributions.divergences import kl
from pipeline.models.language_model import autocast
from pipeline.models.logits import LogitScaling, compute_logits

TITLE = "float32 logits of bfloat16 factors, near zero and at -100"
SECONDS = 30
TOKENS, WIDTH, VOCABULARY = 512, 576, 8192
SHIFTS = (0.0, -100.0)
# the factors' own rounding: 2^-9 of each, over a sum of 576; measured in float64 on a CPU
KL_NATS = 5e-4


def measure(device: torch.device) -> Iterator[Figure]:
    """KL of the exact distribution to ours, ties and likeliest tokens, at each shift."""
    for shift in SHIFTS:
        hidden, head = _subject(device, shift)
        exact = (hidden.double() @ head.weight.double().T).log_softmax(-1)
        with torch.no_grad(), autocast(device, "bfloat16"):
            ours = compute_logits(head, LogitScaling(), hidden)
            layer = head(hidden)
        where = f"logits near {shift:.0f}"
        yield Figure(f"{where}: dtype", str(ours.dtype), equals="torch.float32")
        divergence = kl(exact, ours.double().log_softmax(-1)).mean().item()
        yield Figure(f"{where}: KL to exact", divergence, "nats", at_most=KL_NATS)
        top = ours.topk(2).values
        yield Figure(
            f"{where}: ties", (top[:, 0] == top[:, 1]).float().mean().item(), at_most=0.001
        )
        rounded = kl(exact, layer.double().log_softmax(-1)).mean().item()
        yield Figure(f"{where}: KL of bfloat16 logits", rounded, "nats")


def _subject(device: torch.device, shift: float) -> tuple[torch.Tensor, torch.nn.Linear]:
    """Hidden states and a head whose logits spread by 3 around a shift."""
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(TOKENS, WIDTH, generator=draw)
    weight = torch.randn(VOCABULARY, WIDTH, generator=draw) * 3 / WIDTH**0.5
    hidden[:, 0], weight[:, 0] = 10.0, shift / 10.0
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
    with torch.no_grad():
        head.weight.copy_(weight)
    return hidden.to(device), head.to(device)
