"""Generation on the device: captured in a CUDA graph, in every family and way of choosing tokens.

What is written is read again by the plain forward pass: its log-probabilities must agree, and
greedy text must be what the forward pass finds likeliest. Called again with other sizes, a decoder
is kept.
"""

from collections.abc import Iterator
from statistics import fmean

import torch
from transformers import PreTrainedModel

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import FAMILIES, texts, tiny
from pipeline.data.batch import Text, collate
from pipeline.data_policies import speculative, switch
from pipeline.distributions.log_probs import target_log_prob
from pipeline.generation import generate, sampler
from pipeline.generation.sampling import SpeculativeSampler, TokenSampler
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.settings.generation import Sampling

TITLE = "generation is captured, and its text is what the model says"
SECONDS = 90
NEW_TOKENS = 24
CALLS = 12  # of changing size, for the number of decoders that are made
NOISE_NATS = 0.03  # of a log-probability, between two orders of bfloat16 sums; exact in float32


def ways() -> dict[str, tuple[TokenSampler | SpeculativeSampler, int]]:
    """Ways of choosing a token, and how many models take part."""
    return {
        "sampled": (sampler(Sampling(temperature=1.0)), 1),
        "greedy": (sampler(Sampling(temperature=0.0)), 1),
        "top-p": (sampler(Sampling(temperature=1.0, top_p=0.9)), 1),
        "top-k": (sampler(Sampling(temperature=1.0, top_k=20)), 1),
        "SWITCH": (switch.Policy().choose, 2),
        "SKD": (speculative.Policy().draft(), 2),
    }


def measure(device: torch.device) -> Iterator[Figure]:
    """How many decoders are captured, how far log-probabilities are off, how many are made."""
    default_device()
    prompts, failed, worst = texts(6, longest=64), [], 0.0
    for family in FAMILIES:
        models = [tiny(family, seed, device) for seed in (1, 2)]
        for name, (choose, count) in ways().items():
            before = GRAPH_CAPTURES.failed
            written = generate(prompts, models[:count], choose, NEW_TOKENS, 5, "student")
            if GRAPH_CAPTURES.failed > before:
                failed.append(f"{family} {name}")
            if count == 1 and name in ("sampled", "greedy"):
                worst = max(worst, _apart(models[0], written, name == "sampled"))
    on_gpu = device.type == "cuda"
    total = len(FAMILIES) * len(ways())
    yield Figure("not captured", len(failed), f"of {total}", equals=0, note=", ".join(failed))
    yield Figure("compiled", GRAPH_CAPTURES.compiled, note=GRAPH_CAPTURES.reason or "")
    yield Figure("log-probabilities read again", worst, "nats", at_most=NOISE_NATS)
    yield Figure("decoders for calls of 12 sizes", _makings(device), at_most=3 if on_gpu else None)


def _apart(model: PreTrainedModel, written: list[Text], sampled: bool) -> float:
    """The mean distance of the log-probabilities noted in writing, to those of a forward pass."""
    kept = [text for text in written if text.response_ids]
    signal = LiveTeacher(model).signal(collate(kept, model.device))
    again = target_log_prob(signal.log_probs, signal.support.target).tolist()
    if not sampled:  # a greedy choice is certain; the likeliest token is the one to compare
        again = (signal.log_probs.max(-1).values.cpu() - torch.tensor(again)).tolist()
        return fmean(map(abs, again))
    noted = [value for text in kept for value in text.log_probs]
    return fmean(abs(first - other) for first, other in zip(noted, again, strict=True))


def _makings(device: torch.device) -> int:
    """How many decoders many calls of changing sizes make."""
    before = GRAPH_CAPTURES.compiled + GRAPH_CAPTURES.uncompiled + GRAPH_CAPTURES.failed
    model, choose = tiny("llama", 3, device), sampler(Sampling(temperature=1.0))
    for call in range(CALLS):
        generate(
            texts(4 + call % 5, longest=40 + 10 * call),
            [model],
            choose,
            NEW_TOKENS,
            call,
            "student",
        )
    return GRAPH_CAPTURES.compiled + GRAPH_CAPTURES.uncompiled + GRAPH_CAPTURES.failed - before
