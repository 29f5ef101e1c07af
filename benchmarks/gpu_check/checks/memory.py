"""What training holds of a GPU, against what jobs ask of the scheduler for it."""

from collections.abc import Iterator
from itertools import islice

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.skipping import CannotRun
from benchmarks.gpu_check.subjects import budget_of, run
from benchmarks.workbench import equal, model, size_of
from pipeline.models.language_model import default_device
from pipeline.models.logit_chunks import max_logits
from pipeline.settings.training import Training
from pipeline.training.loop import train
from pipeline.training.state import initial_state
from workflow.resources.training_memory import held_in_training

TITLE = "memory of training against its estimate"
SECONDS = 60
LOW, HIGH = 0.6, 1.0  # peak over estimate: neither refused without need, nor out of memory
BATCH, LENGTH, STEPS = 32, 512, 2
LOGIT_BYTES = 16  # of a logit in a part of a micro-batch, as resources counts it without a teacher
METHOD = {"policy": "fixed", "update": None}


def gpt2() -> PreTrainedModel:
    """GPT-2 of 124M parameters."""
    return GPT2LMHeadModel(GPT2Config())


def qwen() -> PreTrainedModel:
    """Qwen2.5's shape of half a billion parameters."""
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


def measure(device: torch.device) -> Iterator[Figure]:
    """Peak of two uncompiled steps of fine-tuning over what is estimated for them."""
    if device.type != "cuda":
        raise CannotRun("the memory of a GPU is read off a GPU")
    default_device()
    shapes = {"llama 135M": lambda: model("135m", 1, device), "gpt2 124M": gpt2, "qwen 0.5B": qwen}
    for name, make in shapes.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        student = make().to(device)
        pool = equal(BATCH * STEPS, LENGTH, student.config.vocab_size)
        made = run("sft", student, None, pool, budget_of(STEPS, BATCH), 1, BATCH * LENGTH)
        list(islice(train(made, initial_state(made)), STEPS))
        peak = torch.cuda.max_memory_allocated(device)
        yield Figure(f"{name}: peak", peak / 2**30, "GiB")
        ratio = peak / _estimate(student)
        yield Figure(f"{name}: of the estimate", ratio, at_least=LOW, at_most=HIGH)
        del student, made


def _estimate(student: PreTrainedModel) -> float:
    """Bytes of weights and optimizer, of a micro-batch, and of the part of it that has logits."""
    own = size_of(student)
    training = Training(steps=STEPS, batch_size=BATCH, learning_rate=1e-3)
    held = held_in_training(own, None, {"method": METHOD, "training": training.model_dump()})
    positions = BATCH * LENGTH
    at_once = max_logits(student.device, own.parameters)
    logits = LOGIT_BYTES * min(at_once, positions * own.vocabulary)
    return held.resident + positions * held.per_position + logits
