"""Likelihoods through lm-eval's interface, beside those of lm-eval's own model.

The only check that needs lm-eval; without it, it is skipped.
"""

import importlib.util
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.skipping import CannotRun
from benchmarks.gpu_check.subjects import VOCABULARY, tiny
from benchmarks.workbench import words
from pipeline.models.language_model import default_device

TITLE = "lm-eval's requests, as its own model answers them"
SECONDS = 60
NATS = 0.05  # of a log-likelihood of four words, between two orders of bfloat16 sums
BUDGET = 2048
PAIRS = [
    (f"w{word} w{word + 7} w{word + 9}", f" w{word + 3} w{word + 5}") for word in range(10, 90, 5)
]


def measure(device: torch.device) -> Iterator[Figure]:
    """The largest difference of log-likelihoods to lm-eval's own model, on the CPU in float32."""
    if importlib.util.find_spec("lm_eval") is None:
        raise CannotRun("lm-eval is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from pipeline.evaluation.lm_eval_model import CheckpointLM

    default_device()
    tokenizer = words(VOCABULARY)
    asked = [Instance("loglikelihood", {}, pair, 0) for pair in PAIRS]
    plain = HFLM(
        pretrained=tiny("llama", 1, torch.device("cpu")), tokenizer=tokenizer, batch_size=4
    )
    expected = plain.loglikelihood(asked, disable_tqdm=True)
    ours = CheckpointLM(tiny("llama", 1, device), tokenizer, BUDGET).loglikelihood(asked)
    apart = max(abs(own[0] - other[0]) for own, other in zip(ours, expected, strict=True))
    yield Figure("log-likelihoods", apart, "nats off", at_most=NATS)
