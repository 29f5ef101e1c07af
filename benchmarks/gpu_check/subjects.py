"""What checks are made on: tiny models of each family, texts as long as Dolly's, training runs."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from benchmarks.workbench import words
from pipeline.data.batch import Text
from pipeline.data.encoding import Encoder
from pipeline.data_policies import build_policy
from pipeline.losses import ReferenceLoss, build_loss
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.language_model import Precision
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.settings.distill import DistillSettings, MethodSettings
from pipeline.settings.training import Training
from pipeline.teacher_updates import attach_update
from pipeline.training.features import feature_term
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

VOCABULARY = 512
END = 1
SPREAD = 0.3  # of fresh weights: distributions with peaks, as trained models have them
# Dolly 15k, prompts in its template and responses, in tokens of a vocabulary of 50k: the median and
# the spread of their logarithms
PROMPT = (45, 0.9)
RESPONSE = (60, 1.1)
SIZES = {"vocab_size": VOCABULARY, "bos_token_id": END, "eos_token_id": END, "pad_token_id": END}
GROUPED_QUERIES = SIZES | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": SPREAD,
}


def llama() -> PreTrainedModel:
    """Llama: grouped queries, rotary positions."""
    return LlamaForCausalLM(LlamaConfig(**GROUPED_QUERIES))


def qwen2() -> PreTrainedModel:
    """Qwen2: Llama's with biases at queries, keys and values."""
    return Qwen2ForCausalLM(Qwen2Config(**GROUPED_QUERIES))


def gpt2() -> PreTrainedModel:
    """GPT-2: learnt positions, a tied head."""
    config = GPT2Config(n_embd=64, n_layer=2, n_head=4, initializer_range=SPREAD, **SIZES)
    return GPT2LMHeadModel(config)


def opt() -> PreTrainedModel:
    """OPT: learnt positions, offset by two."""
    config = OPTConfig(
        hidden_size=64,
        ffn_dim=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=64,
        init_std=SPREAD,
        **SIZES,
    )
    return OPTForCausalLM(config)


def gpt_neox() -> PreTrainedModel:
    """GPT-NeoX: attention and the inner layer side by side."""
    config = GPTNeoXConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=SPREAD,
        **SIZES,
    )
    return GPTNeoXForCausalLM(config)


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "qwen2": qwen2,
    "gpt2": gpt2,
    "opt": opt,
    "gpt_neox": gpt_neox,
}


def tiny(family: str, seed: int, device: torch.device) -> PreTrainedModel:
    """A tiny model of a family with fresh weights: drawn on the CPU, so that devices agree."""
    torch.manual_seed(seed)
    return FAMILIES[family]().eval().to(device)


def texts(count: int, vocabulary: int = VOCABULARY, longest: int = 512) -> list[Text]:
    """Texts with lengths like Dolly's, the same ones at every call; their tokens mean nothing."""
    draw = np.random.default_rng(7)
    texts = []
    for number in range(count):
        prompt, response = (
            int(np.clip(draw.lognormal(np.log(median), spread), 2, longest // 2))
            for median, spread in (PROMPT, RESPONSE)
        )
        ids = draw.integers(3, vocabulary, prompt + response).tolist()
        texts.append(Text(f"text-{number}", ids[:prompt], [*ids[prompt:], END]))
    return texts


def run(
    name: str,
    student: PreTrainedModel,
    teacher: Teacher | None,
    pool: Sequence[Text],
    training: Training,
    max_new_tokens: int,
    budget: int,
    seed: int = 1,
    **hyperparameters: object,
) -> TrainingRun:
    """A training run of a method of the catalogue, some of its hyperparameters changed."""
    resolved = resolve(METHODS[name], hyperparameters)
    method = resolved.method
    settings = DistillSettings(
        method=MethodSettings.model_validate(resolved.settings),
        training=training,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    teacher = teacher if method.reads_distributions else None
    tokenizer = words(VOCABULARY)
    teacher, update = attach_update(settings, student, teacher, pool, Encoder(tokenizer), budget)
    loss = build_loss(method.loss, resolved.loss_settings)
    has_reference = isinstance(loss, ReferenceLoss)
    return TrainingRun(
        settings=settings,
        student=student,
        teacher=teacher,
        reference=LiveTeacher(deepcopy(student).requires_grad_(False)) if has_reference else None,
        tokenizer=tokenizer,
        loss=loss,
        policy=build_policy(method.policy, resolved.policy_settings),
        teacher_update=update,
        train_set=pool,
        validation_set=pool[:4],
        plain_text=pool if method.plain_text_weight else [],
        max_tokens=budget,
        features=feature_term(settings, student, teacher),
    )


def small_run(
    name: str, device: torch.device, steps: int, precision: Precision = "auto"
) -> TrainingRun:
    """A few steps of a method: a tiny Llama under another, four texts a step, in small parts."""
    teacher = LiveTeacher(tiny("llama", 2, device).requires_grad_(False), precision)
    training, pool = budget_of(steps, 4, precision), texts(12, longest=48)
    return run(name, tiny("llama", 1, device), teacher, pool, training, 12, 600)


def losses(made: TrainingRun) -> list[float]:
    """Trains to the end; the loss of each step in nats, NaN where it is none."""
    state = initial_state(made)
    for _ in train(made, state):
        pass
    rows = [row["loss_nats"] for row in state.rows]
    return [math.nan if loss is None else float(loss) for loss in rows]


def budget_of(steps: int, batch_size: int, precision: Precision = "auto") -> Training:
    """A constant learning rate for some steps."""
    return Training(
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-3,
        warmup_ratio=0,
        schedule="constant",
        validations=0,
        precision=precision,
    )
