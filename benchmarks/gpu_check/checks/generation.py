"""Sampling 256 tokens from a model of 135M parameters, beside transformers' static cache."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.measuring import best, seconds
from benchmarks.workbench import SHAPES, prompts, writer
from pipeline.generation import generate, sampler
from pipeline.models.language_model import default_device
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.settings.generation import Sampling

TITLE = "tokens a second in generation, 135M"
SECONDS = 110
PROMPT, RUNS = 64, 2
TARGETS = {32: 15_000, 256: 60_000, 1024: None}  # tokens a second, by texts side by side
SMALL = {4: None}


def measure(device: torch.device) -> Iterator[Figure]:
    """Tokens a second at each number of texts; `generate` at the smallest."""
    default_device()
    large = device.type == "cuda"
    name, new, targets = ("135m", 256, TARGETS) if large else ("narrow", 16, SMALL)
    model, choose = writer(name, 0, device), sampler(Sampling(temperature=1.0))
    for batch, target in targets.items():
        asked = prompts(batch, PROMPT, SHAPES[name].vocabulary)
        writing = partial(generate, asked, [model], choose, new, 0, "student")
        made, took = seconds(device, writing), best(device, writing, RUNS)
        yield Figure(f"batch {batch}", batch * new / took, "tok/s", at_least=target)
        yield Figure(f"batch {batch}: first call", made, "s", note=GRAPH_CAPTURES.reason or "")
    batch = min(targets)
    ids = torch.tensor(
        [prompt.prompt_ids for prompt in prompts(batch, PROMPT, SHAPES[name].vocabulary)]
    )
    peer, ids = (
        writer(name, 0, device).to(torch.bfloat16 if large else torch.float32),
        ids.to(device),
    )
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": new}
    options["cache_implementation"] = "static" if large else "dynamic"
    mask = torch.ones_like(ids)
    took = best(device, lambda: peer.generate(ids, attention_mask=mask, **options), 1)
    yield Figure(f"batch {batch}: generate", batch * new / took, "tok/s")
